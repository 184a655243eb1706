"""Traffic classes: the sources that meet the same policies, with the priorities resolved once.

A source address belongs to one class; within a class each destination has one answer.  So the kernel looks
up the source once and the destination once a connection, however many policies there are.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from egress_compiler.ir import Source
from egress_compiler.model.cluster import Pod
from egress_compiler.net import (
    FAMILIES,
    Family,
    Interval,
    Intervals,
    everything,
    format_address,
    format_interval,
    subtract,
    union,
)
from egress_compiler.resolve import ResolvedPolicy

MAX_NAME = 80
"""Of a class; the kernel takes 127 characters for a chain, and prefixes are put before it."""

Stack = tuple[int, ...]
"""Positions in the ordered list of policies, the winner first."""


@dataclass(frozen=True, slots=True)
class Share:
    """What one policy of a class wins: ``destinations`` of a family, or all the ``rest``."""

    policy: int
    destinations: Intervals
    rest: bool


@dataclass(frozen=True, slots=True)
class TrafficClass:
    name: str
    stack: Stack
    shares: Mapping[Family, tuple[Share, ...]]


@dataclass(frozen=True, slots=True)
class Governed:
    """A source as plans say it, and its class; ``node`` is where the pod runs, empty for a subnet."""

    interval: Interval
    source: Source
    node: str
    traffic_class: TrafficClass


@dataclass(frozen=True, slots=True)
class Classification:
    """Which class each source belongs to, by family, sorted by address.  Pods count before subnets."""

    pods: Mapping[Family, tuple[Governed, ...]]
    subnets: Mapping[Family, tuple[Governed, ...]]

    def classes(self) -> Mapping[str, TrafficClass]:
        """Every class by its name, sorted."""
        found = {s.traffic_class.name: s.traffic_class for f in FAMILIES for s in (*self.pods[f], *self.subnets[f])}
        return dict(sorted(found.items()))


def classify(pods: Sequence[Pod], policies: Sequence[ResolvedPolicy]) -> Classification:
    """Every source of ``policies``, which are in the order in which packets meet them."""
    book = _ClassBook(policies)
    by_pod: dict[int, list[int]] = {}
    for position, policy in enumerate(policies):
        for pod in policy.pods:
            by_pod.setdefault(pod, []).append(position)
    of_subnets = {family: _SubnetStacks(family, policies) for family in FAMILIES}
    governed: dict[Family, list[tuple[int, int, Stack]]] = {4: [], 6: []}
    for pod, selected in by_pod.items():
        for family, value in pods[pod].addresses:
            governed[family].append((value, pod, _merge(tuple(selected), of_subnets[family].at(value))))
    return Classification(
        {f: tuple(_pod(f, v, pods[p], book.of(stack)) for v, p, stack in sorted(governed[f])) for f in FAMILIES},
        {f: tuple(_subnet(f, i, book.of(stack)) for i, stack in of_subnets[f].pieces) for f in FAMILIES},
    )


def _pod(family: Family, value: int, pod: Pod, traffic_class: TrafficClass) -> Governed:
    source = Source(format_address(family, value), traffic_class.name, pod.key)
    return Governed(Interval(value, value), source, pod.node, traffic_class)


def _subnet(family: Family, interval: Interval, traffic_class: TrafficClass) -> Governed:
    source = Source(format_interval(family, interval), traffic_class.name, "podSubnet")
    return Governed(interval, source, "", traffic_class)


def _merge(left: Stack, right: Stack) -> Stack:
    return tuple(sorted({*left, *right})) if right else left


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
        cuts = sorted({*starts, *ends})
        for cut, following in pairwise(cuts):
            active.difference_update(ends.get(cut, ()))
            active.update(starts.get(cut, ()))
            if active:
                self._add(Interval(cut, following - 1), tuple(sorted(active)))
        self._firsts = [interval.first for interval, _ in self.pieces]

    def _add(self, interval: Interval, stack: Stack) -> None:
        if self.pieces:
            before, same = self.pieces[-1]
            if same == stack and before.last + 1 == interval.first:
                self.pieces[-1] = (Interval(before.first, interval.last), stack)
                return
        self.pieces.append((interval, stack))

    def at(self, value: int) -> Stack:
        index = bisect_right(self._firsts, value) - 1
        if index < 0 or self.pieces[index][0].last < value:
            return ()
        return self.pieces[index][1]


class _ClassBook:
    """Makes each class once.  Policies that win nothing in a class are no part of it."""

    def __init__(self, policies: Sequence[ResolvedPolicy]) -> None:
        self._policies = policies
        self._by_stack: dict[Stack, TrafficClass] = {}

    def of(self, stack: Stack) -> TrafficClass:
        known = self._by_stack.get(stack)
        if known is None:
            known = self._by_stack[stack] = self._make(stack)
        return known

    def _make(self, stack: Stack) -> TrafficClass:
        shares = {family: _shares(family, stack, self._policies) for family in FAMILIES}
        winners = tuple(sorted({share.policy for family in FAMILIES for share in shares[family]}))
        if winners != stack and winners:
            return self.of(winners)
        return TrafficClass(class_name([self._policies[position] for position in stack]), stack, shares)


def _shares(family: Family, stack: Stack, policies: Sequence[ResolvedPolicy]) -> tuple[Share, ...]:
    taken: Intervals = ()
    shares: list[Share] = []
    for position in stack:
        destinations = policies[position].policy.destinations
        wanted = everything(family) if destinations is None else destinations[family]
        won = subtract(wanted, taken)
        if not won:
            continue
        taken = union([*taken, *won])
        complete = taken == everything(family)
        shares.append(Share(position, () if complete else won, complete))
        if complete:
            break
    return tuple(shares)


def class_name(stack: Sequence[ResolvedPolicy]) -> str:
    """A chain-safe name that says the first policy, and for several a digest of the others.

    It depends on nothing but the policies' names, so that no other change renames it; and as no Kubernetes name has
    an underscore, nobody can name a policy like the class of others.
    """
    short = {"EgressPolicy": "egp", "EgressClusterPolicy": "egcp"}
    refs = [policy.policy.ref for policy in stack]
    first = refs[0]
    name = ".".join(part for part in (short[first.kind], first.namespace, first.name) if part)
    if len(refs) == 1 and len(name) <= MAX_NAME:
        return name
    digest = hashlib.sha256("\n".join(map(str, refs)).encode()).hexdigest()[:10]
    more = f"_and{len(refs) - 1}" if len(refs) > 1 else ""
    return f"{name[: MAX_NAME - 20]}{more}_{digest}"
