"""The annotation by which an object's author lives with a warning, and says why."""

from __future__ import annotations

from typing import Any

from egress_compiler.diagnostics import Acceptance, Collector, Severity, nearest, quoted
from egress_compiler.diagnostics.codes import CODES
from egress_compiler.document import Document

ANNOTATION = "egressgateway.spidernet.io/accept-warnings"
_HOW = "write it as 'code: reason; code: reason'"


def accept_warnings(document: Document, found: Collector) -> None:
    """What the annotation of ``document`` says, ``code: reason; code: reason``, to ``found``."""
    data: Any = document.data
    text = data.get("metadata", {}).get("annotations", {}).get(ANNOTATION)
    if text is None:
        return
    where = document.at("metadata", "annotations", ANNOTATION)
    parts = [part.strip() for part in text.split(";")]
    if not any(parts):
        found.warning("accept-no-reason", "no warning is accepted here", where, hint=_HOW)
    for part in filter(None, parts):
        code, _, reason = (side.strip() for side in part.partition(":"))
        known = CODES.get(code)
        if known is None:
            warnings = [name for name, entry in CODES.items() if Severity.WARNING in entry.severities]
            hint = nearest(code, warnings) or _HOW
            found.warning("accept-unknown", f"there is no warning {quoted(code)} to accept", where, hint=hint)
        elif Severity.WARNING not in known.severities or code.startswith("accept-"):
            what = "about accepting itself" if code.startswith("accept-") else "an error"
            found.warning("accept-unknown", f"{quoted(code)} is {what} and cannot be accepted", where)
        elif not reason:
            message = f"{quoted(code)} is accepted without a reason, which does not count"
            found.warning("accept-no-reason", message, where, hint=_HOW)
        else:
            found.accept(Acceptance(code, reason, document.covers, where))
