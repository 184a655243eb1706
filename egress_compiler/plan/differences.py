"""For which destinations two chains answer differently: interval arithmetic, no packet is tried."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from egress_compiler.model.cluster import Node, Pod, single
from egress_compiler.net import FAMILIES, Family, Interval, Intervals, format_interval, subtract, union
from egress_compiler.plan.model import DIRECT, Answer, Region
from egress_compiler.plan.view import Answers


class InsideChange(NamedTuple):
    """The inside of the cluster, in one family.

    ``joins`` and ``leaves`` are told once, for all pods.  ``taken`` are the ranges of what joins that pods may have
    talked to before, so that they are told of each pod, too; ``quiet`` is what needs no word about a pod: all other
    destinations that are inside before, after, or both.
    """

    joins: Intervals
    leaves: Intervals
    taken: Intervals
    quiet: Intervals


def inside_changes(
    before: Mapping[Family, Intervals],
    after: Mapping[Family, Intervals],
    nodes: Iterable[Node],
    known: Collection[str],
    pods: Iterable[Pod] = (),
) -> Mapping[Family, InsideChange]:
    """``nodes`` are those of now, of which ``known`` were there before; ``pods`` may be new.

    An address that a node or a Service gets was nobody's, and is told once; so is all that comes with a new node.
    """
    owned: dict[Family, list[Interval]] = {4: [], 6: []}
    for node in nodes:
        for address in (*node.addresses, *node.external_addresses):
            owned[address.family].append(single(address.value))
        for family in FAMILIES if node.name not in known else ():
            owned[family] += node.pod_cidrs[family]
    for address in (address for pod in pods for address in pod.addresses):
        owned[address.family].append(single(address.value))
    changes: dict[Family, InsideChange] = {}
    for family in FAMILIES:
        joins, leaves = subtract(after[family], before[family]), subtract(before[family], after[family])
        taken = tuple(part for part in subtract(joins, union(owned[family])) if part.last > part.first)
        quiet = subtract(union([*before[family], *after[family]]), taken)
        changes[family] = InsideChange(joins, leaves, taken, quiet)
    return changes


class Difference(NamedTuple):
    region: Region
    before: Answer
    after: Answer


def differences(family: Family, before: Answers, after: Answers, inside: InsideChange) -> tuple[Difference, ...]:
    """Regions in which a packet takes another path; destinations that are quiet in ``inside`` are never meant.

    Linear in the intervals of both, but for sorting.
    """
    if before == after and not inside.taken:
        return ()
    found: dict[tuple[Answer, Answer], list[Interval]] = {}
    exceptions: list[Interval] = []
    default = (before.rest, after.rest)
    for piece, pair in _pieces(before, after, inside):
        if not _differ(*pair):
            exceptions.append(piece)
        elif pair != default:
            exceptions.append(piece)
            found.setdefault(pair, []).append(piece)
    regions = [Difference(Region(family, _texts(family, pieces), False), *pair) for pair, pieces in found.items()]
    if _differ(*default):
        regions.append(Difference(Region(family, _texts(family, exceptions), True), *default))
    return tuple(regions)


def _differ(before: Answer, after: Answer) -> bool:
    return before.path != after.path


def _texts(family: Family, pieces: Iterable[Interval]) -> tuple[str, ...]:
    return tuple(format_interval(family, interval) for interval in union(pieces))


def _pieces(before: Answers, after: Answers, inside: InsideChange) -> Iterable[tuple[Interval, tuple[Answer, Answer]]]:
    """The destinations that either of them names, cut where an answer may change, with the answers of both."""
    old, new = _Lookup(before.named), _Lookup(after.named)
    taken, quiet = (_Lookup([(i, DIRECT) for i in intervals]) for intervals in (inside.taken, inside.quiet))
    cuts = {point for lookup in (old, new, taken) for point in lookup.cuts}
    for first, following in pairwise(sorted(cuts)):
        pair = (old.at(first), taken.at(first) or new.at(first))
        if pair != (None, None) and not quiet.covers(Interval(first, following - 1)):
            yield Interval(first, following - 1), (pair[0] or before.rest, pair[1] or after.rest)


class _Lookup:
    """Answers by interval, found by binary search."""

    def __init__(self, entries: Sequence[tuple[Interval, Answer]]) -> None:
        self._entries = entries
        self._firsts = [interval.first for interval, _ in entries]
        self.cuts = [point for (first, last), _ in entries for point in (first, last + 1)]

    def at(self, value: int) -> Answer | None:
        index = bisect_right(self._firsts, value) - 1
        if index < 0 or self._entries[index][0].last < value:
            return None
        return self._entries[index][1]

    def covers(self, piece: Interval) -> bool:
        """Whether one interval holds all of ``piece``."""
        index = bisect_right(self._firsts, piece.first) - 1
        return index >= 0 and self._entries[index][0].last >= piece.last
