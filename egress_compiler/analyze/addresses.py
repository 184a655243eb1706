"""Egress addresses and the tunnel's against the addresses that the cluster uses already."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from egress_compiler.diagnostics import Collector, counted, listing, quoted
from egress_compiler.model.cluster import Node
from egress_compiler.model.policy import Gateway, Item
from egress_compiler.model.settings import Settings, Uplink, uplink_of
from egress_compiler.net import (
    FAMILIES,
    Address,
    Family,
    Interval,
    Intervals,
    format_address,
    format_interval,
    intersect,
    parse_address,
    subtract,
    union,
)
from egress_compiler.resolve import Resolved, ResolvedGateway


class _Owned(NamedTuple):
    value: int
    owner: str


class _Block(NamedTuple):
    interval: Interval
    owner: str


def check_addresses(resolved: Resolved, settings: Settings, uplinks: Mapping[str, Uplink], found: Collector) -> None:
    """Errors for EIPs that are somebody's or that no gateway node can answer for, and for tunnel subnets that clash."""
    owned = _owned(resolved, settings, uplinks)
    blocks = {family: _cluster_blocks(resolved, settings, family) for family in FAMILIES}
    inner = {family: union(block.interval for block in blocks[family]) for family in FAMILIES}
    for name in sorted(resolved.gateways):
        gateway = resolved.gateways[name]
        for family in FAMILIES:
            known = _uplink_cidrs(gateway, family, settings, uplinks)
            for item in gateway.gateway.pool_items[family]:
                if _in_use(gateway.gateway, family, item, owned[family], found):
                    continue
                if _in_tunnel(gateway.gateway, family, item, settings, found):
                    continue
                off = bool(known) and _off_subnet(gateway.gateway, family, item, known, found)
                off = _off_uplink(gateway, family, item, settings, uplinks, found) or off
                if not off:
                    _off_some_subnets(gateway, family, item, settings, uplinks, found)
                _in_cluster(gateway.gateway, family, item, inner[family], found)
    for family in resolved.families:
        _check_tunnel_subnet(resolved, settings, family, blocks[family], found)


def _owned(resolved: Resolved, settings: Settings, uplinks: Mapping[str, Uplink]) -> Mapping[Family, list[_Owned]]:
    """Every address in use and whose it is, sorted; of pods those in the pools."""
    cluster = resolved.cluster
    pools = {f: union(i for gateway in resolved.gateways.values() for i in gateway.gateway.pool[f]) for f in FAMILIES}
    owners = {
        parse_address(hop): f"the next hop of {interface}"
        for node in cluster.nodes
        for interface, gateways in uplink_of(node.name, settings, uplinks).next_hops()
        for hop in gateways.values()
    }
    owners |= {a: f"where API servers are reached ({owner})" for a, owner in cluster.control_plane_addresses.items()}
    owners |= {address: f"an external address of {owner}" for address, owner in cluster.external_addresses.items()}
    owners |= {
        a: f"a further address of node {node.name}" for node in cluster.all_nodes for a in node.external_addresses
    }
    owners |= {address: f"the address of Service {service}" for address, service in cluster.service_addresses.items()}
    owners |= {
        Address(family, table.values[place]): f"the address of pod {cluster.pods[table.pods[place]].key}"
        for family, table in cluster.pod_table.items()
        for place in table.within(pools[family])
    }
    owners |= {address: f"the address of node {node.name}" for node in cluster.all_nodes for address in node.addresses}
    owned: dict[Family, list[_Owned]] = {4: [], 6: []}
    for address, owner in owners.items():
        owned[address.family].append(_Owned(address.value, owner))
    return {family: sorted(owned[family]) for family in FAMILIES}


def _in_use(gateway: Gateway, family: Family, item: Item, owned: list[_Owned], found: Collector) -> bool:
    first, last = item.interval
    start, end = bisect_left(owned, (first, "")), bisect_left(owned, (last + 1, ""))
    hits = owned[start:end]
    if not hits:
        return False
    pool = f"in the pool of EgressGateway {gateway.name}"
    if len(hits) == 1:
        message = f"{format_address(family, hits[0].value)} {pool} is {hits[0].owner}"
    else:
        names = listing([f"{format_address(family, value)} is {owner}" for value, owner in hits])
        message = f"{counted(len(hits), 'address', 'addresses')} of {quoted(item.text)} {pool} are in use: {names}"
    hint = "an EIP must be nobody else's address: take it out of the pool"
    found.error("eip-in-use", message, gateway.document.at(*item.path), hint=hint)
    return True


def _in_tunnel(gateway: Gateway, family: Family, item: Item, settings: Settings, found: Collector) -> bool:
    tunnel = settings.tunnel.subnets[family]
    if not intersect((item.interval,), (tunnel,)):
        return False
    found.error(
        "eip-in-tunnel",
        f"{quoted(item.text)} in the pool of EgressGateway {gateway.name} is in the tunnel subnet "
        f"{format_interval(family, tunnel)}",
        gateway.document.at(*item.path),
        hint=f"take it out of the pool, or set tunnel.ipv{family}Subnet in the settings",
    )
    return True


def _uplink_cidrs(
    gateway: ResolvedGateway, family: Family, settings: Settings, uplinks: Mapping[str, Uplink]
) -> Intervals:
    """The subnets of the gateway's nodes; empty where those of any node are not known."""
    of_nodes = [_subnets(node, family, settings, uplinks) for node in gateway.nodes]
    return union(interval for subnets in of_nodes for interval in subnets) if all(of_nodes) else ()


def _subnets(node: Node, family: Family, settings: Settings, uplinks: Mapping[str, Uplink]) -> Intervals:
    """Of all its uplinks; empty where those of the first are not known."""
    uplink = uplink_of(node.name, settings, uplinks)
    further = [interval for other in uplink.further for interval in other.cidrs[family]]
    return union([*uplink.cidrs[family], *further]) if uplink.cidrs[family] else ()


def _off_uplink(
    gateway: ResolvedGateway,
    family: Family,
    item: Item,
    settings: Settings,
    uplinks: Mapping[str, Uplink],
    found: Collector,
) -> bool:
    """Where one node has the EIP on a further uplink, each has to, as each may be the one that is active."""
    further = {
        node.name: {f.interface: intersect((item.interval,), f.cidrs[family]) for f in of_node.further}
        for node in gateway.nodes
        for of_node in (uplink_of(node.name, settings, uplinks),)
    }
    there = {name: union(i for hits in by_device.values() for i in hits) for name, by_device in further.items()}
    everywhere = union(interval for hits in there.values() for interval in hits)
    without = {name: off for name, hits in there.items() if (off := subtract(everywhere, hits))}
    if without:
        off = min(without.items())[1]
        devices = {d for by_device in further.values() for d, hits in by_device.items() if intersect(off[:1], hits)}
        found.error(
            "eip-off-uplink",
            f"{format_interval(family, off[0])} in the pool of EgressGateway {gateway.gateway.name} leaves by "
            f"{listing(sorted(devices))}, and {listing(sorted(without))} "
            f"{'has' if len(without) == 1 else 'have'} no such uplink",
            gateway.gateway.document.at(*item.path),
            hint="give all nodes of the gateway an uplink in that subnet (egress_uplinks in the inventory, uplinks in "
            "the settings), or select only nodes that have one",
        )
    return bool(without)


def _off_subnet(gateway: Gateway, family: Family, item: Item, known: Intervals, found: Collector) -> bool:
    off = subtract((item.interval,), known)
    if off:
        subnets = listing([format_interval(family, interval) for interval in known], 5)
        found.error(
            "eip-off-subnet",
            f"{format_interval(family, off[0])} in the pool of EgressGateway {gateway.name} is in no subnet of its "
            f"nodes ({subnets}), so no reply would find its way to it",
            gateway.document.at(*item.path),
            hint="take addresses of the nodes' subnets; they are what egress_uplink_cidrs and egress_uplinks in the "
            "inventory or uplinkCIDRs and uplinks in the settings say",
        )
    return bool(off)


def _off_some_subnets(
    gateway: ResolvedGateway,
    family: Family,
    item: Item,
    settings: Settings,
    uplinks: Mapping[str, Uplink],
    found: Collector,
) -> None:
    """Nodes whose subnets are not known are believed to be fit."""
    known = {node.name: _subnets(node, family, settings, uplinks) for node in gateway.nodes}
    off = {name: subtract((item.interval,), cidrs) for name, cidrs in known.items() if cidrs}
    unfit = [name for name, intervals in off.items() if intervals]
    if unfit:
        found.warning(
            "eip-off-some-subnets",
            f"{format_interval(family, off[unfit[0]][0])} in the pool of EgressGateway {gateway.gateway.name} is in no "
            f"subnet of {listing(unfit)}: while active there, no reply finds its way to it",
            gateway.gateway.document.at(*item.path),
            hint="select only nodes of one segment for a gateway, or accept the warning where routers know the EIPs",
        )


def _in_cluster(gateway: Gateway, family: Family, item: Item, inner: Intervals, found: Collector) -> None:
    hit = intersect((item.interval,), inner)
    if hit:
        found.warning(
            "eip-in-cluster",
            f"{format_interval(family, hit[0])} in the pool of EgressGateway {gateway.name} is in a pod or Service "
            "CIDR: the cluster may give it to somebody else",
            gateway.document.at(*item.path),
            hint="take addresses outside of those CIDRs, or keep these out of their allocation and accept the warning",
        )


def _cluster_blocks(resolved: Resolved, settings: Settings, family: Family) -> list[_Block]:
    """Pod and Service CIDRs with their names; those that nodes' are cut from as well."""
    cluster = resolved.cluster
    blocks = [
        _Block(i, f"the pod CIDR of node {node.name}") for node in cluster.all_nodes for i in node.pod_cidrs[family]
    ]
    sources: Iterable[tuple[Intervals, str]] = (
        (cluster.calico_pools[family], "a Calico IPPool"),
        (cluster.control_plane_pod_cidrs[family], "the cluster's pod CIDR"),
        (cluster.plugin_pod_cidrs[family], "the network plugin's pod CIDR"),
        (settings.pod_cidrs[family], "a pod CIDR of the settings"),
        (cluster.service_cidrs[family], "a Service CIDR"),
        (settings.service_cidrs[family], "a Service CIDR of the settings"),
    )
    return blocks + [_Block(interval, what) for intervals, what in sources for interval in intervals]


def _check_tunnel_subnet(
    resolved: Resolved, settings: Settings, family: Family, blocks: list[_Block], found: Collector
) -> None:
    tunnel, key = settings.tunnel.subnets[family], f"ipv{family}Subnet"
    addresses = [
        _Block(Interval(a.value, a.value), f"the address of node {node.name}")
        for node in resolved.cluster.all_nodes
        for a in (*node.addresses, *node.external_addresses)
        if a.family == family
    ]
    hits = [
        f"{format_interval(family, block.interval)} ({block.owner})"
        for block in blocks + addresses
        if block.interval.first <= tunnel.last and tunnel.first <= block.interval.last
    ]
    if not hits:
        return
    document = settings.document
    given = document is not None and document.has("tunnel")
    found.error(
        "tunnel-overlap",
        f"the IPv{family} tunnel subnet {format_interval(family, tunnel)} overlaps {listing(hits)}",
        document.at("tunnel", key) if document is not None and given else None,
        hint=f"set tunnel.{key} in the settings to a subnet that nobody uses",
    )
