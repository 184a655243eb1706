"""The star of VXLAN tunnels: who is in it, under which addresses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from egress_compiler.allocate import Allocation
from egress_compiler.contract.names import (
    GATEWAY_DEVICE,
    TUNNEL_DEVICE,
    TUNNEL_OVERHEAD,
    VETH_ADDRESSES,
    VETH_MAC,
    WORKER_DEVICE,
)
from egress_compiler.contract.numbers import tunnel_mac
from egress_compiler.contract.plan import Tunnel, TunnelPeer, VethPair
from egress_compiler.model.cluster import Node
from egress_compiler.model.settings import Settings, Uplink, uplink_of
from egress_compiler.net import Family, format_address
from egress_compiler.resolve import Resolved


class TunnelLayout:
    """Addresses, peers and uplinks of all nodes.  Workers know the gateways, gateways know everybody."""

    def __init__(
        self, resolved: Resolved, allocation: Allocation, settings: Settings, uplinks: Mapping[str, Uplink]
    ) -> None:
        self._nodes = {node.name: node for node in resolved.cluster.nodes}
        self._families = resolved.families
        self.underlay_family = resolved.cluster.underlay
        self._index = allocation.node_index
        self._settings = settings
        self._uplinks = uplinks
        self.gateways = frozenset(node.name for gateway in resolved.gateways.values() for node in gateway.nodes)
        self._peers = tuple(self._peer(name) for name in sorted(self._nodes))
        self._gateway_peers = tuple(peer for peer in self._peers if peer.node in self.gateways)

    def is_gateway(self, node: str) -> bool:
        return node in self.gateways

    def index(self, node: str) -> int:
        return self._index[node]

    def uplink(self, node: str) -> Uplink:
        return uplink_of(node, self._settings, self._uplinks)

    def underlay(self, node: Node) -> str:
        """The node's own address that its tunnel runs over."""
        return format_address(self.underlay_family, node.address(self.underlay_family) or 0)

    def tunnel_mtu(self, node: Node) -> int:
        return self._settings.tunnel.mtu or self.uplink(node.name).mtu - TUNNEL_OVERHEAD[self.underlay_family]

    def _addresses(self, node: str) -> tuple[tuple[Family, str], ...]:
        subnets = self._settings.tunnel.subnets
        return tuple((f, format_address(f, subnets[f].first + self._index[node])) for f in self._families)

    def tunnel(self, node: Node) -> Tunnel:
        prefixes = self._settings.tunnel.prefixes
        return Tunnel(
            device=TUNNEL_DEVICE,
            vni=self._settings.tunnel.vni,
            port=self._settings.tunnel.port,
            underlay=self.underlay(node),
            mtu=self.tunnel_mtu(node),
            mac=tunnel_mac(self._index[node.name]),
            addresses=tuple(f"{address}/{prefixes[family]}" for family, address in self._addresses(node.name)),
        )

    def veth(self, node: Node) -> VethPair | None:
        """Between the two roles of a gateway, as wide as the tunnel, so that no failover changes a path's MTU."""
        if not self.is_gateway(node.name):
            return None
        return VethPair(
            worker=WORKER_DEVICE,
            gateway=GATEWAY_DEVICE,
            worker_address=VETH_ADDRESSES[0],
            gateway_address=VETH_ADDRESSES[1],
            mac=VETH_MAC,
            mtu=self.tunnel_mtu(node),
        )

    def peers(self, node: Node) -> tuple[TunnelPeer, ...]:
        is_gateway = self.is_gateway(node.name)
        peers = tuple(peer for peer in (self._peers if is_gateway else self._gateway_peers) if peer.node != node.name)
        if not is_gateway or not self._settings.gateway_reply_route:
            return peers
        return tuple(replace(peer, reply_index=self._index[peer.node]) for peer in peers)

    def _peer(self, name: str) -> TunnelPeer:
        addresses = tuple(address for _, address in self._addresses(name))
        return TunnelPeer(name, self.underlay(self._nodes[name]), tunnel_mac(self._index[name]), addresses)
