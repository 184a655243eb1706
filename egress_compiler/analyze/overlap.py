"""Policies that meet others on the same packets: who wins, and who never does.

Pods that are selected by the same policies are looked at once.  Per such group the policies are walked in their order
over the destinations outside the cluster, each taking what is still free.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice, pairwise, takewhile
from typing import NamedTuple

from egress_compiler.analyze.destinations import Reach
from egress_compiler.diagnostics import Collector, Related, listing
from egress_compiler.net import BITS, FAMILIES, Family, Interval, format_interval, size
from egress_compiler.resolve import Resolved, ResolvedPolicy
from egress_compiler.source import Position

Stack = tuple[int, ...]
"""Positions in the ordered list of policies, the winner first."""

ENOUGH = 8
"""Winners that are remembered of a policy; more are of no use in a message."""


class _Example(NamedTuple):
    """A source and a destination for which a policy loses."""

    source: str
    destination: str


@dataclass(slots=True)
class _Fate:
    """What became of one policy: whether it wins anything anywhere, who wins instead, and who of those by name only."""

    wins: bool = False
    winners: dict[int, _Example] = field(default_factory=dict)
    equals: dict[int, _Example] = field(default_factory=dict)

    def lost_to(self, owner: int, equal: bool, example: _Example) -> None:
        if len(self.winners) < ENOUGH:
            self.winners.setdefault(owner, example)
        if equal and len(self.equals) < ENOUGH:
            self.equals.setdefault(owner, example)


def check_overlaps(resolved: Resolved, reach: Reach, found: Collector) -> None:
    """Warnings for policies that are wholly shadowed, and for those that overlap with equal priority."""
    fates = [_Fate() for _ in resolved.policies]
    priorities = [policy.policy.priority for policy in resolved.policies]
    for family in FAMILIES:
        wanted = [reach.of(policy, family) for policy in resolved.policies]
        free = (1 << BITS[family]) - size(resolved.inside[family])
        for stack, source in _stacks(resolved, family).items():
            if len(stack) == 1:
                fates[stack[0]].wins |= wanted[stack[0]] != []
            else:
                _walk(family, stack, source, _Wishes(wanted, priorities, free), fates)
    for position, fate in enumerate(fates):
        _report(resolved, position, fate, found)


def _stacks(resolved: Resolved, family: Family) -> dict[Stack, str]:
    """Every combination of policies that some source has, with an example of such a source."""
    subnets = _SubnetStacks(family, resolved.policies)
    by_pod: dict[int, list[int]] = {}
    for position, policy in enumerate(resolved.policies):
        for pod in policy.pods:
            by_pod.setdefault(pod, []).append(position)
    stacks: dict[Stack, str] = {}
    pods = resolved.cluster.pods
    for pod in range(len(pods)) if subnets.pieces else sorted(by_pod):
        selected = tuple(by_pod.get(pod, ()))
        for of_family, value in pods[pod].addresses:
            if of_family == family:
                also = subnets.at(value)
                stack = tuple(sorted({*selected, *also})) if also else selected
                if stack:
                    stacks.setdefault(stack, f"pod {pods[pod].key}")
    for interval, stack in subnets.pieces:
        stacks.setdefault(stack, format_interval(family, interval))
    return stacks


class _SubnetStacks:
    """The address space cut at the ends of all podSubnets: for each piece the policies that cover it."""

    def __init__(self, family: Family, policies: Sequence[ResolvedPolicy]) -> None:
        starts: dict[int, list[int]] = {}
        ends: dict[int, list[int]] = {}
        for position, policy in enumerate(policies):
            for first, last in policy.subnets[family]:
                starts.setdefault(first, []).append(position)
                ends.setdefault(last + 1, []).append(position)
        self.pieces: list[tuple[Interval, Stack]] = []
        active: set[int] = set()
        for cut, following in pairwise(sorted({*starts, *ends})):
            active.difference_update(ends.get(cut, ()))
            active.update(starts.get(cut, ()))
            if active:
                self.pieces.append((Interval(cut, following - 1), tuple(sorted(active))))
        self._firsts = [interval.first for interval, _ in self.pieces]

    def at(self, value: int) -> Stack:
        index = bisect_right(self._firsts, value) - 1
        if index < 0 or self.pieces[index][0].last < value:
            return ()
        return self.pieces[index][1]


class _Taken:
    """Destinations that have a winner already: disjoint pieces, and whoever took all the rest."""

    def __init__(self) -> None:
        self._firsts: list[int] = []
        self._pieces: list[tuple[Interval, int]] = []
        self.count = 0
        self.rest: int | None = None
        self.winners: dict[int, Interval] = {}

    def take(self, interval: Interval, policy: int) -> tuple[bool, list[tuple[int, Interval]]]:
        """Gives what is free of ``interval`` to ``policy``; whether that was anything, and who has the other parts."""
        low = bisect_left(self._firsts, interval.first)
        if low and self._pieces[low - 1][0].last >= interval.first:
            low -= 1
        high = bisect_right(self._firsts, interval.last)
        others = [(owner, piece) for piece, owner in self._pieces[low:high]]
        free = _gaps(interval, [piece for _, piece in others])
        if self.rest is not None:
            return False, others + [(self.rest, gap) for gap in free]
        if free:
            self.count += sum(last - first + 1 for first, last in free)
            self.winners.setdefault(policy, free[0])
            merged = sorted([*self._pieces[low:high], *((gap, policy) for gap in free)])
            self._pieces[low:high] = merged
            self._firsts[low:high] = [piece.first for piece, _ in merged]
        return bool(free), others


def _gaps(interval: Interval, pieces: Iterable[Interval]) -> list[Interval]:
    free: list[Interval] = []
    start = interval.first
    for first, last in pieces:
        if first > start:
            free.append(Interval(start, first - 1))
        start = max(start, last + 1)
    if start <= interval.last:
        free.append(Interval(start, interval.last))
    return free


class _Wishes(NamedTuple):
    """By policy: the destinations (None: all) and the priority; and how many addresses there are outside."""

    wanted: Sequence[list[Interval] | None]
    priorities: Sequence[int]
    free: int


def _walk(family: Family, stack: Stack, source: str, wishes: _Wishes, fates: Sequence[_Fate]) -> None:
    taken = _Taken()
    for position in stack:
        fate, wants, priority = fates[position], wishes.wanted[position], wishes.priorities[position]
        if wants is None:
            losses: Iterable[tuple[int, Interval]] = _tail(taken.winners, wishes.priorities, priority)
            if taken.rest is None and taken.count < wishes.free:
                fate.wins, taken.rest = True, position
                taken.winners[position] = Interval(0, (1 << BITS[family]) - 1)
        else:
            parts = [taken.take(interval, position) for interval in wants]
            fate.wins |= any(won for won, _ in parts)
            losses = (loss for _, lost in parts for loss in lost)
        for owner, piece in losses:
            equal = wishes.priorities[owner] == priority
            fate.lost_to(owner, equal, _Example(source, format_interval(family, piece)))


def _tail(winners: dict[int, Interval], priorities: Sequence[int], priority: int) -> list[tuple[int, Interval]]:
    """Of the winners, who stand in order, the first few and those of the same priority, who come last."""
    equal = takewhile(lambda owner: priorities[owner] == priority, reversed(winners))
    shown = {*islice(winners, ENOUGH), *islice(equal, ENOUGH)}
    return [(owner, winners[owner]) for owner in sorted(shown)]


def _report(resolved: Resolved, position: int, fate: _Fate, found: Collector) -> None:
    loser = resolved.policies[position].policy
    equal = [str(resolved.policies[winner].policy.ref) for winner in sorted(fate.equals)]
    if not fate.wins and fate.winners:
        found.warning(
            "shadowed",
            f"{loser.ref} never applies: {_winners(resolved, position, fate)} all its sources and destinations",
            _place(resolved, position),
            hint="give it a smaller priority number, make the others narrower, or delete it",
            related=_related(resolved, sorted(fate.winners)),
        )
    elif equal:
        first = min(fate.equals)
        example = fate.equals[first]
        found.warning(
            "equal-priority",
            f"{loser.ref} has the same priority {loser.priority} as {listing(equal)}, and they overlap: {equal[0]} "
            f"wins {_why(resolved, first, position)}, for example from {example.source} to {example.destination}",
            _place(resolved, position),
            hint="give them different priorities, so that the order is written down",
            related=_related(resolved, sorted(fate.equals)),
        )


def _winners(resolved: Resolved, position: int, fate: _Fate) -> str:
    """``A and B win``, or more about it where the names alone decided."""
    names = [str(resolved.policies[winner].policy.ref) for winner in sorted(fate.winners)]
    verb = "wins" if len(names) == 1 else "win"
    equal = [str(resolved.policies[winner].policy.ref) for winner in sorted(fate.equals)]
    priority = f"the same priority {resolved.policies[position].policy.priority}"
    if not equal:
        return f"{listing(names)} {verb}"
    why = _why(resolved, min(fate.equals), position)
    if equal == names:
        overlaps, goes = ("overlaps", "goes") if len(names) == 1 else ("overlap", "go")
        return f"{listing(names)} {overlaps} it with {priority}, {goes} first {why}, and {verb}"
    return f"{listing(names)} (of these {listing(equal)} with {priority}, {why}) {verb}"


def _why(resolved: Resolved, winner: int, loser: int) -> str:
    first, second = resolved.policies[winner].policy, resolved.policies[loser].policy
    if first.namespaced and not second.namespaced:
        return "because it belongs to a namespace and the other to the cluster"
    return "by the order of the names"


def _place(resolved: Resolved, position: int) -> Position:
    """Where the priority is said, else the name."""
    document = resolved.policies[position].policy.document
    data = document.data
    spec = data.get("spec") if isinstance(data, dict) else None
    given = isinstance(spec, dict) and "priority" in spec
    return document.at("spec", "priority") if given else document.at("metadata", "name")


def _related(resolved: Resolved, winners: Iterable[int]) -> tuple[Related, ...]:
    return tuple(
        Related(f"{resolved.policies[winner].policy.ref} is here", _place(resolved, winner))
        for winner in list(winners)[:3]
    )
