# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""Others' rules, routes and devices on a node that ours cannot live beside: named before anything is touched.

On a node that has a plan already they are no reason to leave what is broken as it is: see ``preflight.py``.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.egress.gateway.plugins.module_utils.contract import routing
from ansible_collections.egress.gateway.plugins.module_utils.contract.names import (
    LOOPBACK,
    MAC_PREFIX,
    OWN_DEVICES,
    TUNNEL_DEVICE,
)
from ansible_collections.egress.gateway.plugins.module_utils.contract.numbers import (
    END_PREFERENCE,
    LAST_PREFERENCE,
    ROUTE_PROTOCOL,
    STEER_PREFERENCE,
)
from ansible_collections.egress.gateway.plugins.module_utils.contract.plan import (
    FAMILIES,
    Family,
    IpRule,
    NodePlan,
    Tunnel,
)
from ansible_collections.egress.gateway.plugins.module_utils.kernel.command import run
from ansible_collections.egress.gateway.plugins.module_utils.kernel.reading import (
    Kernel,
    destination_of_rule,
    has_group_policy,
    has_ipv6,
    parse_list,
    read_json,
    source_of_rule,
)
from ansible_collections.egress.gateway.plugins.module_utils.resources.key import Key

_LOCAL_TABLE = 255
_MAIN_PREFERENCE = 32766
_NARROW = (
    "dst",
    "oif",
    "l3mdev",
    "uid_start",
    "ipproto",
    "sport",
    "dport",
    "tos",
    "dsfield",
    "suppress_prefixlen",
    "goto",
)
"""Selectors, and limits, of rules that are about some packets only: whoever wrote them knows which."""
_REFUSING = {"6": "blackhole", "7": "unreachable", "8": "prohibit"}
"""Actions by the numbers that ``ip -N`` prints, as in rtnetlink(7)."""
_EVERYTHING = frozenset(["default", "0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/1", "::/0", "2000::/3"])


@dataclass(frozen=True)
class Conflict:
    """``object`` is the other's and stays the same whatever plan it conflicts with; ``text`` says what to do."""

    object: str
    text: str
    forbids: Key | None = None
    """An object of ours that the kernel refuses to make beside it."""


def conflicts(plan: NodePlan, kernel: Kernel, installed: bool) -> tuple[Conflict, ...]:
    """What of somebody else's would take our packets, or our place; with ``installed`` our devices are ours."""
    return (*_devices(plan, kernel, installed), *_rules(plan), *_routes(plan))


def _devices(plan: NodePlan, kernel: Kernel, installed: bool) -> Iterator[Conflict]:
    for name, link in sorted(kernel.links().items()):
        info = link.get("linkinfo", {})
        kind = info.get("info_kind", "device")
        data = info.get("info_data", {})
        if name in OWN_DEVICES:
            expected = "vxlan" if name == TUNNEL_DEVICE else "veth"
            ours = kind == expected and str(link.get("address", "")).startswith(MAC_PREFIX)
            if not ours and not installed and (name == TUNNEL_DEVICE or plan.kernel.veth is not None):
                text = "the device %s exists already and is somebody else's %s: remove or rename it" % (name, kind)
                yield Conflict("link " + name, text)
        elif data.get("port") == plan.kernel.tunnel.port:
            yield from _same_port(name, link, plan.kernel.tunnel)


def _same_port(name: str, link: Mapping[str, Any], tunnel: Tunnel) -> Iterator[Conflict]:
    """Another device with the tunnel's port, where it is in the way.

    To the kernel, VXLAN devices with group policy share a port, each VNI once, also of a device that is down; to a
    device without it the port is given only while ours is not up, and the other way round (vxlan_core.c).  One that is
    down receives nothing that our rules could keep from it.
    """
    kind, data = link["linkinfo"]["info_kind"], link["linkinfo"]["info_data"]
    start = "the device %s, a %s, uses " % (name, kind)
    of_ours = ":" in tunnel.underlay
    same_family = bool(data.get("external")) or any(key.endswith("6") for key in data) == of_ours
    shares = kind == "vxlan" and has_group_policy(data)
    made = Key.of("link", TUNNEL_DEVICE)
    if shares and same_family and data.get("id") == tunnel.vni:
        text = "the tunnel's VNI %d and UDP port %d: set tunnel.vni or tunnel.port to another"
        yield Conflict("link " + name, start + text % (tunnel.vni, tunnel.port), forbids=made)
    elif "UP" in link.get("flags", ()):
        reason = "our rules would let in nobody but our own nodes"
        if same_family and not shares:
            reason = "the kernel gives it to no tunnel with group policy besides"
        text = "UDP port %d, which is to be the tunnel's: %s; set tunnel.port to another" % (tunnel.port, reason)
        yield Conflict("link " + name, start + text, forbids=made if same_family and not shares else None)


def _rules(plan: NodePlan) -> Iterator[Conflict]:
    for family in FAMILIES:
        wanted = [rule for rule in routing.rules(plan) if rule.family == family]
        if not wanted:
            continue
        last = (rule for rule in routing.last_rules(plan) if rule.family == family)
        sources = [rule.source for rule in last if rule.source is not None and rule.preference == LAST_PREFERENCE]
        for rule in _foreign_rules(family):
            if not _may_be_first(rule) or not _concerns(rule, sources, plan.kernel.interface):
                continue
            taken = [ours for ours in wanted if _takes_mark(rule, ours)]
            if taken and _leads_away(rule, family, taken):
                yield Conflict(
                    "rule ipv%d %s" % (family, sorted(rule.items())),
                    "ip rule of somebody else at preference %s takes packets with mark 0x%08x/0x%08x (%s) to %s, "
                    "before ours at %d or in its place: move it to a preference above %d, or away from these marks"
                    % (
                        rule["priority"],
                        taken[0].mark or 0,
                        taken[0].mask or 0,
                        taken[0].origin,
                        _lead(rule),
                        taken[0].preference,
                        END_PREFERENCE,
                    ),
                )


def _foreign_rules(family: Family) -> Iterator[Mapping[str, Any]]:
    """All that somebody else has, but the kernel's own first one."""
    if family == 6 and not has_ipv6():
        return
    for rule in read_json(["ip", "-N", "-j", "-%d" % family, "rule", "show"]):
        if int(rule.get("protocol", 0)) != ROUTE_PROTOCOL and int(rule.get("table", 0)) != _LOCAL_TABLE:
            yield rule


def _may_be_first(rule: Mapping[str, Any]) -> bool:
    """Whether a rule is before ours or at the same place, where the order is that of coming."""
    return int(rule["priority"]) <= STEER_PREFERENCE


def _concerns(rule: Mapping[str, Any], sources: Sequence[str], uplink: str) -> bool:
    """Whether governed pods' packets may meet the selector, its mark aside."""
    if any(key in rule for key in _NARROW) or rule.get("iif") in ("lo", uplink, *OWN_DEVICES):
        return False
    wanted = source_of_rule(rule)
    return wanted is None or any(_overlap(wanted, source) for source in sources)


def _overlap(one: str, other: str) -> bool:
    """Both of one family."""
    return ipaddress.ip_network(one).overlaps(ipaddress.ip_network(other))  # type: ignore[arg-type]  # of one family


def _takes_mark(rule: Mapping[str, Any], ours: IpRule) -> bool:
    """Whether a packet with our mark, whatever others' bits it has, may match."""
    asked = _mark(rule)
    if asked is None or ours.mark is None or ours.mask is None:
        return "not" not in rule
    value, mask = asked
    agrees = (value ^ ours.mark) & mask & ours.mask == 0
    return agrees if "not" not in rule else not (agrees and mask & ~ours.mask == 0)


def _mark(rule: Mapping[str, Any]) -> tuple[int, int] | None:
    """Value and mask that a rule asks for."""
    if "fwmark" not in rule:
        return None
    return int(str(rule["fwmark"]), 0), int(str(rule.get("fwmask", "0xffffffff")), 0)


def _leads_away(rule: Mapping[str, Any], family: Family, taken: Sequence[IpRule]) -> bool:
    """Whether the lookup ends there: the rule refuses, or its table has a route to everywhere."""
    table = int(rule.get("table", 0))
    if _action(rule):
        return True
    if table == 0 or all(ours.table == table for ours in taken):
        return False
    return any(str(route.get("dst")) in _EVERYTHING for route in _table(family, table))


def _action(rule: Mapping[str, Any]) -> str:
    """What a rule does instead of a lookup, where it refuses; iproute2 has names for it where -N is not heard."""
    action = str(rule.get("action", ""))
    return _REFUSING.get(action, action if action in _REFUSING.values() else "")


def taken_numbers(plan: NodePlan) -> tuple[str, ...]:
    """Warnings: others' ip rules that tell a VXLAN packet by the answer number of what it carries.

    The kernel routes the outer packet with that number as its mark. No such rule is ours to refuse, for the numbers
    were given where this node's rules are not known.
    """
    numbers = {answer.number: answer.origin for answer in plan.worker.answers}
    found = []
    for rule in _foreign_rules(6 if ":" in plan.kernel.tunnel.underlay else 4):
        asked = _mark(rule)
        if asked is None or not _meets_tunnel(rule, plan):
            continue
        taken = [number for number in sorted(numbers) if (number & asked[1] == asked[0]) != (asked[0] == 0)]
        if taken:
            found.append(
                "ip rule of somebody else at preference %s, fwmark 0x%x/0x%x to %s, tells the tunnel's packets apart "
                "by answer number %s: set foreignMarks in the compiler's settings, and such numbers are given to nobody"
                % (rule["priority"], *asked, _lead(rule), _numbered(taken, numbers))
            )
    return tuple(found)


def _meets_tunnel(rule: Mapping[str, Any], plan: NodePlan) -> bool:
    """Whether what the node itself sends to a peer, from its underlay address, may meet the selector."""
    if int(rule["priority"]) >= _MAIN_PREFERENCE or rule.get("iif", LOOPBACK) != LOOPBACK:
        return False
    if "oif" in rule or "l3mdev" in rule:
        return False
    source, destination = source_of_rule(rule), destination_of_rule(rule)
    if source is not None and not _overlap(source, plan.kernel.tunnel.underlay):
        return False
    return destination is None or any(_overlap(destination, peer.underlay) for peer in plan.kernel.peers)


def _numbered(taken: Sequence[int], origins: Mapping[int, str]) -> str:
    more = " and %d more" % (len(taken) - 3) if len(taken) > 3 else ""
    return ", ".join("%d (%s)" % (number, origins[number]) for number in taken[:3]) + more


def _lead(rule: Mapping[str, Any]) -> str:
    return _action(rule) or "table %s" % rule.get("table")


def _routes(plan: NodePlan) -> Iterator[Conflict]:
    tables = {(route.family, route.table) for route in routing.routes(plan)}
    for family, table in sorted(tables):
        foreign = [r for r in _table(family, table) if str(r.get("protocol")) != str(ROUTE_PROTOCOL)]
        if foreign:
            yield Conflict(
                "table %d ipv%d" % (table, family),
                "routing table %d has an IPv%d route of somebody else, to %s: governed packets would follow it; "
                "the tables from 3000 are ours, move it to another"
                % (table, family, ", ".join(sorted(str(r.get("dst")) for r in foreign)[:3])),
            )


def _table(family: Family, table: int) -> Sequence[Mapping[str, Any]]:
    """The routes of a table; one that nobody has used does not exist."""
    done = run(["ip", "-N", "-j", "-%d" % family, "route", "show", "table", str(table)], check=False)
    return parse_list(done.stdout) if done.status == 0 else ()
