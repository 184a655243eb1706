"""A YAML or JSON document as plain data, with the place of every key and value."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple, Protocol

from egress_compiler.source import Position, SourceFile

Path = tuple[str | int, ...]
Plain = None | bool | int | float | str | list["Plain"] | dict[str, "Plain"]


class Place(Protocol):
    """Where in a text something is; both count from 0.  The YAML parser's own marks are kept as they are: millions."""

    @property
    def line(self) -> int: ...
    @property
    def column(self) -> int: ...


class Mark(NamedTuple):
    """A place that is made here."""

    line: int
    column: int


class Spot(NamedTuple):
    """Where a value starts and ends, where its key does (when it is a mapping's entry), and what is in it.

    The end of a mapping or list is where its last line of text ends or later.
    """

    start: Place
    end: Place
    key: tuple[Place, Place] | None = None
    inside: Mapping[str, Spot] | Sequence[Spot] | None = None

    def step(self, part: str | int) -> Spot | None:
        """The spot of one entry or item."""
        if isinstance(part, str):
            return self.inside.get(part) if isinstance(self.inside, Mapping) else None
        known = self.inside
        return known[part] if isinstance(known, Sequence) and part < len(known) else None


class LaterSpot:
    """A spot that is made when somebody asks for it: of most documents nobody does."""

    def __init__(self, make: Callable[[], Spot]) -> None:
        self._make = make

    @cached_property
    def spot(self) -> Spot:
        return self._make()


class Places(Protocol):
    """Where in a document something stands, which is all that typed values keep of it; ``Document`` has the promises.

    What is written there is out of reach: it was read once, and nobody reads it again in another way.
    """

    @property
    def source(self) -> SourceFile: ...
    @property
    def faults(self) -> frozenset[Path]: ...
    def has(self, *path: str | int) -> bool: ...
    def at(self, *path: str | int) -> Position: ...
    def key_at(self, *path: str | int) -> Position: ...
    def faulty(self, *path: str | int) -> bool: ...


@dataclass(frozen=True, slots=True, eq=False)
class Document:
    """``data`` is JSON-like; ``spot`` has the places of all that is in it, and ``given`` is it or makes it.

    ``faults`` are the paths of values that were reported as wrong already: what follows from them is no news.  Without
    ``nulls`` no value in it is null; with it some may be.
    """

    source: SourceFile
    data: Plain
    given: Spot | LaterSpot = field(repr=False)
    faults: frozenset[Path] = frozenset()
    nulls: bool = True

    @property
    def spot(self) -> Spot:
        return self.given.spot if isinstance(self.given, LaterSpot) else self.given

    def _walk(self, path: Path) -> tuple[Spot, int]:
        """The spot at ``path`` or of its nearest ancestor that exists, and how many steps were possible."""
        spot = self.spot
        for depth, part in enumerate(path):
            following = spot.step(part)
            if following is None:
                return spot, depth
            spot = following
        return spot, len(path)

    def has(self, *path: str | int) -> bool:
        """Whether there is a value at ``path``, which is not empty."""
        return bool(path) and self._walk(path)[1] == len(path)

    def at(self, *path: str | int) -> Position:
        """The place of the value at ``path``, or of its nearest ancestor that exists."""
        spot, _ = self._walk(path)
        return self._position(spot.start, spot.end)

    def key_at(self, *path: str | int) -> Position:
        """The place of the key at ``path`` or of its nearest ancestor that exists; of the value where it has none."""
        spot, _ = self._walk(path)
        return self._position(*spot.key) if spot.key is not None else self._position(spot.start, spot.end)

    def _position(self, start: Place, end: Place) -> Position:
        length = end.column - start.column if end.line == start.line else 1
        return Position(self.source, start.line + 1, start.column + 1, max(1, length))

    def covers(self, position: Position) -> bool:
        """Whether ``position`` is a place in this document."""
        if position.source != self.source:
            return False
        place = (position.line - 1, position.column - 1)
        first = self.spot.key[0] if self.spot.key is not None else self.spot.start
        return (first.line, first.column) <= place <= (self.spot.end.line, self.spot.end.column)

    def faulty(self, *path: str | int) -> bool:
        """Whether something at, above or below ``path`` was reported as wrong."""
        return any(fault[: len(path)] == path[: len(fault)] for fault in self.faults)

    def doubtful(self, *path: str | int) -> bool:
        """Whether the value at ``path``, or one that it is in, was reported as wrong."""
        return any(fault == path[: len(fault)] for fault in self.faults)

    def part(self, data: Plain, *path: str | int) -> Document:
        """``data``, which stands at ``path``, as a document of its own."""
        depth = len(path)
        faults = frozenset(fault[depth:] for fault in self.faults if fault[:depth] == path)
        given = LaterSpot(lambda: self._walk(path)[0]) if isinstance(self.given, LaterSpot) else self._walk(path)[0]
        return Document(self.source, data, given, faults, self.nulls)

    def with_data(self, data: Plain, faults: frozenset[Path] | None = None) -> Document:
        """The same places for changed data."""
        return replace(self, data=data, faults=self.faults if faults is None else faults, nulls=True)
