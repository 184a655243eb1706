"""Where governed packets come from, as CIDRs that do not change with every pod."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter

from egress_compiler.model.cluster import Cluster, Node
from egress_compiler.net import (
    FAMILIES,
    Family,
    Interval,
    Intervals,
    cidr,
    cidrs,
    contains,
    subtract,
    union,
)
from egress_compiler.resolve import Resolved

NEIGHBOURHOOD: Mapping[Family, int] = {4: 24, 6: 64}
"""Prefix length of what is added around a governed pod that is in no known pod CIDR."""


def governed_ranges(resolved: Resolved) -> Mapping[Family, tuple[str, ...]]:
    """Of the whole cluster: the pod CIDRs, the podSubnets, and what is around pods that are in neither."""
    pods = {pod for policy in resolved.policies for pod in policy.pods}
    ranges: dict[Family, tuple[str, ...]] = {}
    for family in FAMILIES:
        known = union([*resolved.pod_cidrs[family], *(i for p in resolved.policies for i in p.subnets[family])])
        values = (a.value for pod in pods for a in resolved.cluster.pods[pod].addresses if a.family == family)
        ranges[family] = tuple(cidrs(family, union([*known, *_around(family, values, known)])))
    return ranges


def node_ranges(resolved: Resolved, node: Node, family: Family, pods: Iterable[int]) -> Intervals:
    """Of the node's pods: its pod CIDRs, and for ``pods`` (address values) elsewhere what they are in or around."""
    own = union(node.pod_cidrs[family])
    strays = [value for value in pods if not contains(own, value)]
    if not strays:
        return own
    known = [i for i in resolved.pod_cidrs[family] if any(i.first <= value <= i.last for value in strays)]
    return union([*own, *known, *_around(family, strays, union(known))])


def has_pools(cluster: Cluster) -> bool:
    """Whether the network plugin has pools of its own: a node's pods need not be in the node's pod CIDRs then."""
    return any(cluster.calico_pools.values()) or any(cluster.plugin_pod_cidrs.values())


def nodes_at_home(resolved: Resolved) -> frozenset[str]:
    """Nodes whose pods have their addresses from the node's pod CIDRs, as host-local IPAM gives them.

    Believed of nodes with pods, where every pod of the cluster that is seen does, and no network plugin has pools of
    its own: then no other address begins there.
    """
    cluster = resolved.cluster
    if has_pools(cluster):
        return frozenset()
    at_home, names = 0, {node.name for node in cluster.nodes}
    of_pods = [*map(attrgetter("node"), cluster.pods)]
    for family, table in cluster.pod_table.items():
        nodes = [*map(of_pods.__getitem__, table.pods)]
        for node in cluster.nodes:
            ranges = (table.span(interval) for interval in node.pod_cidrs[family])
            at_home += sum(nodes[places.start : places.stop].count(node.name) for places in ranges)
    elsewhere = {*of_pods} - names
    unseen = sum(len(pod.addresses) for pod in cluster.pods if pod.node in elsewhere) if elsewhere else 0
    if at_home + unseen != sum(len(table.values) for table in cluster.pod_table.values()):
        return frozenset()
    return frozenset(of_pods) - elsewhere


class Subnets:
    """Which podSubnets concern a node: all, or where its pods are at home none that is in other nodes' pod CIDRs."""

    def __init__(
        self, resolved: Resolved, family: Family, subnets: Sequence[Interval], at_home: frozenset[str]
    ) -> None:
        self._family = family
        self._subnets = subnets
        homes = union(i for node in resolved.cluster.nodes for i in node.pod_cidrs[family])
        self._at_home = at_home
        self._anywhere = [bool(subtract((subnet,), homes)) for subnet in subnets]

    def of(self, node: Node) -> tuple[int, ...]:
        """Their positions."""
        own = node.pod_cidrs[self._family]
        if not own or node.name not in self._at_home:
            return tuple(range(len(self._subnets)))
        return tuple(
            position
            for position, (first, last) in enumerate(self._subnets)
            if self._anywhere[position] or any(i.first <= last and first <= i.last for i in own)
        )


def _around(family: Family, values: Iterable[int], known: Intervals) -> list[Interval]:
    prefix = NEIGHBOURHOOD[family]
    return sorted({cidr(family, value, prefix) for value in values if not contains(known, value)})
