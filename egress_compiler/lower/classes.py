"""Traffic classes: the policy orders that win something, each with a name.

A source address belongs to one class; within a class each destination has one answer.  So the kernel looks
up the source once and the destination once a connection, however many policies there are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from egress_compiler.classify import Classified, PolicyOrder, Win
from egress_compiler.ir import Source
from egress_compiler.model.cluster import Pod
from egress_compiler.net import FAMILIES, Family, Interval, Intervals, format_address, format_interval
from egress_compiler.resolve import ResolvedPolicy

MAX_NAME = 80
"""Of a class; the kernel takes 127 characters for a chain, and prefixes are put before it."""


@dataclass(frozen=True, slots=True)
class Share:
    """What one policy of a class wins: ``destinations`` of a family, or all the ``rest``."""

    policy: int
    destinations: Intervals
    rest: bool


@dataclass(frozen=True, slots=True)
class TrafficClass:
    name: str
    stack: PolicyOrder
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


def traffic_classes(classified: Classified) -> Classification:
    """Every source of ``classified`` with the class of its policy order."""
    book, pods = _ClassBook(classified), classified.resolved.cluster.pods
    return Classification(
        {f: tuple(_pod(f, p.value, pods[p.pod], book.of(p.order)) for p in classified.pods[f]) for f in FAMILIES},
        {f: tuple(_subnet(f, s.interval, book.of(s.order)) for s in classified.subnets[f]) for f in FAMILIES},
    )


def _pod(family: Family, value: int, pod: Pod, traffic_class: TrafficClass) -> Governed:
    source = Source(format_address(family, value), traffic_class.name, pod.key)
    return Governed(Interval(value, value), source, pod.node, traffic_class)


def _subnet(family: Family, interval: Interval, traffic_class: TrafficClass) -> Governed:
    source = Source(format_interval(family, interval), traffic_class.name, "podSubnet")
    return Governed(interval, source, "", traffic_class)


class _ClassBook:
    """Makes each class once.  Policies that win nothing in a class are no part of it."""

    def __init__(self, classified: Classified) -> None:
        self._classified = classified
        self._by_order: dict[PolicyOrder, TrafficClass] = {}

    def of(self, order: PolicyOrder) -> TrafficClass:
        known = self._by_order.get(order)
        if known is None:
            walked = self._classified.walked(order) or order
            known = self._by_order[order] = self._make(order) if walked == order else self.of(walked)
        return known

    def _make(self, order: PolicyOrder) -> TrafficClass:
        policies, wins = self._classified.resolved.policies, self._classified.wins
        shares = {f: tuple(Share(w.policy, _named(w), w.rest) for w in wins(order, f)) for f in FAMILIES}
        return TrafficClass(class_name([policies[position] for position in order]), order, shares)


def _named(win: Win) -> Intervals:
    return () if win.rest else win.region.intervals


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
