"""One set of node plans, indexed: which class a source has, what a class answers, who owns which EIP."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol

from egress_compiler.decide import Outcome
from egress_compiler.ir import (
    ConnectionSync,
    Role,
    Slot,
    SnatClass,
    Source,
    SourceMaps,
    SteerAnswer,
    SteerClass,
    Tunnel,
    VrrpInstance,
)
from egress_compiler.lower.unknown import OWNER as UNKNOWN
from egress_compiler.net import FAMILIES, Family, Interval, Intervals, parse_address, parse_span, union
from egress_compiler.plan.model import DIRECT, Answer


class NodeView(Protocol):
    """What of a NodePlan is compared; an older bundle may have more or less of the rest."""

    @property
    def node(self) -> str: ...
    @property
    def role(self) -> Role: ...
    @property
    def tunnel(self) -> Tunnel: ...
    @property
    def inside4(self) -> tuple[str, ...]: ...
    @property
    def inside6(self) -> tuple[str, ...]: ...
    @property
    def slots(self) -> tuple[Slot, ...]: ...
    @property
    def steer_sources(self) -> SourceMaps: ...
    @property
    def steer_classes(self) -> tuple[SteerClass, ...]: ...
    @property
    def snat_classes(self) -> tuple[SnatClass, ...]: ...
    @property
    def snat_addresses4(self) -> tuple[str, ...]: ...
    @property
    def snat_addresses6(self) -> tuple[str, ...]: ...
    @property
    def eips4(self) -> tuple[str, ...]: ...
    @property
    def eips6(self) -> tuple[str, ...]: ...
    @property
    def vrrp(self) -> tuple[VrrpInstance, ...]: ...
    @property
    def sync(self) -> ConnectionSync | None: ...
    @property
    def cut(self) -> tuple[str, ...]: ...


class PodEntry(NamedTuple):
    """An address of a governed pod: where the pod is, and its class."""

    node: str
    address: str
    traffic_class: str


class Answers(NamedTuple):
    """What one class answers, in one family: for the destinations that it names, and for the rest."""

    named: tuple[tuple[Interval, Answer], ...]
    rest: Answer


NOTHING = Answers((), DIRECT)


class SubnetTable:
    """Which class a source address has that is no known pod's."""

    def __init__(self, sources: Iterable[Source]) -> None:
        # Which sources are unknown changes with every pod, and is no policy's doing.
        named = [source for source in sources if source.owner != UNKNOWN]
        pieces = sorted((parse_span(source.source).interval, source.traffic_class) for source in named)
        self.pieces: tuple[tuple[Interval, str], ...] = tuple(pieces)
        self._firsts = [interval.first for interval, _ in pieces]

    def at(self, value: int) -> str | None:
        index = bisect_right(self._firsts, value) - 1
        if index < 0 or self.pieces[index][0].last < value:
            return None
        return self.pieces[index][1]


class Side:
    """The plans of one bundle.  A class or a slot means the same on every node, so the first that has it counts."""

    def __init__(self, plans: Iterable[NodeView]) -> None:
        self.nodes: Mapping[str, NodeView] = {plan.node: plan for plan in plans}
        self.classes: dict[str, SteerClass] = {}
        self.slots: dict[int, Slot] = {}
        self.pods: dict[str, dict[Family, list[PodEntry]]] = {}
        self.subnets: dict[str, Mapping[Family, SubnetTable]] = {}
        self.eips: dict[str, VrrpInstance] = {}
        self._order: dict[int, list[tuple[int, str]]] = {}
        self._snat: dict[str, Mapping[str, SnatClass]] = {}
        self._answers: dict[tuple[str, Family], Answers] = {}
        self._tables: dict[tuple[Source, ...], SubnetTable] = {}
        self._seen: dict[int, SubnetTable] = {}
        for plan in self.nodes.values():
            self._add(plan)
        self.inside: Mapping[Family, Intervals] = self._inside()
        self.cut = frozenset(policy for plan in self.nodes.values() for policy in plan.cut)

    def _add(self, plan: NodeView) -> None:
        self.classes |= {steer.name: steer for steer in plan.steer_classes if steer.name not in self.classes}
        self.slots |= {slot.number: slot for slot in plan.slots if slot.number not in self.slots}
        maps = plan.steer_sources
        for family, sources in ((FAMILIES[0], maps.pods4), (FAMILIES[1], maps.pods6)):
            for source in sources:
                entry = PodEntry(plan.node, source.source, source.traffic_class)
                self.pods.setdefault(source.owner, {4: [], 6: []})[family].append(entry)
        self.subnets[plan.node] = {4: self._table(maps.subnets4), 6: self._table(maps.subnets6)}
        self._snat[plan.node] = {snat.name: snat for snat in plan.snat_classes}
        for instance in plan.vrrp:
            self._order.setdefault(instance.slot, []).append((-instance.priority, plan.node))
            self.eips |= {eip.address: instance for eip in instance.eips if eip.address not in self.eips}

    def _table(self, sources: tuple[Source, ...]) -> SubnetTable:
        """Every node has the same subnets, so they are read once; compared only where they are not the same object."""
        if id(sources) not in self._seen:
            if sources not in self._tables:
                self._tables[sources] = SubnetTable(sources)
            self._seen[id(sources)] = self._tables[sources]
        return self._seen[id(sources)]

    def _inside(self) -> Mapping[Family, Intervals]:
        first = next(iter(self.nodes.values()), None)
        if first is None:
            return {4: (), 6: ()}
        return {
            4: union(parse_span(text).interval for text in first.inside4),
            6: union(parse_span(text).interval for text in first.inside6),
        }

    def class_of(self, node: str, family: Family, address: str) -> str | None:
        """The class of a source that is no governed pod; None where no policy selects it."""
        tables = self.subnets.get(node)
        return None if tables is None else tables[family].at(parse_address(address).value)

    def answers(self, traffic_class: str | None, family: Family) -> Answers:
        """What ``traffic_class`` answers in ``family``; without a class everything goes out directly."""
        if traffic_class is None:
            return NOTHING
        key = (traffic_class, family)
        if key not in self._answers:
            self._answers[key] = self._read(self.classes[traffic_class], family)
        return self._answers[key]

    def _read(self, steer: SteerClass, family: Family) -> Answers:
        named: list[tuple[Interval, Answer]] = []
        rest = DIRECT
        for steering in steer.ipv4 if family == 4 else steer.ipv6:
            answer = self._answer(steer.name, steering, family)
            if not steering.destinations:
                rest = answer
            named += [(parse_span(text).interval, answer) for text in steering.destinations]
        return Answers(tuple(sorted(named)), rest)

    def _answer(self, traffic_class: str, steering: SteerAnswer, family: Family) -> Answer:
        """The preferred gateway decides, as it is the master while it is up; without an address the next one does."""
        slot = self.slots.get(steering.slot) if steering.slot is not None else None
        if slot is None:
            return Answer("direct" if steering.direct else "blocked", policy=steering.origin)
        for _, node in sorted(self._order.get(slot.number, ())):
            address = self._translation(node, traffic_class, steering.origin, family)
            if address is not None:
                plan = self.nodes[node]
                is_eip = address in (plan.eips4 if family == 4 else plan.eips6)
                outcome: Outcome = "eip" if is_eip else "node-ip"
                return Answer(outcome, address, steering.origin, slot.number, slot.gateway, slot.preferred_node)
        return Answer("blocked", policy=steering.origin)

    def _translation(self, node: str, traffic_class: str, origin: str, family: Family) -> str | None:
        snat = self._snat[node].get(traffic_class)
        for answer in () if snat is None else snat.ipv4 if family == 4 else snat.ipv6:
            if answer.origin == origin:
                return answer.address
        return None
