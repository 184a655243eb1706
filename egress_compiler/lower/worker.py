"""A node's worker role: it decides for its own pods' connections what they leave with."""

from __future__ import annotations

from collections.abc import Sequence

from egress_compiler.allocate import Allocation
from egress_compiler.classify import Classified, GovernedPod, PolicyOrder
from egress_compiler.contract.plan import Answer, Both, Source, WorkerRole
from egress_compiler.lower.members import gone_answers, plan_slot
from egress_compiler.lower.policies import PolicyChains
from egress_compiler.lower.sources import Subnets, nodes_at_home
from egress_compiler.lower.unknown import REFUSED, UnknownSources
from egress_compiler.model.cluster import Node
from egress_compiler.net import FAMILIES, Family, format_address, format_interval, parse_span
from egress_compiler.resolve import Resolved


class WorkerRoles:
    def __init__(
        self,
        resolved: Resolved,
        allocation: Allocation,
        classified: Classified,
        chains: PolicyChains,
        unknown: UnknownSources,
    ) -> None:
        self._resolved = resolved
        self._allocation = allocation
        self._classified = classified
        self._chains = chains
        self._unknown = unknown
        self._gone: dict[int, list[Answer]] = {}
        for answer in gone_answers(allocation):
            self._gone.setdefault(answer.slot, []).append(answer)
        self._own_slots: dict[str, set[int]] = {}
        for slot in allocation.slots.values() if resolved.followed else ():
            for name in slot.order:
                self._own_slots.setdefault(name, set()).add(slot.number)
        self._names: dict[PolicyOrder, str] = {}
        self._subnets = {family: self._all_subnets(family) for family in FAMILIES}
        at_home = nodes_at_home(resolved)
        self._places = {
            f: Subnets(resolved, f, [subnet.interval for subnet in classified.subnets[f]], at_home) for f in FAMILIES
        }
        self._by_node: dict[str, dict[Family, list[GovernedPod]]] = {}
        for family in FAMILIES:
            for pod in classified.pods[family]:
                node = resolved.cluster.pods[pod.pod].node
                self._by_node.setdefault(node, {4: [], 6: []})[family].append(pod)

    def of(self, node: Node) -> WorkerRole:
        """Its own pods, and the subnets that a pod of the node can be in; and the gone answers of its slots.

        A gateway has those of all slots that it may own.  Packets of its pods would else leave by the gateway role that
        is near, with an EIP whose replies come to another gateway.  Where it follows its pods, it has all these slots.
        """
        pods = self._by_node.get(node.name, {4: [], 6: []})
        places = {family: self._places[family].of(node) for family in FAMILIES}
        known = self._classified.subnets
        met = {pod.order for family in FAMILIES for pod in pods[family]}
        met |= {known[family][place].order for family in FAMILIES for place in places[family]}
        orders = {*map(self._walked, met)}
        positions = sorted({position for order in orders for position in order})
        answers = [answer for answer in map(self._chains.answer, positions) if answer is not None]
        may_own = {slot for slot in self._gone if answers and node.name in self._allocation.slots[slot].order}
        slots = sorted(may_own | self._own_slots.get(node.name, set()) | {answer.slot for answer in answers})
        answers += [answer for slot in slots for answer in self._gone.get(slot, ())]
        subnets = Both[tuple[Source, ...]].made(lambda f: self._subnets_of(node, f, places[f]))
        refused = any(source.chain == REFUSED.name for f in FAMILIES for source in subnets.of(f))
        policies = sorted((self._chains.chain(position) for position in positions), key=lambda chain: chain.name)
        several = sorted((self._chains.order(order) for order in orders if len(order) > 1), key=lambda o: o.name)
        return WorkerRole(
            pods=Both[tuple[Source, ...]].made(lambda family: self._sources(family, pods[family])),
            subnets=subnets,
            policies=(*policies, *([REFUSED] if refused else [])),
            orders=tuple(several),
            answers=tuple(sorted(answers, key=lambda answer: answer.number)),
            slots=tuple(plan_slot(self._resolved, self._allocation, number) for number in slots),
        )

    def _sources(self, family: Family, pods: Sequence[GovernedPod]) -> tuple[Source, ...]:
        known = self._resolved.cluster.pods
        return tuple(Source(format_address(family, p.value), self._name(p.order), known[p.pod].key) for p in pods)

    def _all_subnets(self, family: Family) -> tuple[Source, ...]:
        return tuple(
            Source(format_interval(family, subnet.interval), self._name(subnet.order), "podSubnet")
            for subnet in self._classified.subnets[family]
        )

    def _subnets_of(self, node: Node, family: Family, places: Sequence[int]) -> tuple[Source, ...]:
        unknown, known = self._unknown.of(node, family), tuple(self._subnets[family][place] for place in places)
        return tuple(sorted((*known, *unknown), key=lambda s: parse_span(s.source).interval)) if unknown else known

    def _name(self, order: PolicyOrder) -> str:
        """Of the chain that an order of policies leads to."""
        known = self._names.get(order)
        if known is None:
            walked = self._walked(order)
            chain = self._chains.chain(walked[0]) if len(walked) == 1 else self._chains.order(walked)
            known = self._names[order] = chain.name
        return known

    def _walked(self, order: PolicyOrder) -> PolicyOrder:
        """Without the policies that win nothing; all where none does, as the source is governed nevertheless."""
        return self._classified.walked(order) or order
