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

from ansible_collections.egress.gateway.plugins.module_utils.kernel.command import run
from ansible_collections.egress.gateway.plugins.module_utils.kernel.reading import (
    FAMILIES,
    Kernel,
    has_ipv6,
    parse_list,
    read_json,
)
from ansible_collections.egress.gateway.plugins.module_utils.node import (
    DEVICE,
    END_PREFERENCE,
    MAC_PREFIX,
    OWN_DEVICES,
    PROTOCOL,
    STEER_PREFERENCE,
    VETH_PAIR,
)
from ansible_collections.egress.gateway.plugins.module_utils.plan import Family, Plan, Rule, Tunnel
from ansible_collections.egress.gateway.plugins.module_utils.resources.key import Key

_LOCAL_TABLE = 255
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


def conflicts(plan: Plan, kernel: Kernel, installed: bool) -> tuple[Conflict, ...]:
    """What of somebody else's would take our packets, or our place; with ``installed`` our devices are ours."""
    return (*_devices(plan, kernel, installed), *_rules(plan), *_routes(plan))


def _devices(plan: Plan, kernel: Kernel, installed: bool) -> Iterator[Conflict]:
    for name, link in sorted(kernel.links().items()):
        info = link.get("linkinfo", {})
        kind = info.get("info_kind", "device")
        data = info.get("info_data", {})
        if name in OWN_DEVICES:
            expected = "vxlan" if name == DEVICE else "veth"
            ours = kind == expected and str(link.get("address", "")).startswith(MAC_PREFIX)
            if not ours and not installed and (name == DEVICE or plan.wire is not None):
                text = "the device %s exists already and is somebody else's %s: remove or rename it" % (name, kind)
                yield Conflict("link " + name, text)
        elif data.get("port") == plan.tunnel.port and name not in VETH_PAIR:
            yield from _same_port(name, link, plan.tunnel)


def _same_port(name: str, link: Mapping[str, Any], tunnel: Tunnel) -> Iterator[Conflict]:
    """Another device with the tunnel's port, where it is in the way.

    The kernel refuses a second VXLAN device of one VNI, port and family, also where the first is down; of other VNIs
    it takes any number. A device that is down receives nothing that our rules could keep from it.
    """
    kind, data = link["linkinfo"]["info_kind"], link["linkinfo"]["info_data"]
    start = "the device %s, a %s, uses " % (name, kind)
    same_family = any(key.endswith("6") for key in data) == (":" in tunnel.underlay)
    if kind == "vxlan" and data.get("id") == tunnel.vni and same_family:
        text = "the tunnel's VNI %d and UDP port %d: set tunnel.vni or tunnel.port to another"
        yield Conflict("link " + name, start + text % (tunnel.vni, tunnel.port), forbids=Key.of("link", DEVICE))
    elif "UP" in link.get("flags", ()):
        text = (
            "UDP port %d, which is to be the tunnel's: our rules would let in nobody but our own nodes; "
            "set tunnel.port to another" % tunnel.port
        )
        yield Conflict("link " + name, start + text)


def _rules(plan: Plan) -> Iterator[Conflict]:
    for family in FAMILIES:
        wanted = [rule for rule in plan.rules if rule.family == family]
        if not wanted or (family == 6 and not has_ipv6()):
            continue
        unseen = [rule for rule in plan.last_resort.rules if rule.family == family and not rule.action]
        sources = [rule.source for rule in unseen if rule.source]
        for rule in read_json(["ip", "-N", "-j", "-%d" % family, "rule", "show"]):
            if not _may_be_first(rule) or not _concerns(rule, sources, plan.interface):
                continue
            taken = [ours for ours in wanted if _takes_mark(rule, ours)]
            if taken and _leads_away(rule, family, taken):
                yield Conflict(
                    "rule ipv%d %s" % (family, sorted(rule.items())),
                    "ip rule of somebody else at preference %s takes packets with mark 0x%08x/0x%08x (%s) to %s, "
                    "before ours at %d or in its place: move it to a preference above %d, or away from these marks"
                    % (
                        rule["priority"],
                        taken[0].mark,
                        taken[0].mask,
                        taken[0].origin,
                        _action(rule) or "table %s" % rule.get("table"),
                        taken[0].preference,
                        END_PREFERENCE,
                    ),
                )


def _may_be_first(rule: Mapping[str, Any]) -> bool:
    """Whether a rule is somebody else's, and before ours or at the same place, where the order is that of coming."""
    protocol, table = int(rule.get("protocol", 0)), int(rule.get("table", 0))
    return protocol != PROTOCOL and int(rule["priority"]) <= STEER_PREFERENCE and table != _LOCAL_TABLE


def _concerns(rule: Mapping[str, Any], sources: Sequence[str], uplink: str) -> bool:
    """Whether governed pods' packets may meet the selector, its mark aside."""
    if any(key in rule for key in _NARROW) or rule.get("iif") in ("lo", uplink, *OWN_DEVICES):
        return False
    if rule.get("src", "all") == "all":
        return True
    from_ = ipaddress.ip_network("%s/%s" % (rule["src"], rule["srclen"]) if "srclen" in rule else rule["src"])
    return any(from_.overlaps(ipaddress.ip_network(source)) for source in sources)  # type: ignore[arg-type]  # both of one family


def _takes_mark(rule: Mapping[str, Any], ours: Rule) -> bool:
    """Whether a packet with our mark, whatever others' bits it has, may match."""
    if "fwmark" not in rule:
        return "not" not in rule
    value = int(str(rule["fwmark"]), 0)
    mask = int(str(rule.get("fwmask", "0xffffffff")), 0)
    agrees = (value ^ ours.mark) & mask & ours.mask == 0
    return agrees if "not" not in rule else not (agrees and mask & ~ours.mask == 0)


def _leads_away(rule: Mapping[str, Any], family: Family, taken: Sequence[Rule]) -> bool:
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


def _routes(plan: Plan) -> Iterator[Conflict]:
    tables = {(route.family, route.table) for route in plan.routes}
    for family, table in sorted(tables):
        foreign = [r for r in _table(family, table) if str(r.get("protocol")) != str(PROTOCOL)]
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
