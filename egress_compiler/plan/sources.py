"""Pods and source subnets whose egress path changes, those with the same changes together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from egress_compiler.model.cluster import Cluster, Pod
from egress_compiler.net import (
    FAMILIES,
    Family,
    Interval,
    Intervals,
    format_address,
    format_interval,
    parse_address,
    subtract,
    union,
)
from egress_compiler.plan.connections import NONE, open_connections
from egress_compiler.plan.differences import Difference, InsideChange, differences, inside_changes
from egress_compiler.plan.model import Connections, Flow, Member, Sources
from egress_compiler.plan.view import PodEntry, SubnetTable, View

UNKNOWN: Mapping[Family, list[PodEntry]] = {4: [], 6: []}


@dataclass(slots=True)
class SourceComparison:
    """The old and the new view, and what was already found out about a pair of chains or a change on a node."""

    old: View
    new: View
    cluster: Cluster
    inside: Mapping[Family, InsideChange] = field(init=False)
    hosts: Mapping[Family, Intervals] = field(init=False)
    _differences: dict[tuple[Family, str | None, str | None], tuple[Difference, ...]] = field(default_factory=dict)
    _pairs: dict[Family, Mapping[tuple[SubnetTable, SubnetTable], list[str]]] = field(default_factory=dict)
    _endings: dict[tuple[Difference, str], Connections] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Where there was nothing, the inside of the cluster was no other."""
        before = self.old.inside if self.old.nodes else self.new.inside
        others = self.cluster.others
        # Nodes without a configuration, and their pods, come and go without anybody's doing.
        pods = [pod for pod in self.cluster.pods if pod.node in others]
        self.inside = inside_changes(before, self.new.inside, self.cluster.all_nodes, self.old.nodes.keys(), pods)
        self.hosts = {family: self._hosts(family) for family in FAMILIES}

    def _hosts(self, family: Family) -> Intervals:
        """Addresses of hosts, old and new ones: no pod's, whether a podSubnet has holes for them already or no more."""
        texts = {plan.kernel.tunnel.underlay for view in (self.old, self.new) for plan in view.nodes.values()}
        known = [*map(parse_address, texts | self.old.eips.keys() | self.new.eips.keys())]
        known += [address for address, _ in self.cluster.node_addresses]
        return union(Interval(address.value, address.value) for address in known if address.family == family)

    def pods(self) -> tuple[tuple[Sources, ...], tuple[str, ...]]:
        """The changed pods; and the pods that had an EIP and are no longer in the cluster, or whose node is not."""
        nodes = self.new.nodes.keys() | self.cluster.others.keys()
        known = {pod.key: pod for pod in self.cluster.pods if pod.node in nodes}
        groups: dict[tuple[Flow, ...], list[Member]] = {}
        for name in sorted((self.old.pods.keys() | self.new.pods.keys()) & known.keys()):
            flows = tuple(self._pod(known[name]))
            if flows:
                addresses = tuple(format_address(*address) for address in known[name].addresses)
                groups.setdefault(flows, []).append(Member(name, known[name].node, addresses))
        gone = tuple(sorted(self.old.pods.keys() - self.new.pods.keys() - known.keys()))
        return tuple(Sources("pod", tuple(members), flows) for flows, members in groups.items()), gone

    def _pod(self, pod: Pod) -> Iterator[Flow]:
        before, after = self.old.pods.get(pod.key, UNKNOWN), self.new.pods.get(pod.key, UNKNOWN)
        for family in FAMILIES:
            addresses = [format_address(*address) for address in sorted(pod.addresses) if address.family == family]
            for index, address in enumerate(addresses):
                old = before[family][index] if index < len(before[family]) else None
                new = after[family][index] if index < len(after[family]) else None
                old_chain = old.chain if old else self.old.chain_of(pod.node, family, address)
                new_chain = new.chain if new else self.new.chain_of(pod.node, family, address)
                # Another address or node under the same name is another pod: nothing of it is open.
                replaced = old is not None and (old.address, old.node) != (address, pod.node)
                for difference in self._compare(family, old_chain, new_chain):
                    connections = NONE if replaced else self._ending(difference, pod.node)
                    yield Flow(*difference, connections)

    def _compare(self, family: Family, old: str | None, new: str | None) -> tuple[Difference, ...]:
        key = (family, old, new)
        if key not in self._differences:
            before, after = self.old.answers(old, family), self.new.answers(new, family)
            self._differences[key] = differences(family, before, after, self.inside[family])
        return self._differences[key]

    def _ending(self, difference: Difference, node: str) -> Connections:
        key = (difference, node)
        if key not in self._endings:
            self._endings[key] = open_connections(difference.before, difference.after, node, self.old, self.new)
        return self._endings[key]

    def subnets(self) -> tuple[Sources, ...]:
        """The source addresses of podSubnets whose answers change; a node that comes or goes changes none of them."""
        groups: dict[tuple[Flow, ...], dict[Family, list[Interval]]] = {}
        for family in FAMILIES:
            old, new = self.old.subnets_of_all(family), self.new.subnets_of_all(family)
            for piece, old_chain, new_chain in _pieces(old, new):
                found = self._compare(family, old_chain, new_chain)
                nodes = self._nodes_with(family, piece.first) if found else ()
                flows = tuple(Flow(*difference, self._worst(difference, nodes)) for difference in found)
                if flows:
                    rest = subtract((piece,), self.hosts[family])
                    groups.setdefault(flows, {4: [], 6: []})[family].extend(rest)
        sources = (Sources("subnet", tuple(_members(pieces)), flows) for flows, pieces in groups.items())
        return tuple(source for source in sources if source.members)

    def _nodes_with(self, family: Family, value: int) -> tuple[str, ...]:
        """The nodes that had a source's chain and have its new one; some have no subnets but their own pods'."""
        chains = self.old.subnets_of_all(family).at(value), self.new.subnets_of_all(family).at(value)
        return tuple(
            node
            for tables, nodes in self._tables(family).items()
            if tuple(table.at(value) for table in tables) == chains
            for node in nodes
        )

    def _tables(self, family: Family) -> Mapping[tuple[SubnetTable, SubnetTable], list[str]]:
        """The different pairs of old and new subnets, with the nodes that have them: as a rule there is one."""
        if family not in self._pairs:
            pairs: dict[tuple[SubnetTable, SubnetTable], list[str]] = {}
            for node in sorted(self.old.subnets.keys() & self.new.subnets.keys()):
                pairs.setdefault((self.old.subnets[node][family], self.new.subnets[node][family]), []).append(node)
            self._pairs[family] = pairs
        return self._pairs[family]

    def _worst(self, difference: Difference, nodes: Iterable[str]) -> Connections:
        """A pod of the subnet may be on any node: what breaks on one counts."""
        worst = NONE
        for node in nodes:
            ending = self._ending(difference, node)
            if ending.outcome == "broken":
                return ending
            worst = ending if worst.outcome == "none" else worst
        return worst


def _pieces(old: SubnetTable, new: SubnetTable) -> Iterator[tuple[Interval, str | None, str | None]]:
    """Source addresses, cut where a chain may change, with their old and new chains."""
    cuts = {point for table in (old, new) for (first, last), _ in table.pieces for point in (first, last + 1)}
    for first, following in pairwise(sorted(cuts)):
        yield Interval(first, following - 1), old.at(first), new.at(first)


def _members(pieces: Mapping[Family, Sequence[Interval]]) -> Iterator[Member]:
    for family in FAMILIES:
        for interval in union(pieces[family]):
            yield Member(format_interval(family, interval))
