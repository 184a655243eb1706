"""A node's part as a worker: classify its own pods' connections and steer them to their slots."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from egress_compiler.allocate import Allocation
from egress_compiler.ir import Slot, Source, SourceMaps, SteerAnswer, SteerClass, SteerRoute, SteerRule
from egress_compiler.lower.classes import Classification, Governed, Share, TrafficClass
from egress_compiler.lower.tunnel import TunnelLayout
from egress_compiler.lower.unknown import REFUSED, UnknownSources
from egress_compiler.model.cluster import Node
from egress_compiler.net import FAMILIES, Family, format_address, format_interval, parse_span
from egress_compiler.numbering import (
    MARK_MASK,
    STEER_RULE_PREFERENCE,
    TUNNEL_DEVICE,
    UNREACHABLE_METRIC,
    slot_mark,
    slot_table,
)
from egress_compiler.resolve import Resolved


@dataclass(frozen=True, slots=True)
class Steering:
    sources: SourceMaps
    classes: tuple[SteerClass, ...]


class WorkerSide:
    def __init__(
        self,
        resolved: Resolved,
        allocation: Allocation,
        classification: Classification,
        layout: TunnelLayout,
        unknown: UnknownSources,
    ) -> None:
        self._resolved = resolved
        self._allocation = allocation
        self._layout = layout
        self._unknown = unknown
        self._classes: dict[str, SteerClass] = {}
        self._subnets = {family: tuple(s.source for s in classification.subnets[family]) for family in FAMILIES}
        self._subnet_classes = {
            s.traffic_class.name: s.traffic_class for f in FAMILIES for s in classification.subnets[f]
        }
        self._by_node: dict[str, dict[Family, list[Governed]]] = {}
        for family in FAMILIES:
            for pod in classification.pods[family]:
                self._by_node.setdefault(pod.node, {4: [], 6: []})[family].append(pod)

    def steering(self, node: Node) -> Steering:
        """The sources on ``node`` and the classes they need; subnets go to every node, as any may have the pod."""
        pods = self._by_node.get(node.name, {4: [], 6: []})
        needed = self._subnet_classes | {pod.traffic_class.name: pod.traffic_class for f in FAMILIES for pod in pods[f]}
        maps = SourceMaps(
            pods4=tuple(pod.source for pod in pods[4]),
            pods6=tuple(pod.source for pod in pods[6]),
            subnets4=self._subnets_of(node, 4),
            subnets6=self._subnets_of(node, 6),
        )
        classes = tuple(self._class(needed[name]) for name in sorted(needed))
        refused = any(s.traffic_class == REFUSED.name for s in (*maps.subnets4, *maps.subnets6))
        return Steering(maps, (*classes, REFUSED) if refused else classes)

    def _subnets_of(self, node: Node, family: Family) -> tuple[Source, ...]:
        unknown = self._unknown.of(node, family)
        if not unknown:
            return self._subnets[family]
        return tuple(sorted((*self._subnets[family], *unknown), key=lambda s: parse_span(s.source).interval))

    def _class(self, traffic_class: TrafficClass) -> SteerClass:
        known = self._classes.get(traffic_class.name)
        if known is None:
            policies = tuple(str(self._resolved.policies[p].policy.ref) for p in traffic_class.stack)
            four, six = (self._answers(f, traffic_class.shares[f]) for f in FAMILIES)
            known = self._classes[traffic_class.name] = SteerClass(traffic_class.name, policies, four, six)
        return known

    def _answers(self, family: Family, shares: Sequence[Share]) -> tuple[SteerAnswer, ...]:
        answers: list[SteerAnswer] = []
        for share in shares:
            policy = self._resolved.policies[share.policy].policy
            destinations = tuple(format_interval(family, i) for i in share.destinations)
            slot = self._slot_of(share.policy, family)
            answers.append(SteerAnswer(destinations, slot, str(policy.ref), self._direct(share.policy)))
        return tuple(answers)

    def _direct(self, position: int) -> bool:
        """Whether the policy's gateway has no node, and falls back to the address of the pod's node."""
        resolved = self._resolved.policies[position]
        return resolved.gateway.falls_back and self._allocation.placements[resolved.policy.ref].slot is None

    def _slot_of(self, position: int, family: Family) -> int | None:
        """The slot that carries the family, or None: the policy has no address to leave with."""
        resolved = self._resolved.policies[position]
        placement = self._allocation.placements[resolved.policy.ref]
        if placement.use_node_ip:
            nodes = self._resolved.gateways[resolved.gateway.name].nodes
            possible = any(node.address(family) is not None for node in nodes)
        else:
            possible = placement.eip.of(family) is not None
        return placement.slot if possible and family in self._resolved.families else None

    def slots(self, steering: Steering) -> tuple[Slot, ...]:
        """The slots that ``steering`` uses."""
        numbers = sorted(
            {
                answer.slot
                for traffic_class in steering.classes
                for answer in (*traffic_class.ipv4, *traffic_class.ipv6)
                if answer.slot is not None
            }
        )
        return tuple(self._slot(number) for number in numbers)

    def _slot(self, number: int) -> Slot:
        slot = self._allocation.slots[number]
        vips = tuple(format_address(family, value) for family, value in slot.tunnel_vips.items())
        falls_back = self._resolved.gateways[slot.gateway].gateway.falls_back
        return Slot(number, slot.gateway, slot.node, slot_mark(number), slot_table(number), vips, falls_back)

    def rules(self, slots: Iterable[Slot]) -> tuple[SteerRule, ...]:
        return tuple(
            SteerRule(family, STEER_RULE_PREFERENCE, slot.mark, MARK_MASK, slot.table, slot.number)
            for family in self._resolved.families
            for slot in slots
        )

    def routes(self, slots: Iterable[Slot]) -> tuple[SteerRoute, ...]:
        """To the tunnel VIP; and unreachable behind it, so that a lost tunnel never means the main table."""
        routes: list[SteerRoute] = []
        for slot in slots:
            for family, vip in zip(self._resolved.families, slot.tunnel_vips, strict=True):
                routes.append(SteerRoute(family, slot.table, vip, TUNNEL_DEVICE, None, slot.number))
                routes.append(SteerRoute(family, slot.table, None, None, UNREACHABLE_METRIC, slot.number))
        return tuple(sorted(routes, key=lambda r: (r.family, r.table, r.metric or 0)))
