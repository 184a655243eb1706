"""What a policy matches of a packet beside its source.  Today that is the destination address.

All code that tells who wins works on ``Region`` and ``Claims`` alone: a match by protocol and port is a change of this
module, not of its readers.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass
from typing import NamedTuple

from egress_compiler.net import (
    BITS,
    Family,
    Interval,
    Intervals,
    contains,
    covers,
    everything,
    intersect,
    size,
    subtract,
    union,
)


@dataclass(frozen=True, slots=True)
class Region:
    """Destinations of one family: sorted, disjoint intervals that do not touch.  False where it is empty."""

    family: Family
    intervals: Intervals

    @classmethod
    def everything(cls, family: Family) -> Region:
        return cls(family, everything(family))

    def __bool__(self) -> bool:
        return bool(self.intervals)

    @property
    def is_everything(self) -> bool:
        return self.intervals == everything(self.family)

    @property
    def size(self) -> int:
        return size(self.intervals)

    def within(self, other: Region) -> bool:
        """Whether ``other`` has all of it; a binary search an interval."""
        return all(covers(other.intervals, interval) for interval in self.intervals)

    def contains(self, value: int) -> bool:
        return contains(self.intervals, value)

    def union(self, other: Region) -> Region:
        return Region(self.family, union([*self.intervals, *other.intervals]))

    def subtract(self, other: Region) -> Region:
        return Region(self.family, subtract(self.intervals, other.intervals))

    def intersect(self, other: Region) -> Region:
        return Region(self.family, intersect(self.intervals, other.intervals))


SMALL = 8
"""A claim with less than such a part of the pieces there are is put in piece by piece, a larger one sorted in."""


class _Piece(NamedTuple):
    first: int
    last: int
    owner: int


class Claims:
    """Regions of one family that have an owner already, each part one.  Asking for a region costs what it overlaps."""

    def __init__(self, family: Family) -> None:
        self._family = family
        self._pieces: list[_Piece] = []
        self._size = 0

    @property
    def complete(self) -> bool:
        """Whether everything has its owner."""
        return self._size == 1 << BITS[self._family]

    def free(self, region: Region) -> Region:
        """What of ``region`` nobody has."""
        free: list[Interval] = []
        for first, last in region.intervals:
            start = first
            for piece in self._overlapping(first, last):
                if piece.first > start:
                    free.append(Interval(start, piece.first - 1))
                start = piece.last + 1
            if start <= last:
                free.append(Interval(start, last))
        return Region(self._family, tuple(free))

    def owners(self, region: Region) -> dict[int, Region]:
        """Who has which part of ``region``, the parts in ascending order."""
        parts: dict[int, list[Interval]] = {}
        for first, last in region.intervals:
            for piece in self._overlapping(first, last):
                parts.setdefault(piece.owner, []).append(Interval(max(first, piece.first), min(last, piece.last)))
        return {owner: Region(self._family, union(parts[owner])) for owner in parts}

    def claim(self, free: Region, owner: int) -> None:
        """Gives ``free``, which nobody has, to ``owner``."""
        if not free:
            return
        self._size += free.size
        added = [_Piece(first, last, owner) for first, last in free.intervals]
        if SMALL * len(added) > len(self._pieces):
            self._pieces = sorted([*self._pieces, *added])
        else:
            for piece in added:
                insort(self._pieces, piece)

    def _overlapping(self, first: int, last: int) -> list[_Piece]:
        low = bisect_left(self._pieces, (first,))
        if low and self._pieces[low - 1].last >= first:
            low -= 1
        return self._pieces[low : bisect_left(self._pieces, (last + 1,), low)]
