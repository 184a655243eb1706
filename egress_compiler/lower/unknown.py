"""Pods that nobody knows yet: which sources are refused until the next run has seen who is there."""

from __future__ import annotations

from collections.abc import Mapping

from egress_compiler.classify import Classified
from egress_compiler.contract.membership import REFUSED as CHAIN
from egress_compiler.contract.plan import Both, PolicyAnswer, PolicyChain, Source
from egress_compiler.model.cluster import Node
from egress_compiler.model.settings import UnknownPods
from egress_compiler.net import FAMILIES, Family, Interval, Intervals, format_interval, subtract, union
from egress_compiler.resolve import Resolved

OWNER = "unknownPods"
REFUSED = PolicyChain(CHAIN, "settings unknownPods", Both(PolicyAnswer((), None), PolicyAnswer((), None)))


class UnknownSources:
    """What of the blocked CIDRs is left on a node when its own pods, hosts and all podSubnets are taken out.

    A node that follows its pods takes them out by itself.

    Pods of other nodes are not taken out: their packets do not begin here, and a node's configuration should not
    change with every pod of the cluster.
    """

    def __init__(self, resolved: Resolved, classified: Classified, blocked: UnknownPods) -> None:
        self._blocked = blocked
        subnets = {f: [subnet.interval for subnet in classified.subnets[f]] for f in FAMILIES}
        self._others: Mapping[Family, Intervals] = {
            f: union([*subnets[f], *resolved.hosts.addresses[f]]) for f in FAMILIES
        }
        self._pods: dict[str, list[tuple[Family, Interval]]] = {}
        if any(blocked.cidrs.values()) or blocked.nodes:
            for pod in resolved.cluster.pods:
                own = [(a.family, Interval(a.value, a.value)) for a in pod.addresses]
                self._pods.setdefault(pod.node, []).extend(own)

    def of(self, node: Node, family: Family) -> tuple[Source, ...]:
        cidrs = [*self._blocked.cidrs[family], *(node.pod_cidrs[family] if node.name in self._blocked.nodes else ())]
        if not cidrs:
            return ()
        known = union(interval for f, interval in self._pods.get(node.name, ()) if f == family)
        left = subtract(subtract(union(cidrs), self._others[family]), known)
        return tuple(Source(format_interval(family, interval), CHAIN, OWNER) for interval in left)
