"""Where a value stands in the user's files."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One input file: its name as the user gave it, and its decoded text."""

    name: str
    text: str = field(repr=False, compare=False)

    def line(self, number: int) -> str:
        """Line ``number``, counted from 1, without its end; empty past the last."""
        lines = self.text.splitlines()
        return lines[number - 1] if 0 < number <= len(lines) else ""


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a file; ``line`` and ``column`` count from 1, in characters; ``length`` is for the underline."""

    source: SourceFile
    line: int
    column: int
    length: int = 1

    def __str__(self) -> str:
        return f"{self.source.name}:{self.line}:{self.column}"
