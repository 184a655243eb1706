"""The star of VXLAN tunnels: who is in it, under which addresses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from egress_compiler.allocate import Allocation
from egress_compiler.ir import SteerRoute, SteerRule, Tunnel, TunnelPeer, Wire
from egress_compiler.model.cluster import Node
from egress_compiler.model.settings import Settings, Uplink, uplink_of
from egress_compiler.net import Family, format_address
from egress_compiler.numbering import (
    GATEWAY_DEVICE,
    MARK_MASK,
    NOBODY,
    OWN_SLOT_MARK,
    STEER_RULE_PREFERENCE,
    TO_GATEWAY_TABLE,
    TUNNEL_DEVICE,
    TUNNEL_OVERHEAD,
    UNREACHABLE_METRIC,
    WIRE_ADDRESSES,
    WIRE_MAC,
    WORKER_DEVICE,
    node_mark,
    reply_table,
    tunnel_mac,
)
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
        self._peers = {name: self._peer(name) for name in self._nodes}

    def is_gateway(self, node: str) -> bool:
        return node in self.gateways

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

    def wire(self, node: Node) -> Wire | None:
        """Between the two sides of a gateway, as wide as the tunnel, so that no failover changes a path's MTU."""
        if not self.is_gateway(node.name):
            return None
        return Wire(
            worker=WORKER_DEVICE,
            gateway=GATEWAY_DEVICE,
            worker_address=WIRE_ADDRESSES[0],
            gateway_address=WIRE_ADDRESSES[1],
            mac=WIRE_MAC,
            mtu=self.tunnel_mtu(node),
            reply_mark=node_mark(self._index[node.name]),
        )

    def wire_rules(self, node: Node) -> tuple[SteerRule, ...]:
        """A gateway's own pods' packets go over the wire while it has their slot, and the replies always."""
        if not self.is_gateway(node.name):
            return ()
        index = self._index[node.name]
        ways = ((OWN_SLOT_MARK, TO_GATEWAY_TABLE), (node_mark(index), reply_table(index)))
        return tuple(
            SteerRule(family, STEER_RULE_PREFERENCE, mark, MARK_MASK, table, None, "wire")
            for family in self._families
            for mark, table in ways
        )

    def wire_routes(self, node: Node) -> tuple[SteerRoute, ...]:
        if not self.is_gateway(node.name):
            return ()
        ways = ((TO_GATEWAY_TABLE, WORKER_DEVICE), (reply_table(self._index[node.name]), GATEWAY_DEVICE))
        return tuple(
            SteerRoute(family, table, NOBODY[family], device, None, None, onlink=True, part="wire")
            for family in self._families
            for table, device in ways
        )

    def peers(self, node: Node) -> tuple[TunnelPeer, ...]:
        names = self._nodes if self.is_gateway(node.name) else self.gateways
        peers = tuple(self._peers[name] for name in sorted(names) if name != node.name)
        if not self._sends_replies_back(node):
            return peers
        return tuple(replace(peer, reply_mark=node_mark(self._index[peer.node])) for peer in peers)

    def _sends_replies_back(self, node: Node) -> bool:
        return self._settings.gateway_reply_route and self.is_gateway(node.name)

    def reply_rules(self, node: Node) -> tuple[SteerRule, ...]:
        """Of a gateway: replies to pods of other nodes, where they go back by the tunnel."""
        if not self._sends_replies_back(node):
            return ()
        indices = [self._index[peer.node] for peer in self.peers(node)]
        return tuple(
            SteerRule(family, STEER_RULE_PREFERENCE, node_mark(index), MARK_MASK, reply_table(index), None, "reply")
            for family in self._families
            for index in indices
        )

    def reply_routes(self, node: Node) -> tuple[SteerRoute, ...]:
        """Each with what refuses the replies while the tunnel is gone: the other way would not reach the pod."""
        if not self._sends_replies_back(node):
            return ()
        peers = self.peers(node)
        routes: list[SteerRoute] = []
        for position, family in enumerate(self._families):
            for peer in peers:
                table, via = reply_table(self._index[peer.node]), peer.addresses[position]
                routes.append(SteerRoute(family, table, via, TUNNEL_DEVICE, None, None, part="reply"))
                routes.append(SteerRoute(family, table, None, None, UNREACHABLE_METRIC, None, part="reply"))
        return tuple(routes)

    def _peer(self, name: str) -> TunnelPeer:
        addresses = tuple(address for _, address in self._addresses(name))
        return TunnelPeer(name, self.underlay(self._nodes[name]), tunnel_mac(self._index[name]), addresses)
