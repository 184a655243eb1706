"""Uplinks of gateway nodes that have tables of their own: which EIP leaves by which.

These are the further ones, and the main one where its next hop is named, as the default route may be by another device.

An EIP is chosen in postrouting, when a packet's way is decided.  So the way is chosen before, by the same answer: the
mark of the EIP's uplink looks up a table that knows nothing but this uplink.
"""

from __future__ import annotations

from collections.abc import Mapping

from egress_compiler.ir import OwnAddress, SteerRoute, SteerRule, UplinkTable
from egress_compiler.lower.tunnel import TunnelLayout
from egress_compiler.model.cluster import Node
from egress_compiler.model.settings import FurtherUplink
from egress_compiler.net import FAMILIES, Family, cidrs, contains, format_address
from egress_compiler.numbering import (
    MARK_MASK,
    STEER_RULE_PREFERENCE,
    UNREACHABLE_METRIC,
    uplink_mark,
    uplink_table,
)

MAIN = 0
"""In place of the number of an uplink that has a table."""


class UplinkWays:
    """The uplinks with tables of each gateway node; workers need none."""

    def __init__(self, layout: TunnelLayout) -> None:
        self._layout = layout

    def _uplinks(self, node: Node) -> tuple[FurtherUplink, ...]:
        main = self._layout.uplink(node.name)
        if not main.gateways:
            return main.further
        cidrs = {family: main.cidrs[family] if family in main.gateways else () for family in FAMILIES}
        return (*main.further, FurtherUplink(main.interface, cidrs, main.gateways))

    def tables(self, node: Node) -> tuple[UplinkTable, ...]:
        if not self._layout.is_gateway(node.name):
            return ()
        return tuple(
            UplinkTable(
                interface=uplink.interface,
                number=number,
                mark=uplink_mark(number),
                table=uplink_table(number),
                cidrs4=tuple(cidrs(4, uplink.cidrs[4])),
                cidrs6=tuple(cidrs(6, uplink.cidrs[6])),
            )
            for number, uplink in enumerate(self._uplinks(node), 1)
        )

    def number(self, node: Node, family: Family, eip: int) -> int:
        """Of the uplink by which ``eip`` leaves; MAIN where that is the main one, and the node's own routes decide."""
        uplinks = enumerate(self._uplinks(node), 1)
        return next((number for number, uplink in uplinks if contains(uplink.cidrs[family], eip)), MAIN)

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

    def rules(self, node: Node) -> tuple[SteerRule, ...]:
        return tuple(
            SteerRule(family, STEER_RULE_PREFERENCE, way.mark, MARK_MASK, way.table, None, "uplink")
            for family in FAMILIES
            for way in self.tables(node)
            if _subnets(way)[family]
        )

    def routes(self, node: Node) -> tuple[SteerRoute, ...]:
        """The uplink's subnets, its next hop, and nothing else: no packet falls through to another device."""
        uplinks = self._uplinks(node)
        routes: list[SteerRoute] = []
        for family in FAMILIES:
            for way in self.tables(node):
                if not _subnets(way)[family]:
                    continue
                table, via = way.table, uplinks[way.number - 1].gateways.get(family)
                for subnet in _subnets(way)[family]:
                    routes.append(SteerRoute(family, table, None, way.interface, None, None, False, subnet, "uplink"))
                if via is not None:
                    # The node itself needs no address there, so the next hop may be in none of its own subnets.
                    routes.append(SteerRoute(family, table, via, way.interface, None, None, onlink=True, part="uplink"))
                routes.append(SteerRoute(family, table, None, None, UNREACHABLE_METRIC, None, part="uplink"))
        return tuple(routes)


def _subnets(way: UplinkTable) -> Mapping[Family, tuple[str, ...]]:
    return {4: way.cidrs4, 6: way.cidrs6}
