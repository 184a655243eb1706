"""Policies that meet others on the same packets: who wins, and who never does.

``classify`` says who wins; here the outcomes of a policy in all the orders that it is in come together.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from itertools import chain
from typing import NamedTuple

from egress_compiler.classify import Classified, GovernedPod, GovernedSubnet, Loss, PolicyOrder
from egress_compiler.diagnostics import Collector, Related, listing
from egress_compiler.net import FAMILIES, Family, format_interval
from egress_compiler.resolve import Resolved
from egress_compiler.source import Position

Source = GovernedPod | GovernedSubnet

ENOUGH = 8
"""Winners that are remembered of a policy; more are of no use in a message."""


class _Example(NamedTuple):
    """A source for which a policy loses, and what it loses."""

    family: Family
    source: Source
    loss: Loss


@dataclass(slots=True)
class _Record:
    """What became of one policy: whether it wins anything anywhere, who wins instead, and who of those by name only."""

    priority: int
    wins: bool = False
    winners: dict[int, _Example] = field(default_factory=dict)
    equals: dict[int, _Example] = field(default_factory=dict)

    def lost_to(self, winner: _Record, example: _Example) -> None:
        if len(self.winners) < ENOUGH:
            self.winners.setdefault(example.loss.to, example)
        if winner.priority == self.priority and len(self.equals) < ENOUGH:
            self.equals.setdefault(example.loss.to, example)


def check_overlaps(classified: Classified, policies: Collection[int], found: Collector) -> None:
    """Warnings for those of ``policies``, by position, that are wholly shadowed or overlap with equal priority."""
    records = [_Record(policy.policy.priority) for policy in classified.resolved.policies]
    for family in FAMILIES:
        for order, source in _orders(classified, family).items():
            if not any(position in policies for position in order):
                continue
            for outcome in classified.outcomes(order, family):
                record = records[outcome.policy]
                record.wins |= bool(outcome.won)
                for loss in outcome.lost:
                    record.lost_to(records[loss.to], _Example(family, source, loss))
    for position in policies:
        _report(classified, position, records[position], found)


def _orders(classified: Classified, family: Family) -> dict[PolicyOrder, Source]:
    """Every order that some source has, with an example of such a source."""
    orders: dict[PolicyOrder, Source] = {}
    sources: Iterable[Source] = chain(classified.pods[family], classified.subnets[family])
    for source in sources:
        orders.setdefault(source.order, source)
    return orders


def _report(classified: Classified, position: int, record: _Record, found: Collector) -> None:
    resolved = classified.resolved
    loser = resolved.policies[position].policy
    equal = [str(resolved.policies[winner].policy.ref) for winner in sorted(record.equals)]
    if not record.wins and record.winners:
        found.warning(
            "shadowed",
            f"{loser.ref} never applies: {_winners(resolved, position, record)} all its sources and destinations",
            _place(resolved, position),
            hint="give it a smaller priority number, make the others narrower, or delete it",
            related=_related(resolved, sorted(record.winners)),
        )
    elif equal:
        first = min(record.equals)
        source, destination = _shown(classified, record.equals[first])
        found.warning(
            "equal-priority",
            f"{loser.ref} has the same priority {loser.priority} as {listing(equal)}, and they overlap: {equal[0]} "
            f"wins {_why(resolved, first, position)}, for example from {source} to {destination}",
            _place(resolved, position),
            hint="give them different priorities, so that the order is written down",
            related=_related(resolved, sorted(record.equals)),
        )


def _shown(classified: Classified, example: _Example) -> tuple[str, str]:
    """The source and one destination that is outside the cluster, as text."""
    family, source, loss = example
    if isinstance(source, GovernedPod):
        sender = f"pod {classified.resolved.cluster.pods[source.pod].key}"
    else:
        sender = format_interval(family, source.interval)
    outside = loss.region if loss.region.is_everything else loss.region.subtract(classified.inside(family))
    return sender, format_interval(family, outside.intervals[0])


def _winners(resolved: Resolved, position: int, record: _Record) -> str:
    """``A and B win``, or more about it where the names alone decided."""
    names = [str(resolved.policies[winner].policy.ref) for winner in sorted(record.winners)]
    verb = "wins" if len(names) == 1 else "win"
    equal = [str(resolved.policies[winner].policy.ref) for winner in sorted(record.equals)]
    priority = f"the same priority {resolved.policies[position].policy.priority}"
    if not equal:
        return f"{listing(names)} {verb}"
    why = _why(resolved, min(record.equals), position)
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
    path = ("spec", "priority") if document.has("spec", "priority") else ("metadata", "name")
    return document.at(*path)


def _related(resolved: Resolved, winners: Iterable[int]) -> tuple[Related, ...]:
    return tuple(
        Related(f"{resolved.policies[winner].policy.ref} is here", _place(resolved, winner))
        for winner in list(winners)[:3]
    )
