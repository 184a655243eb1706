"""Clashes between what was resolved and the addresses that the cluster already uses."""

from __future__ import annotations

from collections.abc import Mapping

from egress_compiler.diagnostics import Collector
from egress_compiler.model.settings import Settings
from egress_compiler.net import FAMILIES, Address, Family, Interval, Intervals, contains, format_address, intersect
from egress_compiler.resolve import Resolved


def analyze(resolved: Resolved, settings: Settings, found: Collector) -> None:
    """EIPs that are somebody's address, tunnel subnets that overlap the cluster's, addresses used twice."""
    used = _addresses_in_use(resolved, found)
    for name in sorted(resolved.gateways):
        gateway = resolved.gateways[name].gateway
        for family in FAMILIES:
            pool = gateway.pool[family]
            place = gateway.document.at("spec", "ippools", f"ipv{family}")
            for (_, value), owner in used[family].items():
                if pool and contains(pool, value):
                    text = format_address(family, value)
                    found.error("eip-in-use", f"{text} in the pool of EgressGateway {name} is {owner}", place)
            if intersect(pool, (settings.tunnel.subnets[family],)):
                found.error("eip-in-tunnel", f"the pool of EgressGateway {name} overlaps the tunnel subnet", place)
    _check_tunnel_subnets(resolved, settings, found)


def _addresses_in_use(resolved: Resolved, found: Collector) -> Mapping[Family, Mapping[Address, str]]:
    used: dict[Family, dict[Address, str]] = {4: {}, 6: {}}
    cluster = resolved.cluster
    owned = [(a, f"the address of node {node.name}") for node in cluster.nodes for a in node.addresses]
    owned += [(a, f"the address of pod {pod.key}") for pod in cluster.pods for a in pod.addresses]
    for address, owner in owned:
        before = used[address.family].setdefault(address, owner)
        if before != owner:
            text = format_address(address.family, address.value)
            found.error("address-twice", f"{text} is {before} and {owner}", None)
    for address, service in cluster.service_addresses.items():
        used[address.family].setdefault(address, f"the address of Service {service}")
    return used


def _check_tunnel_subnets(resolved: Resolved, settings: Settings, found: Collector) -> None:
    cluster = resolved.cluster
    for family in resolved.families:
        tunnel: Intervals = (settings.tunnel.subnets[family],)
        pods = [i for node in cluster.nodes for i in node.pod_cidrs[family]] + list(cluster.calico_pools[family])
        nodes = [Interval(a.value, a.value) for node in cluster.nodes for a in node.addresses if a.family == family]
        for what, intervals in (
            ("a pod CIDR", pods),
            ("a Service CIDR", cluster.service_cidrs[family]),
            ("a node", nodes),
        ):
            if any(intersect((interval,), tunnel) for interval in intervals):
                found.error(
                    "tunnel-overlap",
                    f"the IPv{family} tunnel subnet overlaps {what}",
                    None,
                    hint=f"set tunnel.ipv{family}Subnet in the settings",
                )
