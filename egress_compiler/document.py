"""A YAML or JSON document as plain data, with the place of every key and value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from egress_compiler.source import Position, SourceFile

Path = tuple[str | int, ...]
Plain = None | bool | int | float | str | list["Plain"] | dict[str, "Plain"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value stands, and where its key stands when it is a mapping's entry."""

    value: Position
    key: Position | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Document:
    """``data`` is JSON-like; ``places`` has an entry for the path of each value, the root being ``()``.

    A document cut out of a List shares the places of the whole; ``root`` is its path in there.
    """

    source: SourceFile
    data: Plain
    places: Mapping[Path, Place] = field(repr=False)
    root: Path = ()

    def at(self, *path: str | int) -> Position:
        """The place of the value at ``path``, or of its nearest ancestor that exists."""
        full = self.root + path
        while full and full not in self.places:
            full = full[:-1]
        return self.places[full].value

    def key_at(self, *path: str | int) -> Position:
        """The place of the key at ``path``; of the value where there is no key."""
        place = self.places.get(self.root + path)
        return place.key if place is not None and place.key is not None else self.at(*path)

    def part(self, data: Plain, *path: str | int) -> Document:
        return Document(self.source, data, self.places, self.root + path)
