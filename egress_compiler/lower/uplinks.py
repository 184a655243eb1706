"""Uplinks of gateway nodes that have tables of their own: which EIP leaves by which.

These are the further ones, and the main one where its next hop is named, as the default route may be by another device.

An EIP is chosen in postrouting, when a packet's path is decided.  So the path is chosen before, by the same answer
number: the mark of its EIP's uplink looks up a table that knows nothing but this uplink.
"""

from __future__ import annotations

from egress_compiler.contract.plan import Both, OwnAddress, UplinkTable
from egress_compiler.lower.tunnel import TunnelLayout
from egress_compiler.model.cluster import Node
from egress_compiler.model.settings import FurtherUplink
from egress_compiler.net import FAMILIES, Family, cidrs, contains, format_address, parse_address

MAIN = 0
"""In place of the number of an uplink that has a table."""


class UplinkTables:
    """The uplinks with tables of each gateway node; workers need none."""

    def __init__(self, layout: TunnelLayout) -> None:
        self._layout = layout
        self._of_nodes: dict[str, tuple[FurtherUplink, ...]] = {}

    def _uplinks(self, node: Node) -> tuple[FurtherUplink, ...]:
        """Made once a node: each EIP asks."""
        known = self._of_nodes.get(node.name)
        if known is None:
            known = self._of_nodes[node.name] = self._made(node)
        return known

    def _made(self, node: Node) -> tuple[FurtherUplink, ...]:
        main = self._layout.uplink(node.name)
        if not main.gateways:
            return main.further
        own = {family: main.cidrs[family] if family in main.gateways else () for family in FAMILIES}
        return (*main.further, FurtherUplink(main.interface, own, main.gateways))

    def tables(self, node: Node) -> tuple[UplinkTable, ...]:
        if not self._layout.is_gateway(node.name):
            return ()
        return tuple(
            UplinkTable(
                interface=uplink.interface,
                number=number,
                cidrs=Both(tuple(cidrs(4, uplink.cidrs[4])), tuple(cidrs(6, uplink.cidrs[6]))),
                next_hops=Both(uplink.gateways.get(4), uplink.gateways.get(6)),
            )
            for number, uplink in enumerate(self._uplinks(node), 1)
        )

    def number(self, node: Node, family: Family, eip: int) -> int:
        """Of the uplink by which ``eip`` leaves; MAIN where that is the main one, and the node's own routes decide."""
        uplinks = enumerate(self._uplinks(node), 1)
        return next((number for number, uplink in uplinks if contains(uplink.cidrs[family], eip)), MAIN)

    def number_of(self, node: Node, eip: str | None) -> int:
        """The same for an address as text; MAIN for none."""
        if eip is None:
            return MAIN
        address = parse_address(eip)
        return self.number(node, address.family, address.value)

    def device(self, node: Node, family: Family, eip: int) -> str:
        """The one that has ``eip`` while the node is master."""
        number = self.number(node, family, eip)
        return self._uplinks(node)[number - 1].interface if number != MAIN else self._layout.uplink(node.name).interface

    def own6(self, node: Node) -> tuple[OwnAddress, ...]:
        """On the main uplink of a gateway, where that has one and its subnets are not known to be others."""
        address, uplink = node.address(6), self._layout.uplink(node.name)
        if not self._layout.is_gateway(node.name) or address is None:
            return ()
        if uplink.cidrs[6] and not contains(uplink.cidrs[6], address):
            return ()
        return (OwnAddress(uplink.interface, format_address(6, address)),)
