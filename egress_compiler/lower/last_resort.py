"""The second line: routing refuses what comes from governed sources and nftables has not looked at.

It matters when somebody flushes the ruleset of a node: marks are gone then, and with them all steering.  What the
node itself sends, and other hosts, goes past it, whichever podSubnet covers their addresses; and while the ruleset is
there, so does everything that it has looked at, however many pods there are.
"""

from __future__ import annotations

from egress_compiler.contract.plan import Both, LastResort, WorkerRole
from egress_compiler.lower.sources import has_pools, node_ranges
from egress_compiler.lower.unknown import OWNER
from egress_compiler.model.cluster import Node, single
from egress_compiler.net import (
    FAMILIES,
    Family,
    Interval,
    Intervals,
    cidrs,
    contains,
    intersect,
    parse_address,
    parse_span,
    union,
)
from egress_compiler.resolve import Resolved

MOST_INSIDE = 128
"""CIDRs of the inside: where they are more, the addresses of other nodes are left out."""

_Texts = tuple[str, ...]


class LastResorts:
    """Each node's own sources."""

    def __init__(self, resolved: Resolved) -> None:
        self._resolved = resolved
        self._covered = {f: union(i for policy in resolved.policies for i in policy.hosts[f]) for f in FAMILIES}
        self._intervals = {f: _inside(resolved, f) for f in FAMILIES}
        self._inside: dict[Family, _Texts] = {f: tuple(cidrs(f, self._intervals[f])) for f in FAMILIES}

    def of(self, node: Node, worker: WorkerRole, device: str, *, is_gateway: bool) -> LastResort:
        """``device`` is that of the node's IPv4 default route."""
        pods = Both[list[int]].made(lambda f: [parse_address(pod.source).value for pod in worker.pods.of(f)])
        pieces = Both[list[Interval]].made(
            lambda f: [parse_span(s.source).interval for s in worker.subnets.of(f) if s.owner != OWNER]
        )
        four, six = (self._sources(family, pods.of(family), pieces.of(family)) for family in FAMILIES)
        return LastResort(
            device=device,
            ranges=Both[_Texts].made(lambda f: self._ranges(node, f, pods.of(f), pieces.of(f))),
            hosts=Both(four[1], six[1]),
            sources=Both(four[0], six[0]),
            inside=Both[_Texts].made(lambda f: self._thrown(f, pods.of(f)) if is_gateway else self._inside[f]),
        )

    def _ranges(self, node: Node, family: Family, pods: list[int], pieces: list[Interval]) -> _Texts:
        if family not in self._resolved.families:
            return ()
        if self._resolved.followed:
            return tuple(cidrs(family, union([*self._anywhere(node, family), *pieces])))
        if not (pods or pieces):
            return ()
        return tuple(cidrs(family, union([*node_ranges(self._resolved, node, family, pods), *pieces])))

    def _anywhere(self, node: Node, family: Family) -> Intervals:
        """Where a pod of the node may have its address from, as nobody knows which pods it will have."""
        own = node.pod_cidrs[family]
        return own if own and not has_pools(self._resolved.cluster) else self._resolved.pod_cidrs[family]

    def _sources(self, family: Family, pods: list[int], pieces: list[Interval]) -> tuple[_Texts, _Texts]:
        """What is governed, and hosts that go past.

        A podSubnet with holes for hosts may be many CIDRs; it is whole then, and the hosts go past.
        """
        governed = [*map(single, pods), *pieces]
        exact, hosts = tuple(cidrs(family, union(governed))), tuple(cidrs(family, self._covered[family]))
        if not pieces or not hosts:
            return exact, ()
        whole = tuple(cidrs(family, union([*governed, *self._covered[family]])))
        return (exact, ()) if len(exact) <= len(whole) + len(hosts) else (whole, hosts)

    def _thrown(self, family: Family, pods: list[int]) -> _Texts:
        """What is inside, with a gateway's own pods of other addresses (underlay).

        The kernel asks for a pod's way back as if its packet came by the device that it leaves by, the tunnel.
        """
        inside = self._intervals[family]
        further = [single(value) for value in pods if not contains(inside, value)]
        return tuple(cidrs(family, union([*inside, *further]))) if further else self._inside[family]


def _inside(resolved: Resolved, family: Family) -> Intervals:
    """What is inside; in a cluster whose nodes' addresses are many CIDRs, without those that are nothing but nodes'.

    Governed pods do not reach those nodes then while somebody has taken our table away, until it is back.
    """
    inside = resolved.inside[family]
    if len(list(cidrs(family, inside))) <= MOST_INSIDE:
        return inside
    plane = union(single(a.value) for a in resolved.cluster.control_plane_addresses if a.family == family)
    nodes = union(single(address.value) for address, _ in resolved.cluster.node_addresses if address.family == family)
    return tuple(p for p in inside if intersect(nodes, (p,)) != (p,) or intersect((p,), plane))
