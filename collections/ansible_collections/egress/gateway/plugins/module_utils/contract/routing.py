# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""The rules and routes that follow from a plan: which mark looks up which table, and where that leads.

A rule of the kernel's is found by its preference; rules of one preference do not depend on their order.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Union

from .names import GATEWAY_DEVICE, LOOPBACK, NOBODY, TUNNEL_DEVICE, WORKER_DEVICE
from .numbers import (
    END_PREFERENCE,
    ENTER_PREFERENCE,
    LAST_PREFERENCE,
    LAST_TABLE,
    MARK_MASK,
    MARK_PREFIX,
    OWN_SLOT_MARK,
    OWN_SLOT_TABLE,
    PASS_PREFERENCE,
    PREFIX_MASK,
    SKIP_PREFERENCE,
    STEER_PREFERENCE,
    UNREACHABLE_METRIC,
    reply_mark,
    reply_table,
    slot_mark,
    slot_table,
    uplink_mark,
    uplink_table,
)
from .plan import FAMILIES, Family, IpRoute, IpRule, NodePlan, Slot, SlotMembership, TunnelPeer, UplinkTable

_VETH = "the veth pair of the gateway's own pods"
_OWN_PODS = 0
"""In place of a node's index in reply marks and tables."""
_LAST = "the last resort"
_ROLE = "the gateway role"
_GOVERNED = "governed pods of this node, and podSubnets"
_HALVES = {"0.0.0.0/0": ("0.0.0.0/1", "128.0.0.0/1"), "::/0": ("::/1", "8000::/1")}
"""To the kernel a rule from everywhere is one without a source, which there may be already."""


def slot_origin(slot: Union[Slot, SlotMembership]) -> str:
    return "EgressGateway %s, slot of %s" % (slot.gateway, slot.preferred_node)


def _looked_up(family: Family, origin: str, mark: int, table: int, mask: int = MARK_MASK) -> IpRule:
    return IpRule(family, STEER_PREFERENCE, origin, mark=mark, mask=mask, table=table)


def _refused(family: Family, origin: str, table: int) -> IpRoute:
    """Behind the other routes of a table, so that what cannot take them never looks up the main table."""
    return IpRoute(family, table, origin, "unreachable", metric=UNREACHABLE_METRIC)


def rules(plan: NodePlan) -> Iterator[IpRule]:
    """All but the last resort's."""
    for family in plan.kernel.families:
        for slot in plan.worker.slots:
            yield _looked_up(family, slot_origin(slot), slot_mark(slot.number), slot_table(slot.number))
        if plan.kernel.veth is not None:
            yield _looked_up(family, _VETH, OWN_SLOT_MARK, OWN_SLOT_TABLE)
            yield _looked_up(family, _VETH, reply_mark(_OWN_PODS), reply_table(_OWN_PODS))
        for peer in plan.kernel.peers:
            if peer.reply_index is not None:
                mark, table = reply_mark(peer.reply_index), reply_table(peer.reply_index)
                yield _looked_up(family, _reply_origin(peer), mark, table)
    for uplink in plan.uplink_tables():
        for family in FAMILIES:
            if uplink.cidrs.of(family):
                mark, table = uplink_mark(uplink.number), uplink_table(uplink.number)
                yield _looked_up(family, _uplink_origin(uplink), mark, table, PREFIX_MASK)


def routes(plan: NodePlan) -> Iterator[IpRoute]:
    """All but the last resort's."""
    for position, family in enumerate(plan.kernel.families):
        for slot in plan.worker.slots:
            table, origin = slot_table(slot.number), slot_origin(slot)
            yield IpRoute(family, table, origin, via=slot.tunnel_vips[position], device=TUNNEL_DEVICE)
            yield _refused(family, origin, table)
        if plan.kernel.veth is not None:
            for table, device in ((OWN_SLOT_TABLE, WORKER_DEVICE), (reply_table(_OWN_PODS), GATEWAY_DEVICE)):
                yield IpRoute(family, table, _VETH, via=NOBODY[family], device=device, onlink=True)
        for peer in plan.kernel.peers:
            if peer.reply_index is not None:
                table, origin = reply_table(peer.reply_index), _reply_origin(peer)
                yield IpRoute(family, table, origin, via=peer.addresses[position], device=TUNNEL_DEVICE)
                yield _refused(family, origin, table)
    for uplink in plan.uplink_tables():
        yield from _uplink_routes(uplink)


def _uplink_routes(uplink: UplinkTable) -> Iterator[IpRoute]:
    """The uplink's subnets, its next hop, and nothing else: no packet falls through to another device."""
    table, origin, device = uplink_table(uplink.number), _uplink_origin(uplink), uplink.interface
    for family in FAMILIES:
        if not uplink.cidrs.of(family):
            continue
        for subnet in uplink.cidrs.of(family):
            yield IpRoute(family, table, origin, destination=subnet, device=device)
        via = uplink.next_hops.of(family)
        if via is not None:
            # The node itself needs no address there, so the next hop may be in none of its own subnets.
            yield IpRoute(family, table, origin, via=via, device=device, onlink=True)
        yield _refused(family, origin, table)


def _reply_origin(peer: TunnelPeer) -> str:
    return "replies to pods of node %s" % peer.node


def _uplink_origin(uplink: UplinkTable) -> str:
    return "uplink %s" % uplink.interface


def last_rules(plan: NodePlan) -> Iterator[IpRule]:
    """Those of the last resort: the end first, as others go there; then as packets meet them."""
    for family in plan.kernel.families:
        if _has_last_resort(plan, family):
            yield from _past(family, plan.last_resort.hosts.of(family))
            yield from _into(plan, family)
            yield from _last(plan, family)


def _has_last_resort(plan: NodePlan, family: Family) -> bool:
    return plan.gateway is not None or bool(plan.last_resort.sources.of(family))


@lru_cache(maxsize=16)
def _past(family: Family, hosts: tuple[str, ...]) -> tuple[IpRule, ...]:
    """The same on most nodes, as are the routes below: made once for all of them."""
    end, looked_at = END_PREFERENCE, "what nftables has looked at"
    return (
        IpRule(family, END_PREFERENCE, "what goes past the last resort"),
        IpRule(family, SKIP_PREFERENCE, looked_at, mark=MARK_PREFIX, mask=PREFIX_MASK, goto=end),
        IpRule(family, SKIP_PREFERENCE, "what this node itself sends", interface=LOOPBACK, goto=end),
        *(IpRule(family, SKIP_PREFERENCE, "hosts within podSubnets", source=host, goto=end) for host in hosts),
        IpRule(family, PASS_PREFERENCE, "everything else", goto=end),
    )


def _into(plan: NodePlan, family: Family) -> Iterator[IpRule]:
    """All of them lead to one place, as a packet that came by the tunnel may be from one of the ranges."""
    enter, last = ENTER_PREFERENCE, LAST_PREFERENCE
    for device in _inwards(plan):
        yield IpRule(family, enter, _ROLE, interface=device, goto=last)
    for text in _halved(plan.last_resort.ranges.of(family)):
        yield IpRule(family, enter, "where this node's pods are", source=text, goto=last)


def _last(plan: NodePlan, family: Family) -> Iterator[IpRule]:
    preference, mask, table = LAST_PREFERENCE, PREFIX_MASK, LAST_TABLE
    for device in _inwards(plan):
        yield IpRule(family, preference, _ROLE, interface=device, mark=0, mask=mask, table=table)
    for source in _halved(plan.last_resort.sources.of(family)):
        yield IpRule(family, preference, _GOVERNED, source=source, mark=0, mask=mask, table=table)


def _inwards(plan: NodePlan) -> tuple[str, ...]:
    """The devices by which packets come to the gateway role."""
    return (GATEWAY_DEVICE, TUNNEL_DEVICE) if plan.gateway is not None else ()


def _halved(texts: tuple[str, ...]) -> Iterator[str]:
    for text in texts:
        yield from _HALVES.get(text, (text,))


def last_routes(plan: NodePlan) -> Iterator[IpRoute]:
    """The table of the last resort: what is inside the cluster is thrown back, and all else goes nowhere."""
    for family in plan.kernel.families:
        if not _has_last_resort(plan, family):
            continue
        yield from _thrown_back(family, plan.last_resort.inside.of(family))
        if family == 4:
            # The kernel's reverse path check asks this table, too, and wants to hear of the uplink.
            device = plan.last_resort.device
            yield IpRoute(4, LAST_TABLE, _LAST, via=NOBODY[4], device=device, onlink=True)
        else:
            yield _refused(6, _LAST, LAST_TABLE)


@lru_cache(maxsize=16)
def _thrown_back(family: Family, inside: tuple[str, ...]) -> tuple[IpRoute, ...]:
    return tuple(IpRoute(family, LAST_TABLE, _LAST, "throw", destination=text) for text in inside)
