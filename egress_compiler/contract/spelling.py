# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""How a device, an address, a neighbour, an FDB entry, a rule and a route are spelled for ip and bridge.

The words that follow a verb, such as ``route add``; the same in the batches of a bundle and in what apply runs
(ip-link(8), ip-rule(8), ip-route(8), bridge(8)).
"""

from __future__ import annotations

from .names import FLOOD_MAC, TUNNEL_DEVICE
from .numbers import ROUTE_PROTOCOL
from .plan import IpRoute, IpRule, Tunnel, TunnelPeer, VethPair


def tunnel_options(tunnel: Tunnel) -> str:
    """Group policy is what carries the answer numbers."""
    return "vxlan id %d local %s dstport %d nolearning gbp" % (tunnel.vni, tunnel.underlay, tunnel.port)


def tunnel_device(tunnel: Tunnel) -> str:
    return "%s address %s mtu %d type %s" % (tunnel.device, tunnel.mac, tunnel.mtu, tunnel_options(tunnel))


def tunnel_address(address: str) -> str:
    """Nobody else can have an IPv6 one, and a tentative one would not be answered for in the first second."""
    return "%s dev %s%s" % (address, TUNNEL_DEVICE, " nodad" if ":" in address else "")


def veth_pair(pair: VethPair) -> str:
    both = "address %s mtu %d" % (pair.mac, pair.mtu)
    return "%s %s type veth peer name %s %s" % (pair.worker, both, pair.gateway, both)


def veth_end(end: str) -> str:
    """Neither end asks for neighbours, nor has an address of its own making."""
    return "%s arp off addrgenmode none" % end


def veth_address(address: str, end: str) -> str:
    return "%s dev %s scope link" % (address, end)


def neighbour(address: str, mac: str) -> str:
    return "%s lladdr %s dev %s nud permanent" % (address, mac, TUNNEL_DEVICE)


def fdb_entry(mac: str, underlay: str, state: str = "permanent") -> str:
    return " ".join(filter(None, ["%s dev %s dst %s self" % (mac, TUNNEL_DEVICE, underlay), state]))


def fdb_macs(peer: TunnelPeer) -> tuple[str, ...]:
    """What leads to a peer: broadcasts, and what has its MAC."""
    return (FLOOD_MAC, peer.mac)


def rule(item: IpRule, protocol: int = ROUTE_PROTOCOL) -> str:
    words = ["preference %d" % item.preference, selector(item), action(item), "protocol %d" % protocol]
    return " ".join(filter(None, words))


def selector(item: IpRule) -> str:
    """What a packet must have; empty for a rule that takes everything."""
    words = ["from %s" % item.source] if item.source is not None else []
    words += ["iif %s" % item.interface] if item.interface is not None else []
    if item.mark is not None and item.mask is not None:
        words.append("fwmark %#010x/%#010x" % (item.mark, item.mask))
    return " ".join(words)


def action(item: IpRule) -> str:
    if item.table is not None:
        return "lookup %d" % item.table
    return "goto %d" % item.goto if item.goto is not None else "nop"


def route(item: IpRoute) -> str:
    words = [item.kind if item.kind != "unicast" else "", item.destination or "default", next_hop(item)]
    words.append("table %d" % item.table)
    words.append("metric %d" % item.metric if item.metric is not None else "")
    words += ["onlink" if item.onlink else "", "protocol %d" % ROUTE_PROTOCOL]
    return " ".join(filter(None, words))


def next_hop(item: IpRoute) -> str:
    """Empty for a route that leads nowhere."""
    words = ["via %s" % item.via if item.via is not None else "", "dev %s" % item.device if item.device else ""]
    return " ".join(filter(None, words))
