"""What is wrong with the input, as data, and its form for people.

A diagnostic is a value: a documented code, a severity, a position, what is wrong, what would be right.
Nothing here prints; the command line chooses the format.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from egress_compiler.source import Position


class Severity(StrEnum):
    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Related:
    """A second place that belongs to a diagnostic, such as an earlier definition."""

    message: str
    position: Position


@dataclass(frozen=True, slots=True)
class Diagnostic:
    code: str
    severity: Severity
    message: str
    position: Position | None = None
    hint: str = ""
    related: tuple[Related, ...] = ()


class InvalidInput(Exception):
    """The input cannot be compiled; carries every diagnostic of the run, warnings included."""

    def __init__(self, diagnostics: Sequence[Diagnostic]) -> None:
        super().__init__(f"{count_errors(diagnostics)} errors")
        self.diagnostics = tuple(diagnostics)


class Collector:
    """Gathers the diagnostics of a stage so that one run reports them all."""

    def __init__(self) -> None:
        self._found: list[Diagnostic] = []

    def error(
        self, code: str, message: str, position: Position | None, *, hint: str = "", related: tuple[Related, ...] = ()
    ) -> None:
        self._found.append(Diagnostic(code, Severity.ERROR, message, position, hint, related))

    def warning(
        self, code: str, message: str, position: Position | None, *, hint: str = "", related: tuple[Related, ...] = ()
    ) -> None:
        self._found.append(Diagnostic(code, Severity.WARNING, message, position, hint, related))

    @property
    def found(self) -> tuple[Diagnostic, ...]:
        return tuple(self._found)

    @property
    def failed(self) -> bool:
        return any(d.severity is Severity.ERROR for d in self._found)

    def raise_if_failed(self) -> None:
        if self.failed:
            raise InvalidInput(in_order(self._found))


def count_errors(diagnostics: Iterable[Diagnostic]) -> int:
    return sum(d.severity is Severity.ERROR for d in diagnostics)


def in_order(diagnostics: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
    """Sorted by file and place, duplicates removed, so that a run's report does not depend on the order of input."""

    def key(d: Diagnostic) -> tuple[str, int, int, str, str]:
        if d.position is None:
            return ("", 0, 0, d.code, d.message)
        return (d.position.source.name, d.position.line, d.position.column, d.code, d.message)

    return tuple(sorted(dict.fromkeys(diagnostics), key=key))


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint that names the known word closest to ``word``, or the empty string."""
    close = difflib.get_close_matches(word, sorted(known), n=1, cutoff=0.6)
    return f"did you mean {quoted(close[0])}?" if close else ""


def quoted(text: str, limit: int = 80) -> str:
    """``text`` in quotes, cut to ``limit`` characters, with nothing in it that a terminal would act on."""
    cut = text if len(text) <= limit else text[: limit - 1] + "…"
    return f"'{printable(cut)}'"


def printable(text: str) -> str:
    """``text`` with control, format and bidirectional characters spelled as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def as_text(diagnostic: Diagnostic) -> str:
    """``file:line:col: severity: message [code]``, the source line, a caret, the hint, the related places."""
    where = f"{printable(str(diagnostic.position))}: " if diagnostic.position else ""
    lines = [f"{where}{diagnostic.severity}: {printable(diagnostic.message)} [{diagnostic.code}]"]
    if diagnostic.position is not None:
        lines += _excerpt(diagnostic.position)
    if diagnostic.hint:
        lines.append(f"  hint: {printable(diagnostic.hint)}")
    for related in diagnostic.related:
        lines.append(f"  {printable(str(related.position))}: {printable(related.message)}")
        lines += _excerpt(related.position)
    return "\n".join(lines)


EXCERPT_WIDTH = 100


def _excerpt(position: Position) -> list[str]:
    line = position.source.line(position.line).replace("\t", " ")
    if not line.strip():
        return []
    start = max(0, position.column - 1 - EXCERPT_WIDTH // 2) if len(line) > EXCERPT_WIDTH else 0
    before = printable(line[start : position.column - 1])
    marked = line[position.column - 1 : position.column - 1 + max(1, position.length)]
    shown = before + printable(line[position.column - 1 : start + EXCERPT_WIDTH])
    number = f"{position.line:>5} | "
    underline = "^" * max(1, min(len(printable(marked)), len(shown) - len(before)))
    return [number + shown, " " * 5 + " | " + " " * len(before) + underline]


def as_json(diagnostic: Diagnostic) -> dict[str, object]:
    """The fields of a diagnostic under stable names, for ``--format json``."""

    def place(position: Position) -> dict[str, object]:
        return {"file": position.source.name, "line": position.line, "column": position.column}

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
    return found
