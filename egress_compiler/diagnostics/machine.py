"""Diagnostics for programs: JSON, and the commands that GitHub's runner turns into annotations."""

from __future__ import annotations

from egress_compiler.diagnostics.values import Diagnostic
from egress_compiler.diagnostics.words import printable
from egress_compiler.source import Position


def as_json(diagnostic: Diagnostic) -> dict[str, object]:
    """The fields of a diagnostic under stable names; what has no value is left out."""

    def place(position: Position) -> dict[str, object]:
        return {
            "file": position.source.name,
            "line": position.line,
            "column": position.column,
            "endColumn": position.column + position.length,
        }

    found: dict[str, object] = {
        "code": diagnostic.code,
        "severity": str(diagnostic.severity),
        "message": diagnostic.message,
    }
    if diagnostic.position is not None:
        found |= place(diagnostic.position)
    if diagnostic.hint:
        found["hint"] = diagnostic.hint
    if diagnostic.related:
        found["related"] = [{"message": r.message} | place(r.position) for r in diagnostic.related]
    if diagnostic.accepted:
        found["accepted"] = diagnostic.accepted
    return found


def as_github(diagnostic: Diagnostic) -> str:
    """One workflow command: ``::error file=F,line=L,col=C,endColumn=E,title=CODE::MESSAGE``.

    Source: docs.github.com, "Workflow commands for GitHub Actions"; escapes as actions/toolkit makes them.
    """
    properties: list[str] = []
    position = diagnostic.position
    if position is not None:
        properties = [
            f"file={_property(position.source.name)}",
            f"line={position.line}",
            f"col={position.column}",
            f"endColumn={position.column + position.length}",
        ]
    properties.append(f"title={_property(diagnostic.code)}")
    lines = [diagnostic.message]
    if diagnostic.hint:
        lines.append(f"hint: {diagnostic.hint}")
    lines += [f"{related.position}: {related.message}" for related in diagnostic.related]
    return f"::{diagnostic.severity} {','.join(properties)}::{'%0A'.join(_data(line) for line in lines)}"


def _data(text: str) -> str:
    return printable(text).replace("%", "%25")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
