"""One set of node plans, indexed: which chain a source is led to, what it leaves with there, who owns which EIP."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from egress_compiler.classify import Region
from egress_compiler.classify.outcomes import outcomes_of
from egress_compiler.contract.membership import UNGOVERNED
from egress_compiler.contract.plan import (
    GatewayRole,
    NodePlan,
    PolicyAnswer,
    PolicyChain,
    PolicyOrder,
    Slot,
    SlotMembership,
    Source,
    Translation,
)
from egress_compiler.lower.unknown import OWNER as UNKNOWN
from egress_compiler.net import FAMILIES, Family, Interval, Intervals, parse_address, parse_span, union
from egress_compiler.plan.model import DIRECT, Answer


class PodEntry(NamedTuple):
    """An address of a governed pod: where the pod is, and the chain that it is led to."""

    node: str
    address: str
    chain: str


class Answers(NamedTuple):
    """What a source of one chain leaves with, in one family: to the destinations that are named, and to the rest."""

    named: tuple[tuple[Interval, Answer], ...]
    rest: Answer


NOTHING = Answers((), DIRECT)


class SubnetTable:
    """Which chain a source address is led to that is no known pod's."""

    def __init__(self, sources: Iterable[Source]) -> None:
        # Which sources are unknown changes with every pod, and is no policy's doing.
        named = [source for source in sources if source.owner != UNKNOWN]
        pieces = sorted((parse_span(source.source).interval, source.chain) for source in named)
        self._set(pieces)

    @classmethod
    def merged(cls, tables: Iterable[SubnetTable]) -> SubnetTable:
        made = cls(())
        made._set(sorted({piece for table in tables for piece in table.pieces}))
        return made

    def _set(self, pieces: Sequence[tuple[Interval, str]]) -> None:
        self.pieces = tuple(pieces)
        self._firsts = [interval.first for interval, _ in pieces]

    def at(self, value: int) -> str | None:
        index = bisect_right(self._firsts, value) - 1
        if index < 0 or self.pieces[index][0].last < value:
            return None
        return self.pieces[index][1]


class View:
    """The plans of one bundle.  A chain, a number or a slot means the same on every node, so the first counts."""

    def __init__(self, plans: Iterable[NodePlan]) -> None:
        self.nodes: Mapping[str, NodePlan] = {plan.node: plan for plan in plans}
        self.slots: dict[int, Slot] = {}
        self.pods: dict[str, dict[Family, list[PodEntry]]] = {}
        self.subnets: dict[str, Mapping[Family, SubnetTable]] = {}
        self.eips: dict[str, SlotMembership] = {}
        self.numbers: dict[str, Mapping[int, int]] = {}
        """By node the answer numbers that it has, gone ones too, each with its slot."""
        self._slot_of: dict[int, int] = {}
        self._policies: dict[str, PolicyChain] = {}
        self._orders: dict[str, PolicyOrder] = {}
        self._members: dict[int, list[tuple[int, str]]] = {}
        self._translations: dict[str, Mapping[int, Translation]] = {}
        self._answers: dict[tuple[str, Family], Answers] = {}
        self._tables: dict[tuple[Source, ...], SubnetTable] = {}
        self._seen: dict[int, SubnetTable] = {}
        self._of_all: dict[Family, SubnetTable] = {}
        for plan in self.nodes.values():
            self._add_worker(plan)
            if plan.gateway is not None:
                self._add_gateway(plan.node, plan.gateway)
        self.inside: Mapping[Family, Intervals] = self._inside()
        self.cut = frozenset(policy for plan in self.nodes.values() for policy in plan.cut)

    def _add_worker(self, plan: NodePlan) -> None:
        worker = plan.worker
        for policy in worker.policies:
            self._policies.setdefault(policy.name, policy)
        for order in worker.orders:
            self._orders.setdefault(order.name, order)
        for slot in worker.slots:
            self.slots.setdefault(slot.number, slot)
        self.numbers[plan.node] = {answer.number: answer.slot for answer in worker.answers}
        for number, slot_number in self.numbers[plan.node].items():
            self._slot_of.setdefault(number, slot_number)
        for family in FAMILIES:
            for source in worker.pods.of(family):
                if source.chain == UNGOVERNED:
                    continue
                entry = PodEntry(plan.node, source.source, source.chain)
                self.pods.setdefault(source.owner, {4: [], 6: []})[family].append(entry)
        self.subnets[plan.node] = {family: self._table(worker.subnets.of(family)) for family in FAMILIES}

    def _add_gateway(self, node: str, role: GatewayRole) -> None:
        self._translations[node] = {translation.number: translation for translation in role.translations}
        for membership in role.memberships:
            self._members.setdefault(membership.slot, []).append((membership.place, node))
            for eip in membership.eips:
                self.eips.setdefault(eip.address, membership)

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
        return {family: union(parse_span(text).interval for text in first.inside.of(family)) for family in FAMILIES}

    def subnets_of_all(self, family: Family) -> SubnetTable:
        """Those that any node has; a piece is the same wherever it is."""
        if family not in self._of_all:
            tables = {id(tables[family]): tables[family] for tables in self.subnets.values()}
            self._of_all[family] = SubnetTable.merged(tables.values())
        return self._of_all[family]

    def chain_of(self, node: str, family: Family, address: str) -> str | None:
        """The chain of a source that is no governed pod; None where no policy selects it."""
        tables = self.subnets.get(node)
        return None if tables is None else tables[family].at(parse_address(address).value)

    def answers(self, chain: str | None, family: Family) -> Answers:
        """What sources that are led to ``chain`` leave with; without a chain everything goes out directly."""
        if chain is None:
            return NOTHING
        key = (chain, family)
        if key not in self._answers:
            self._answers[key] = self._read(chain, family)
        return self._answers[key]

    def _read(self, chain: str, family: Family) -> Answers:
        """The policies in their order, each with what those before it have left."""
        names = self._orders[chain].policies if chain in self._orders else (chain,)
        policies = [self._policies[name] for name in names]
        wanted = [_wanted(policy.answers.of(family), family) for policy in policies]
        inside = Region(family, self.inside[family])
        named: list[tuple[Interval, Answer]] = []
        rest = DIRECT
        for outcome in outcomes_of(tuple(range(len(policies))), family, wanted, inside):
            given = policies[outcome.policy].answers.of(family)
            if given is None or not outcome.won:
                continue
            answer = self._answer(policies[outcome.policy].origin, given, family)
            if outcome.rest:
                rest = answer
            else:
                named += [(interval, answer) for interval in outcome.won.intervals]
        return Answers(tuple(sorted(named)), rest)

    def _answer(self, origin: str, given: PolicyAnswer, family: Family) -> Answer:
        """The preferred gateway decides, as it is the master while it is up; without an address the next one does."""
        if given.number is None:
            return Answer("direct" if given.direct else "blocked", policy=origin)
        slot = self.slots[self._slot_of[given.number]]
        for _, node in sorted(self._members.get(slot.number, ())):
            address = self.translated(node, given.number, family)
            if address is not None:
                own = self._translations[node][given.number].own
                where = (slot.number, slot.gateway, slot.preferred_node)
                return Answer("node-ip" if own else "eip", address, origin, *where, given.number)
        return Answer("blocked", policy=origin)

    def translated(self, node: str, number: int, family: Family) -> str | None:
        """What a gateway node gives to an answer number; None where it drops it."""
        translation = self._translations.get(node, {}).get(number)
        return None if translation is None else translation.addresses.of(family)


def _wanted(answer: PolicyAnswer | None, family: Family) -> Region:
    if answer is None:
        return Region(family, ())
    if not answer.destinations:
        return Region.everything(family)
    return Region(family, union(parse_span(text).interval for text in answer.destinations))
