"""What is wrong with the input, as data, and its forms for people and for programs.

A diagnostic is a value: a documented code, a severity, a position, what is wrong, what would be right.
Nothing here prints; the command line chooses the format.
"""

from egress_compiler.diagnostics.machine import as_github, as_json
from egress_compiler.diagnostics.text import as_text
from egress_compiler.diagnostics.values import (
    Acceptance,
    Collector,
    Diagnostic,
    InvalidInput,
    Related,
    Severity,
    count_errors,
    in_order,
    open_warnings,
    refuse_open_warnings,
)
from egress_compiler.diagnostics.words import counted, inert, listing, nearest, printable, quoted, similar, width

__all__ = [
    "Acceptance",
    "Collector",
    "Diagnostic",
    "InvalidInput",
    "Related",
    "Severity",
    "as_github",
    "as_json",
    "as_text",
    "count_errors",
    "counted",
    "in_order",
    "inert",
    "listing",
    "nearest",
    "open_warnings",
    "printable",
    "quoted",
    "refuse_open_warnings",
    "similar",
    "width",
]
