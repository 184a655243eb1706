"""Where a value stands in the user's files."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol


@dataclass(frozen=True, eq=False)
class SourceFile:
    """One input file: its name as the user gave it, and its decoded text with plain ``\\n`` line ends.

    Two are equal when their names are, as a run reads each file once.
    """

    name: str
    text: str = field(repr=False)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SourceFile) and self.name == other.name

    def __hash__(self) -> int:
        return hash(self.name)

    @cached_property
    def _lines(self) -> list[str]:
        return self.text.split("\n")

    def line(self, number: int) -> str:
        """Line ``number``, counted from 1, without its end; empty past the last."""
        return self._lines[number - 1] if 0 < number <= len(self._lines) else ""


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a file; ``line`` and ``column`` count from 1, in characters; ``length`` is for the underline."""

    source: SourceFile
    line: int
    column: int
    length: int = 1

    def __str__(self) -> str:
        return f"{self.source.name}:{self.line}:{self.column}"


class Origin(Protocol):
    """Tells where an object's values stand."""

    def at(self, *path: str | int) -> Position: ...
