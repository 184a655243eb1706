"""The lines of a node's generated files, found by what they are for: the renderers say where they put it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property

from egress_compiler.contract.members import MEMBERS
from egress_compiler.contract.names import KEEPALIVED, ROUTES_BATCH, RULESET
from egress_compiler.contract.numbers import slot_table
from egress_compiler.contract.plan import IpRoute, IpRule, NodePlan, PolicyChain
from egress_compiler.explain.model import Line
from egress_compiler.net import FAMILIES, Family, contains, parse_span
from egress_compiler.nodes import NODES, Nodes
from egress_compiler.render import keepalived_conf, routes_lines
from egress_compiler.ruleset import Written, ruleset, write
from egress_compiler.ruleset.model import Rule
from egress_compiler.ruleset.writer import Place


class Generated:
    """One node's files, each made when first asked; what a node does not have gives no line.

    ``plan`` is the one with the cluster's pods.  Where the node adds these by itself, what it adds stands in
    members.json or in no file.
    """

    def __init__(self, nodes: Nodes, node: str) -> None:
        self.plan: NodePlan = nodes.effective(node)
        self._written: NodePlan = nodes.plan(node)
        self._nodes = nodes
        self._descriptions = nodes.descriptions
        self._directory = f"{NODES}/{node}"

    @cached_property
    def _table(self) -> Written:
        """As it is written."""
        return write(ruleset(self._written, self._descriptions))

    @cached_property
    def _whole_table(self) -> Written:
        """With what the node adds."""
        return self._table if self.plan is self._written else write(ruleset(self.plan, self._descriptions))

    def _nft(self, place: Place) -> Line:
        return Line(f"{self._directory}/{RULESET}", place.line, place.text)

    def element(self, name: str, key: str) -> Iterator[Line]:
        """Of a set or map of the nftables table."""
        for table in (self._table, self._whole_table):
            place = table.element(name, key) if f"set {name}" in table.starts else None
            if place is not None:
                line = self._nft(place)
                yield line if table is self._table else line._replace(number=None)
                return

    def _of_chain(self, chain: str) -> tuple[Written, Callable[[Place], Line]]:
        """The table that has the chain, and where a line of it stands."""
        if f"chain {chain}" in self._table.starts or self.plan is self._written:
            return self._table, self._nft
        number = self._member_line(*chain.split(".", 1)) if "." in chain else None
        if number is None:
            return self._whole_table, lambda place: self._nft(place)._replace(number=None)
        return self._whole_table, lambda place: Line(MEMBERS, number, place.text)

    def _member_line(self, kind: str, name: str) -> int | None:
        """The number of the line of members.json that has the chain."""
        if kind == "slot":
            return self._nodes.slot_line(int(name))
        if kind == "answer":
            origin = next(answer.origin for answer in self.plan.worker.answers if answer.number == int(name))
            name = next(policy.name for policy in self.plan.worker.policies if policy.origin == origin)
        return self._nodes.member_line(name) if kind in ("answer", "policy") else None

    def rules(self, chain: str, wanted: Callable[[Rule], bool]) -> Iterator[Line]:
        """Of a chain of the nftables table."""
        table, line = self._of_chain(chain)
        if f"chain {chain}" in table.starts:
            yield from (line(place) for rule, place in table.rules(chain) if wanted(rule))

    def rule(self, chain: str, index: int) -> Iterator[Line]:
        """By its index in the chain."""
        table, line = self._of_chain(chain)
        if f"chain {chain}" in table.starts:
            rules = [*table.rules(chain)]
            yield from (line(place) for _, place in rules[index:][:1])

    def policy(self, policy: PolicyChain, family: Family, value: int) -> Iterator[Line]:
        """The rule of a policy for ``family``, after the one of its destinations that has ``value``."""
        name = f"policy.{policy.name}"
        index = [f for f in FAMILIES if policy.answers.of(f) is not None].index(family)
        table, line = self._of_chain(name)
        if f"chain {name}" in table.starts:
            rule, place = [*table.rules(name)][index]
            for text in rule.destinations:
                if contains((parse_span(text).interval,), value):
                    yield line(table.destination(name, rule, text))
            yield line(place)

    def steering(self, family: Family, slot: int) -> Iterator[Line]:
        """The ip rule of a slot, and the route that it leads to."""
        table, file = slot_table(slot), f"{self._directory}/{ROUTES_BATCH[family]}"
        lines = {line.text: n for n, line in enumerate(routes_lines(self._written, family), start=1)}
        found = [
            (line.adds, Line(file, lines.get(line.text), line.text))
            for line in routes_lines(self.plan, family)
            if line.adds is not None and line.adds.table == table
        ]
        yield from (line for adds, line in found if isinstance(adds, IpRule))
        yield from (line for adds, line in found if isinstance(adds, IpRoute) and adds.kind == "unicast")

    @cached_property
    def _keepalived(self) -> tuple[tuple[str, ...], dict[tuple[object, ...], int]]:
        text, places = keepalived_conf(self.plan, self._descriptions)
        return tuple(text.split("\n")), dict(places)

    def keepalived(self, *key: str | int) -> Iterator[Line]:
        """By what ``render.keepalived_conf`` says that a line is for."""
        lines, places = self._keepalived
        if key in places:
            number = places[key]
            yield Line(f"{self._directory}/{KEEPALIVED}", number, lines[number - 1].strip())


class GeneratedFiles:
    """The files of all nodes, of each made once."""

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes
        self._known: dict[str, Generated] = {}

    def of(self, node: str) -> Generated:
        """Raises KeyError where there is no such node."""
        if node not in self._known:
            self._known[node] = Generated(self._nodes, node)
        return self._known[node]
