# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""plan.json, read strictly into the few values that the kernel can be compared with.

The compiler's ``egress_compiler/ir.py`` owns the format; fields that are not needed here are not looked at.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from ansible_collections.egress.gateway.plugins.module_utils.kernel.command import NodeError

VERSION = 1

Family = Literal[4, 6]
FAMILIES: tuple[Family, ...] = (4, 6)

_DEVICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@:-]{0,14}")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_SYSCTL = re.compile(r"net(/[A-Za-z0-9_.@:-]+)+")
_SLOT = re.compile(r"slot_[0-9]+")
_VALUE = re.compile(r"[ -~]*")


@dataclass(frozen=True)
class Tunnel:
    device: str
    vni: int
    port: int
    underlay: str
    mtu: int
    mac: str
    addresses: tuple[str, ...]


@dataclass(frozen=True)
class Wire:
    """The veth pair between the two sides of a gateway node; addresses with prefix lengths."""

    worker: str
    gateway: str
    worker_address: str
    gateway_address: str
    mac: str
    mtu: int


@dataclass(frozen=True)
class Peer:
    node: str
    underlay: str
    mac: str
    addresses: tuple[str, ...]


@dataclass(frozen=True)
class Rule:
    family: Family
    preference: int
    mark: int
    mask: int
    table: int
    origin: str
    source: str = ""
    interface: str = ""
    action: str = ""
    """``goto`` with a preference, or ``nop``; else ``table`` is looked up."""


@dataclass(frozen=True)
class LastResort:
    """``inside`` has the destinations by family that the table throws back; all else goes to nobody.

    ``rules`` are in the order in which they may be added: those past which hosts go come first.
    """

    via4: str
    device4: str
    inside: Mapping[Family, tuple[str, ...]]
    rules: tuple[Rule, ...]


@dataclass(frozen=True)
class Route:
    """Without ``device`` it is the last resort: unreachable. ``destination`` is a CIDR, or default."""

    family: Family
    table: int
    via: str | None
    device: str | None
    metric: int | None
    origin: str
    onlink: bool
    destination: str = "default"


@dataclass(frozen=True)
class FloatingAddress:
    """An address that keepalived puts on a device while this node is master of ``slot``, a VRRP instance."""

    address: str
    device: str
    origin: str
    slot: str


@dataclass(frozen=True)
class Sysctl:
    key: str
    value: str
    reason: str


@dataclass(frozen=True)
class Plan:
    node: str
    role: Literal["gateway", "worker"]
    interface: str
    uplinks: tuple[str, ...]
    """Devices that the node leaves by besides ``interface``."""
    own_table: tuple[Family, ...]
    """In which packets with an EIP of ``interface`` leave by it whatever the default route says."""
    tunnel: Tunnel
    wire: Wire | None
    peers: tuple[Peer, ...]
    rules: tuple[Rule, ...]
    routes: tuple[Route, ...]
    last_resort: LastResort
    floating: tuple[FloatingAddress, ...]
    sysctls: tuple[Sysctl, ...]
    origins: Mapping[str, str]
    """Where nftables objects come from: by source, EIP, underlay address or chain name."""
    gateways: tuple[str, ...]
    """Underlay addresses of the other gateways that this one shares a slot with."""
    alone: tuple[str, ...] = ()
    """The slots of this gateway that have no other gateway."""
    shares_slots: bool = False
    """Whether VRRP is spoken with another gateway."""
    sync_port: int | None = None
    """UDP port of connection tracking between gateways."""


def parse_plan(text: str) -> Plan:
    """NodeError when the text is no plan of this version."""
    try:
        data = json.loads(text)
        if data["version"] != VERSION:
            raise NodeError(
                "plan version %s, but this collection reads %d: use the collection and the compiler of one release"
                % (data["version"], VERSION)
            )
        return _plan(data)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise NodeError("the node's plan is damaged: %s: %s" % (type(error).__name__, error)) from error


def _plan(data: Mapping[str, Any]) -> Plan:
    slots = {s["number"]: "EgressGateway %s, slot of %s" % (s["gateway"], s["preferred_node"]) for s in data["slots"]}
    tunnel = data["tunnel"]
    ways = {("slot", number): text for number, text in slots.items()}
    ways["wire", None] = "the veth pair of the gateway's own pods"
    ways["reply", None] = "replies to pods of another node"
    ways["uplink", None] = "a further uplink"
    return Plan(
        node=str(data["node"]),
        role=_role(data["role"]),
        interface=_matching(_DEVICE, data["interface"]),
        uplinks=tuple(
            _matching(_DEVICE, uplink["interface"])
            for uplink in data.get("uplinks", ())
            if uplink["interface"] != data["interface"]
        ),
        own_table=tuple(
            family
            for uplink in data.get("uplinks", ())
            for family in FAMILIES
            if uplink["interface"] == data["interface"] and uplink["cidrs%d" % family]
        ),
        tunnel=Tunnel(
            device=_matching(_DEVICE, tunnel["device"]),
            vni=int(tunnel["vni"]),
            port=int(tunnel["port"]),
            underlay=_address(tunnel["underlay"]),
            mtu=int(tunnel["mtu"]),
            mac=_matching(_MAC, tunnel["mac"].lower()),
            addresses=_addresses(tunnel["addresses"]),
        ),
        wire=_wire(data["wire"]) if data["wire"] else None,
        peers=tuple(
            Peer(p["node"], _address(p["underlay"]), _matching(_MAC, p["mac"].lower()), _addresses(p["addresses"]))
            for p in data["peers"]
        ),
        rules=tuple(
            Rule(
                _family(r),
                int(r["preference"]),
                int(r["mark"]),
                int(r["mask"]),
                int(r["table"]),
                ways[_part(r), r["slot"]],
            )
            for r in data["rules"]
        ),
        routes=tuple(_route(r, ways[_part(r), r["slot"]]) for r in data["routes"]),
        last_resort=_last_resort(data["last_resort"]),
        floating=tuple(
            FloatingAddress(
                _address(a["address"]), _matching(_DEVICE, a["device"]), a["origin"], _matching(_SLOT, instance["name"])
            )
            for instance in data["vrrp"]
            for a in (*instance["tunnel_vips"], *instance["eips"])
        ),
        sysctls=tuple(
            Sysctl(_sysctl(s["key"]), _matching(_VALUE, s["value"]), str(s["reason"])) for s in data["sysctls"]
        ),
        origins=_origins(data, slots),
        gateways=tuple(sorted({_address(peer) for instance in data["vrrp"] for peer in instance["peers"]})),
        alone=tuple(slots[instance["slot"]] for instance in data["vrrp"] if not instance["peers"]),
        shares_slots=any(instance["peers"] for instance in data["vrrp"]),
        sync_port=int(data["sync"]["port"]) if data["sync"] else None,
    )


def _part(data: Mapping[str, Any]) -> str:
    """What a rule or route is for; the plan that a node still has may be of a compiler that did not say so."""
    return str(data.get("part", "wire" if data["slot"] is None else "slot"))


def _origins(data: Mapping[str, Any], slots: Mapping[int, str]) -> dict[str, str]:
    found = {peer["underlay"]: "node " + peer["node"] for peer in data["peers"]}
    found.update({"%s.%d" % (kind, number): text for number, text in slots.items() for kind in ("slot", "mark")})
    for kind in ("steer", "snat"):
        policies = {c["name"]: ", ".join(c["policies"]) for c in data[kind + "_classes"]}
        found.update({"%s.%s" % (kind, name): text for name, text in policies.items()})
        for sources in data[kind + "_sources"].values():
            for source in sources:
                by = policies.get(source["traffic_class"], "")
                found[source["source"]] = "%s (%s)" % (source["owner"], by) if by else source["owner"]
    found.update({eip["address"]: eip["origin"] for instance in data["vrrp"] for eip in instance["eips"]})
    return found


def _role(role: str) -> Literal["gateway", "worker"]:
    if role not in ("gateway", "worker"):
        raise ValueError("role %r" % role)
    return cast("Literal['gateway', 'worker']", role)


def _route(route: Mapping[str, Any], origin: str) -> Route:
    via, device, metric = route["via"], route["device"], route["metric"]
    return Route(
        _family(route),
        int(route["table"]),
        None if via is None else _address(via),
        None if device is None else _matching(_DEVICE, device),
        None if metric is None else int(metric),
        origin,
        bool(route["onlink"]),
        _address(route["destination"]) if route.get("destination") else "default",
    )


def _last_resort(last: Mapping[str, Any]) -> LastResort:
    mask, end = int(last["mask"]), int(last.get("end_preference", 0))
    looks = [_unseen(rule, int(last["preference"]), mask, int(last["table"]), "") for rule in last["rules"]]
    skips = [_unseen(rule, int(last["skip_preference"]), 0, 0, "goto %d" % end) for rule in last.get("skips", ())]
    ends = [Rule(f, end, 0, 0, 0, "what hosts send", action="nop") for f in sorted({rule.family for rule in skips})]
    return LastResort(
        via4=_address(last["via4"]),
        device4=_matching(_DEVICE, last["device4"]),
        inside={4: _addresses(last["inside4"]), 6: _addresses(last["inside6"])},
        rules=(*ends, *skips, *looks),
    )


def _unseen(rule: Mapping[str, Any], preference: int, mask: int, table: int, action: str) -> Rule:
    return Rule(
        family=_family(rule),
        preference=preference,
        mark=0,
        mask=mask,
        table=table,
        origin=rule["owner"],
        source=_address(rule["source"]) if rule["source"] else "",
        interface=_matching(_DEVICE, rule["interface"]) if rule["interface"] else "",
        action=action,
    )


def _wire(wire: Mapping[str, Any]) -> Wire:
    return Wire(
        worker=_matching(_DEVICE, wire["worker"]),
        gateway=_matching(_DEVICE, wire["gateway"]),
        worker_address=_address(wire["worker_address"]),
        gateway_address=_address(wire["gateway_address"]),
        mac=_matching(_MAC, wire["mac"].lower()),
        mtu=int(wire["mtu"]),
    )


def _matching(pattern: re.Pattern[str], text: str) -> str:
    """The text, which goes into commands and paths only if it looks like what it should be."""
    if not pattern.fullmatch(text):
        raise ValueError("%r" % text)
    return text


def _address(text: str) -> str:
    """An address, or one with a prefix length, in the form that the kernel's tools print."""
    return str(ipaddress.ip_interface(text) if "/" in text else ipaddress.ip_address(text))


def _addresses(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(_address(text) for text in texts)


def _sysctl(key: str) -> str:
    if ".." in key.split("/"):
        raise ValueError("%r" % key)
    return _matching(_SYSCTL, key)


def _family(item: Mapping[str, Any]) -> Family:
    if item["family"] not in (4, 6):
        raise ValueError("family %r" % item["family"])
    return cast("Family", item["family"])
