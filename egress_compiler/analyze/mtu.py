"""The tunnel's MTU against what the uplinks carry and what IPv6 asks for."""

from __future__ import annotations

from collections.abc import Mapping

from egress_compiler.contract.names import TUNNEL_OVERHEAD
from egress_compiler.diagnostics import Collector, counted, listing
from egress_compiler.model.cluster import Node
from egress_compiler.model.settings import Settings, Uplink, uplink_of
from egress_compiler.resolve import Resolved

LEAST_FOR_IPV6 = 1280
"""Bytes.  The kernel takes IPv6 off a device with less (RFC 8200, section 5)."""


def check_tunnel_mtu(resolved: Resolved, settings: Settings, uplinks: Mapping[str, Uplink], found: Collector) -> None:
    """A warning where tunnel packets do not fit the uplink, an error where the tunnel can have no IPv6 address."""

    def room(node: Node) -> int:
        return uplink_of(node.name, settings, uplinks).mtu - TUNNEL_OVERHEAD[resolved.cluster.underlay]

    least = min((room(node) for node in resolved.cluster.nodes), default=0)
    narrow = [node.name for node in resolved.cluster.nodes if room(node) == least]
    who = f"the uplink of {counted(len(narrow), 'node')} ({listing(narrow)})"
    document, mtu = settings.document, settings.tunnel.mtu
    given = "is what egress_mtu in the inventory or uplinkMTU in the settings says"
    if mtu is not None and mtu > least:
        found.warning(
            "tunnel-mtu",
            f"tunnel.mtu is {mtu}, and {who} has room for {least} within its MTU",
            document.at("tunnel", "mtu") if document is not None else None,
            hint=f"leave tunnel.mtu out, or write {least} or less; the uplink's MTU {given}",
        )
    elif mtu is None and least < LEAST_FOR_IPV6 and 6 in resolved.families:
        found.error(
            "tunnel-mtu",
            f"{who} has room for tunnel packets of {least} bytes, and IPv6 needs {LEAST_FOR_IPV6}",
            document.key_at("uplinkMTU") if document is not None and document.has("uplinkMTU") else None,
            hint=f"raise the uplink's MTU, which {given}, to {LEAST_FOR_IPV6 + max(TUNNEL_OVERHEAD.values())} or more",
        )
