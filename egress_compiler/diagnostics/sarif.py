"""Diagnostics as a SARIF 2.1.0 log, which code scanning services and editors read.

Source: OASIS, "Static Analysis Results Interchange Format (SARIF) Version 2.1.0".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from egress_compiler.diagnostics.codes import CODES
from egress_compiler.diagnostics.values import Diagnostic, Related
from egress_compiler.diagnostics.words import printable
from egress_compiler.source import Position

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_UNRESERVED = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~/")


def sarif_log(diagnostics: Sequence[Diagnostic], version: str) -> dict[str, Any]:
    """One run; its rules are the codes that were found, sorted."""
    codes = sorted({diagnostic.code for diagnostic in diagnostics})
    driver = {"name": "egress-compiler", "semanticVersion": version, "rules": [_rule(code) for code in codes]}
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "results": [_result(diagnostic, codes.index(diagnostic.code)) for diagnostic in diagnostics],
    }
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _rule(code: str) -> dict[str, Any]:
    known = CODES.get(code)
    if known is None:
        return {"id": code}
    return {
        "id": code,
        "shortDescription": {"text": known.title},
        "fullDescription": {"text": known.explanation},
        "defaultConfiguration": {"level": str(known.severity)},
    }


def _result(diagnostic: Diagnostic, rule: int) -> dict[str, Any]:
    text = printable(diagnostic.message) + (f"\nHint: {printable(diagnostic.hint)}" if diagnostic.hint else "")
    result: dict[str, Any] = {
        "ruleId": diagnostic.code,
        "ruleIndex": rule,
        "level": str(diagnostic.severity),
        "message": {"text": text},
        "locations": [_location(diagnostic.position)] if diagnostic.position is not None else [],
    }
    if diagnostic.related:
        result["relatedLocations"] = [_related(index, related) for index, related in enumerate(diagnostic.related)]
    if diagnostic.accepted:
        result["suppressions"] = [{"kind": "inSource", "justification": printable(diagnostic.accepted)}]
    return result


def _location(position: Position) -> dict[str, Any]:
    region = {
        "startLine": position.line,
        "startColumn": position.column,
        "endColumn": position.column + position.length,
    }
    return {"physicalLocation": {"artifactLocation": {"uri": _uri(position.source.name)}, "region": region}}


def _related(index: int, related: Related) -> dict[str, Any]:
    return {"id": index, **_location(related.position), "message": {"text": printable(related.message)}}


def _uri(name: str) -> str:
    """The file's name as a URI reference (RFC 3986); an absolute path gets its scheme."""
    spelled = "".join(chr(b) if b in _UNRESERVED else f"%{b:02X}" for b in name.encode("utf-8", "surrogateescape"))
    return f"file://{spelled}" if spelled.startswith("/") else spelled
