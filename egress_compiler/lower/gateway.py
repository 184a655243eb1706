"""A node's gateway role: it obeys answer numbers, and may have the addresses of its slots.

A gateway holds the translations of every slot that it could own, at all times: the next master is ready before it is
needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from egress_compiler.allocate import Allocation
from egress_compiler.allocate import Slot as AllocatedSlot
from egress_compiler.allocate.eips import NO_EIP, EipPair
from egress_compiler.contract.names import TUNNEL_DEVICE
from egress_compiler.contract.plan import (
    Both,
    FloatingAddress,
    GatewayRole,
    SlotMembership,
    Translation,
    UplinkTable,
    VrrpInstance,
)
from egress_compiler.lower.sync import SyncGroups
from egress_compiler.lower.tunnel import TunnelLayout
from egress_compiler.lower.uplinks import MAIN, UplinkTables
from egress_compiler.model.cluster import Node
from egress_compiler.model.settings import Settings
from egress_compiler.net import FAMILIES, Family, format_address
from egress_compiler.resolve import Resolved

HIGHEST_PRIORITY = 250
PRIORITY_STEP = 20
"""Between two gateways of a slot: keeps their skew times apart, so that one backup speaks first (RFC 5798)."""

_MAIN_UPLINK = Both(MAIN, MAIN)


class GatewayRoles:
    def __init__(
        self,
        resolved: Resolved,
        allocation: Allocation,
        layout: TunnelLayout,
        uplinks: UplinkTables,
        groups: SyncGroups,
        settings: Settings,
        ranges: Mapping[Family, tuple[str, ...]],
    ) -> None:
        self._resolved = resolved
        self._layout = layout
        self._uplinks = uplinks
        self._groups = groups
        self._settings = settings
        self._ranges = Both(ranges[4], ranges[6])
        self._nodes = {node.name: node for node in resolved.cluster.nodes}
        self._slots: dict[str, list[AllocatedSlot]] = {}
        for slot in allocation.slots.values():
            for name in slot.order:
                self._slots.setdefault(name, []).append(slot)
        self._translations: dict[int, list[Translation]] = {}
        users: dict[int, dict[tuple[Family, int], list[str]]] = {}
        for ref, placement in sorted(allocation.placements.items()):
            if placement.slot is None:
                continue
            self._translations.setdefault(placement.slot, []).append(
                _translation(allocation.answers[ref], str(ref), placement.eip, placement.use_node_ip, placement.slot)
            )
            for family in FAMILIES:
                value = placement.eip.of(family)
                if value is not None:
                    users.setdefault(placement.slot, {}).setdefault((family, value), []).append(str(ref))
        for gone in allocation.gone:
            translation = _translation(gone.number, gone.policy, gone.eip, gone.eip == NO_EIP, gone.slot)
            self._translations[gone.slot].append(replace(translation, gone=True))
        self._users: Mapping[int, Mapping[tuple[Family, int], str]] = {
            slot: {eip: _named(names) for eip, names in sorted(eips.items())} for slot, eips in users.items()
        }

    def of(self, node: Node) -> GatewayRole | None:
        """None on a node that no EgressGateway selects."""
        if not self._layout.is_gateway(node.name):
            return None
        slots, tables = self._slots.get(node.name, []), self._uplinks.tables(node)
        translations = sorted(
            (self._of_node(t, node, tables) for slot in slots for t in self._translations.get(slot.number, ())),
            key=lambda t: t.number,
        )
        memberships = tuple(self._membership(slot, node) for slot in slots)
        eips = Both[tuple[str, ...]].made(lambda family: self._eips(slots, family))
        return GatewayRole(
            translations=tuple(translations),
            sources=self._ranges,
            eips=eips,
            leave_with=Both[tuple[str, ...]].made(lambda f: (*eips.of(f), *_own_addresses(translations, node, f))),
            uplinks=tables,
            own6=self._uplinks.own6(node),
            memberships=memberships,
            vrrp=tuple(self._instance(of, node) for of in _by_vrid(slots)),
            peers=self._groups.peers(node),
            sync=self._groups.sync(node),
            replies_by_tunnel=self._settings.gateway_reply_route,
            node_index=self._layout.index(node.name),
        )

    def _of_node(self, translation: Translation, node: Node, tables: Sequence[UplinkTable]) -> Translation:
        if translation.own:
            addresses = Both[str | None].made(lambda family: _address(family, node.address(family)))
            return replace(translation, addresses=addresses)
        if not tables:
            return translation
        addresses = translation.addresses
        uplinks = Both[int].made(lambda family: self._uplinks.number_of(node, addresses.of(family)))
        return replace(translation, uplinks=uplinks)

    def _eips(self, slots: Sequence[AllocatedSlot], wanted: Family) -> tuple[str, ...]:
        """The EIPs that the node could own."""
        values = {v for slot in slots for family, v in self._users.get(slot.number, ()) if family == wanted}
        return tuple(format_address(wanted, value) for value in sorted(values))

    def _membership(self, slot: AllocatedSlot, node: Node) -> SlotMembership:
        main = self._layout.uplink(node.name).interface
        eips = tuple(
            FloatingAddress(format_address(family, value), self._uplinks.device(node, family, value), users)
            for (family, value), users in self._users.get(slot.number, {}).items()
        )
        vips = (format_address(family, value) for family, value in slot.tunnel_vips.items())
        return SlotMembership(
            slot=slot.number,
            gateway=slot.gateway,
            preferred_node=slot.node,
            members=slot.order,
            place=slot.order.index(node.name),
            tunnel_vips=tuple(FloatingAddress(vip, TUNNEL_DEVICE, "tunnel VIP") for vip in vips),
            eips=eips,
            tracked=tuple(sorted({eip.device for eip in eips} - {main})),
        )

    def _instance(self, slots: Sequence[AllocatedSlot], node: Node) -> VrrpInstance:
        slot = slots[0]
        step = min(PRIORITY_STEP, HIGHEST_PRIORITY // len(slot.order))
        family = self._layout.underlay_family
        peers = [self._nodes[name].address(family) for name in slot.order if name != node.name]
        return VrrpInstance(
            name=f"vrid_{slot.vrid}",
            slots=tuple(slot.number for slot in slots),
            vrid=slot.vrid,
            priority=HIGHEST_PRIORITY - step * slot.order.index(node.name),
            interface=self._layout.uplink(node.name).interface,
            source=self._layout.underlay(node),
            peers=tuple(format_address(family, peer) for peer in sorted(p for p in peers if p is not None)),
            advert_ms=self._settings.vrrp.advert_ms,
            preempt=self._settings.vrrp.preempt,
        )


def _by_vrid(slots: Sequence[AllocatedSlot]) -> tuple[list[AllocatedSlot], ...]:
    """Those that share a node have one only if they are alike."""
    found: dict[int, list[AllocatedSlot]] = {}
    for slot in slots:
        found.setdefault(slot.vrid, []).append(slot)
    return tuple(found.values())


def _translation(number: int, policy: str, eip: EipPair, own: bool, slot: int) -> Translation:
    """As on every gateway node; the addresses of one with ``own`` are each node's."""
    addresses = Both[str | None].made(lambda f: None if own else _address(f, eip.of(f)))
    return Translation(number, slot, policy, addresses, _MAIN_UPLINK, own)


def _own_addresses(translations: Sequence[Translation], node: Node, family: Family) -> tuple[str, ...]:
    value = node.address(family)
    used = value is not None and any(translation.own for translation in translations)
    return (format_address(family, value),) if used and value is not None else ()


def _address(family: Family, value: int | None) -> str | None:
    return None if value is None else format_address(family, value)


def _named(users: Sequence[str]) -> str:
    """The policies that leave with an EIP, the first three by name."""
    names = sorted(users)
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
