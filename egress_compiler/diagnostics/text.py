"""A diagnostic for people: the line of the file, a caret under the value, and what would be right."""

from __future__ import annotations

from egress_compiler.diagnostics.values import Diagnostic
from egress_compiler.diagnostics.words import inert, printable, width
from egress_compiler.source import Position

EXCERPT_WIDTH = 100
"""Characters of a source line that are shown around the value."""


def as_text(diagnostic: Diagnostic) -> str:
    """``file:line:col: severity: message [code]``, the source line, a caret, the hint, the related places."""
    where = f"{diagnostic.position}: " if diagnostic.position else ""
    lines = [f"{where}{diagnostic.severity}: {diagnostic.message} [{diagnostic.code}]"]
    if diagnostic.position is not None:
        lines += _excerpt(diagnostic.position)
    if diagnostic.hint:
        lines.append(f"  hint: {diagnostic.hint}")
    for related in diagnostic.related:
        lines.append(f"  {related.position}: {related.message}")
        lines += _excerpt(related.position)
    return "\n".join(inert(printable(line)) for line in lines)


def _excerpt(position: Position) -> list[str]:
    line, column = position.source.line(position.line), position.column - 1
    if not line.strip() or column > len(line):
        return []
    start = max(0, column - EXCERPT_WIDTH // 2) if len(line) > EXCERPT_WIDTH else 0
    end = start + EXCERPT_WIDTH
    marked = line[column : min(end, column + max(1, position.length))]
    left, right = "…" if start else "", "…" if end < len(line) else ""
    before, shown, after = (
        printable(part.replace("\t", " ")) for part in (line[start:column], marked, line[column:end])
    )
    number = f"{position.line:>5} | "
    underline = "^" * max(1, width(shown))
    return [number + left + before + after + right, " " * 5 + " | " + " " * width(left + before) + underline]
