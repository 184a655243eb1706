"""Addresses that are hosts' and no pod's: whatever a podSubnet covers, no policy ever governs them.

What a node sends itself, and its pods with hostNetwork, is the node's own traffic.  An egress IP and a tunnel address
are addresses of whichever node has them at the moment.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from egress_compiler.model.cluster import Cluster
from egress_compiler.model.policy import Gateway
from egress_compiler.model.settings import Settings
from egress_compiler.net import FAMILIES, Family, Interval, Intervals, intersect, size, union


class HostBlock(NamedTuple):
    """Addresses of one owner; ``one`` and ``many`` are of a kind, such as "address of node a", "addresses of nodes"."""

    interval: Interval
    one: str
    many: str


class Covered(NamedTuple):
    """How many addresses of one kind lie within an interval, and which is the first."""

    family: Family
    number: int
    first: int
    one: str
    many: str


@dataclass(frozen=True, slots=True)
class Hosts:
    """All of them, by family: merged, and with their owners, sorted."""

    addresses: Mapping[Family, Intervals]
    blocks: Mapping[Family, tuple[HostBlock, ...]]

    def what(self, family: Family, value: int) -> str:
        """What the address is, as in "an address of node a"; empty where it is no host's."""
        blocks = self.blocks[family]
        end = bisect_right(blocks, value, key=lambda block: block.interval.first)
        return next((block.one for block in reversed(blocks[:end]) if block.interval.last >= value), "")

    def within(self, family: Family, interval: Interval) -> tuple[Covered, ...]:
        """What of them is in ``interval``, by kind, in the order of the first addresses."""
        found: dict[str, Covered] = {}
        for block in self.blocks[family]:
            common = intersect((block.interval,), (interval,))
            if common:
                before = found.get(block.many, Covered(family, 0, common[0].first, block.one, block.many))
                found[block.many] = before._replace(number=before.number + size(common))
        return tuple(found.values())


NO_HOSTS = Hosts({4: (), 6: ()}, {4: (), 6: ()})


def hosts_of(cluster: Cluster, gateways: Sequence[Gateway], settings: Settings) -> Hosts:
    """Of the nodes, the egress IPs of all pools, and the tunnel's."""
    blocks = {family: tuple(sorted(_blocks(family, cluster, gateways, settings))) for family in FAMILIES}
    return Hosts({family: union(block.interval for block in blocks[family]) for family in FAMILIES}, blocks)


def _blocks(family: Family, cluster: Cluster, gateways: Sequence[Gateway], settings: Settings) -> Iterator[HostBlock]:
    others = cluster.others
    pods = frozenset(a for pod in cluster.pods if pod.node not in others for a in pod.addresses) if others else ()
    for address, node in cluster.node_addresses:
        # A virtual node may have the address of the pod that runs it, which is a pod like all others.
        if address.family == family and not (node in others and address in pods):
            interval = Interval(address.value, address.value)
            yield HostBlock(interval, f"an address of node {node}", "addresses of nodes")
    for gateway in gateways:
        for interval in gateway.pool[family]:
            yield HostBlock(interval, f"an egress IP of EgressGateway {gateway.name}", "egress IPs")
    yield HostBlock(settings.tunnel.subnets[family], "a tunnel address", "tunnel addresses")
