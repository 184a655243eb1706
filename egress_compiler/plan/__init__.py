"""What compile would change, for the people who decide on it: against a bundle, and in words of the network."""

from egress_compiler.plan.before import bundle_before
from egress_compiler.plan.compare import between, compare
from egress_compiler.plan.json_form import as_json
from egress_compiler.plan.markdown import MARKDOWN_LIMIT, as_markdown
from egress_compiler.plan.model import Plan
from egress_compiler.plan.text import as_text

__all__ = ["MARKDOWN_LIMIT", "Plan", "as_json", "as_markdown", "as_text", "between", "bundle_before", "compare"]
