"""Why a pod leaves as it does, and who leaves with an EIP: read from what the compiler decided and generated."""

from egress_compiler.explain.eip import explain_address
from egress_compiler.explain.json_form import as_json, eip_as_json
from egress_compiler.explain.model import EipExplanation, Explanation
from egress_compiler.explain.pods import explain_pod
from egress_compiler.explain.text import as_text, eip_as_text

__all__ = [
    "EipExplanation",
    "Explanation",
    "as_json",
    "as_text",
    "eip_as_json",
    "eip_as_text",
    "explain_address",
    "explain_pod",
]
