"""EIPs on an uplink that is not the way to the outside: their packets would leave by another device."""

from __future__ import annotations

from collections.abc import Mapping

from egress_compiler.diagnostics import Collector, listing
from egress_compiler.model.cluster import Node
from egress_compiler.model.settings import Settings, Uplink, uplink_of
from egress_compiler.net import FAMILIES, Family, format_interval, subtract
from egress_compiler.resolve import Resolved, ResolvedGateway


def check_default_routes(
    resolved: Resolved, settings: Settings, uplinks: Mapping[str, Uplink], found: Collector
) -> None:
    """An error for EIPs of a main uplink without next hop, on a node whose default route is known to be elsewhere.

    Pools that no policy takes an EIP from hurt nobody.
    """
    for name in sorted({p.gateway.name for p in resolved.policies if not p.policy.use_node_ip}):
        for family in FAMILIES:
            if family in resolved.families:
                _check(resolved.gateways[name], family, settings, uplinks, found)


def _check(
    gateway: ResolvedGateway, family: Family, settings: Settings, uplinks: Mapping[str, Uplink], found: Collector
) -> None:
    astray = {node.name: uplink for node in gateway.nodes if (uplink := _astray(node, family, settings, uplinks))}
    for item in gateway.gateway.pool_items[family]:
        on_main = {
            node: (uplink, rest[0])
            for node, uplink in astray.items()
            if (rest := subtract((item.interval,), tuple(i for other in uplink.further for i in other.cidrs[family])))
        }
        if on_main:
            uplink, eips = on_main[min(on_main)]
            found.error(
                "uplink-no-route",
                f"{format_interval(family, eips)} in the pool of EgressGateway {gateway.gateway.name} is on "
                f"{uplink.interface} of {listing(sorted(on_main))}, whose IPv{family} default route is by "
                f"{uplink.default_device(family)}: packets would leave there, and answers come to {uplink.interface}",
                gateway.gateway.document.at(*item.path),
                hint=f"name the next hop of {uplink.interface}'s subnet: egress_uplink_gateways (ipv{family}) in the "
                "inventory, uplinkGateways in the settings",
            )
            return


def _astray(node: Node, family: Family, settings: Settings, uplinks: Mapping[str, Uplink]) -> Uplink | None:
    uplink = uplink_of(node.name, settings, uplinks)
    elsewhere = uplink.default_device(family) != uplink.interface
    return uplink if elsewhere and family not in uplink.gateways else None
