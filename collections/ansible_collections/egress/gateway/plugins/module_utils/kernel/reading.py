# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""What the kernel holds, read through ``ip -j``, ``bridge -j`` and ``nft -j``, each once until ``forget``."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ansible_collections.egress.gateway.plugins.module_utils.contract.names import NFT_TABLE, TUNNEL_DEVICE
from ansible_collections.egress.gateway.plugins.module_utils.contract.numbers import ROUTE_PROTOCOL
from ansible_collections.egress.gateway.plugins.module_utils.contract.plan import FAMILIES, Family, IpRoute, IpRule
from ansible_collections.egress.gateway.plugins.module_utils.kernel.command import NodeError, run
from ansible_collections.egress.gateway.plugins.module_utils.kernel.nft_generation import nft_generation

T = TypeVar("T")
Listing = Sequence[Mapping[str, Any]]

_ROUTE_TYPES = {"1": "unicast", "6": "blackhole", "7": "unreachable", "8": "prohibit", "9": "throw"}
"""rtnetlink(7); ``ip -N`` has numbers where names depend on a file of the node."""


@dataclass(frozen=True)
class KernelRule:
    """``more`` is what else it asks for or does, as ip rule writes it; none of ours has that."""

    rule: IpRule
    protocol: int
    more: str = ""


@dataclass(frozen=True)
class KernelRoute:
    """``more`` is what else it has, in words for people; none of ours has that."""

    route: IpRoute
    more: str = ""


@dataclass(frozen=True)
class FdbEntry:
    """``more`` are words that ``bridge fdb`` would need beyond MAC and destination; none of them is ours."""

    mac: str
    destination: str
    permanent: bool
    more: str = ""


class Kernel:
    """A view that is consistent within one reading: nothing is asked twice before ``forget``."""

    def __init__(self) -> None:
        self._read: dict[str, Any] = {}

    def forget(self) -> None:
        self._read.clear()

    def links(self) -> Mapping[str, Mapping[str, Any]]:
        """Every device by name, with details and addresses, as ``ip -d -j address show`` has them."""
        return self._once("links", lambda: {x["ifname"]: x for x in read_json(["ip", "-d", "-j", "address", "show"])})

    def addresses(self) -> frozenset[str]:
        """Every address of the node, on any device, without prefix length."""
        return frozenset(a["local"] for x in self.links().values() for a in x.get("addr_info", ()) if "local" in a)

    def rules(self) -> Sequence[KernelRule]:
        """All ip rules with a mark, and all of our protocol."""
        return self._once("rules", lambda: [r for family in FAMILIES for r in _rules(family)])

    def routes(self) -> Sequence[KernelRoute]:
        """All routes of our protocol, in any table."""
        return self._once("routes", lambda: [r for family in FAMILIES for r in _routes(family)])

    def connected(self) -> Sequence[str]:
        """Destinations of the routes in the main table that the kernel made of the tunnel device's addresses."""
        if TUNNEL_DEVICE not in self.links():
            return ()
        return self._once("connected", lambda: [r["dst"] for family in FAMILIES for r in _connected(family)])

    def neighbours(self) -> Mapping[str, str]:
        """Permanent neighbours on the tunnel device: address to MAC."""
        if TUNNEL_DEVICE not in self.links():
            return {}
        argv = ["ip", "-j", "neighbour", "show", "dev", TUNNEL_DEVICE, "nud", "permanent"]
        return self._once("neighbours", lambda: {n["dst"]: n.get("lladdr", "") for n in read_json(argv)})

    def fdb(self) -> Sequence[FdbEntry]:
        """Forwarding entries of the tunnel device that lead to a remote underlay address."""
        if TUNNEL_DEVICE not in self.links():
            return ()
        return self._once("fdb", lambda: parse_fdb(read_json(["bridge", "-j", "fdb", "show", "dev", TUNNEL_DEVICE])))

    def table(self) -> Listing:
        """Our nftables table as nft's JSON objects; empty when there is none."""
        return self._once("table", _table)

    def table_text(self) -> str:
        """The same as text with handles, for people."""
        argv = ["nft", "-s", "-a", "list", "table", "inet", NFT_TABLE]
        return self._once("table text", lambda: run(argv, check=False).stdout)

    def _once(self, key: str, read: Callable[[], T]) -> T:
        if key not in self._read:
            self._read[key] = read()
        value: T = self._read[key]
        return value


def parse_fdb(entries: Listing) -> Sequence[FdbEntry]:
    """What ``bridge -j fdb show`` has of entries with a destination."""
    words = (("port", "port"), ("vni", "vni"), ("src_vni", "src_vni"), ("viaIf", "via"))
    return [
        FdbEntry(
            entry["mac"],
            entry["dst"],
            entry.get("state") == "permanent",
            " ".join("%s %s" % (word, entry[key]) for key, word in words if key in entry),
        )
        for entry in entries
        if "dst" in entry
    ]


def has_group_policy(data: Mapping[str, Any]) -> bool:
    """Of a VXLAN device's options: iproute2 6.1 says true, later ones null, and without it none says anything."""
    return data.get("gbp", False) is not False


def has_ipv6() -> bool:
    return Path("/proc/net/if_inet6").exists()


def read_json(argv: Sequence[str]) -> list[dict[str, Any]]:
    """The answer of a tool; none at all is an empty list (iproute2 prints nothing when there is nothing)."""
    try:
        return parse_list(run(argv).stdout)
    except ValueError as error:
        raise NodeError("%s printed no JSON: %s" % (" ".join(argv), error)) from error


def parse_list(text: str) -> list[dict[str, Any]]:
    """What iproute2 prints; ValueError when it is no JSON."""
    found: list[dict[str, Any]] = json.loads(text) if text.strip() else []
    return found


def _rules(family: Family) -> list[KernelRule]:
    if family == 6 and not has_ipv6():
        return []
    return [
        parse_rule(family, r)
        for r in read_json(["ip", "-N", "-j", "-%d" % family, "rule", "show"])
        if "fwmark" in r or int(r.get("protocol", 0)) == ROUTE_PROTOCOL
    ]


def parse_rule(family: Family, rule: Mapping[str, Any]) -> KernelRule:
    """From what ``ip -N -j rule`` shows."""
    return KernelRule(
        IpRule(
            family,
            int(rule["priority"]),
            mark=int(str(rule["fwmark"]), 0) if "fwmark" in rule else None,
            mask=int(str(rule.get("fwmask", "0xffffffff")), 0) if "fwmark" in rule else None,
            source=source_of_rule(rule),
            interface=rule.get("iif"),
            table=int(rule["table"]) if "table" in rule else None,
            goto=int(rule["goto"]) if "goto" in rule else None,
        ),
        int(rule.get("protocol", 0)),
        more_of_rule(rule),
    )


def source_of_rule(rule: Mapping[str, Any]) -> str | None:
    """None for all."""
    return _end_of_rule(rule, "src")


def destination_of_rule(rule: Mapping[str, Any]) -> str | None:
    return _end_of_rule(rule, "dst")


def _end_of_rule(rule: Mapping[str, Any], key: str) -> str | None:
    address, length = str(rule.get(key, "all")), rule.get(key + "len")
    if address == "all" or length == 0:
        return None
    return address if length is None else "%s/%s" % (address, length)


def more_of_rule(rule: Mapping[str, Any]) -> str:
    """What ``ip -N -j rule`` shows of a rule beyond source, mark, device, and where it leads."""
    words = ["not"] if "not" in rule else []
    if "action" in rule:
        words.append("type %s" % _ROUTE_TYPES.get(str(rule["action"]), rule["action"]))
    destination = destination_of_rule(rule)
    words += ["to " + destination] if destination is not None else []
    words += ["%s %s" % (word, rule[word]) for word in ("tos", "oif", "tun_id") if word in rule]
    if "ipproto" in rule:
        words.append("ipproto %s" % str(rule["ipproto"]).rpartition("-")[2])
    for key, word in (("sport", "sport"), ("dport", "dport"), ("uid", "uidrange")):
        if key in rule:
            words.append("%s %s" % (word, rule[key]))
        if key + "_start" in rule:
            words.append("%s %s-%s" % (word, rule[key + "_start"], rule[key + "_end"]))
    for key, word in (("suppress_prefixlen", "suppress_prefixlength"), ("suppress_ifgroup", "suppress_ifgroup")):
        words += ["%s %s" % (word, rule[key])] if key in rule else []
    words += ["l3mdev"] if "l3mdev" in rule else []
    return " ".join(words)


def more_of_route(route: Mapping[str, Any]) -> str:
    """What ``ip -N -j route`` shows of a route beyond destination, next hop, device, table and metric."""
    words = ["%s %s" % (key, route[key]) for key in ("prefsrc", "nhid", "expires") if key in route]
    words += ["from %s" % route["from"]] if route.get("from", "default") != "default" else []
    words += ["encap"] if "encap" in route else []
    words += ["%s %s" % pair for metrics in route.get("metrics", ()) for pair in sorted(metrics.items())]
    for hop in route.get("nexthops", ()):
        words.append("nexthop %s on %s" % (hop.get("gateway", "direct"), hop.get("dev", "nothing")))
    return " ".join(words)


def _routes(family: Family) -> list[KernelRoute]:
    if family == 6 and not has_ipv6():
        return []
    argv = ["ip", "-N", "-j", "-%d" % family, "route", "show", "table", "all", "protocol", str(ROUTE_PROTOCOL)]
    return [parse_route(family, r) for r in read_json(argv)]


def parse_route(family: Family, route: Mapping[str, Any]) -> KernelRoute:
    """From what ``ip -N -j route`` shows; the type of service, which is part of what tells routes apart, goes along."""
    kind = str(route.get("type", "1"))
    destination = " tos ".join([str(route.get("dst", "default")), *([str(route["tos"])] if "tos" in route else [])])
    return KernelRoute(
        IpRoute(
            family,
            int(route.get("table", 254)),
            kind=_ROUTE_TYPES.get(kind, kind),
            destination=None if destination == "default" else destination,
            via=route.get("gateway"),
            device=route.get("dev") if "gateway" in route or kind in ("1", "unicast") else None,
            metric=int(route["metric"]) if route.get("metric") else None,
        ),
        more_of_route(route),
    )


def _connected(family: Family) -> list[dict[str, Any]]:
    if family == 6 and not has_ipv6():
        return []
    return read_json(
        ["ip", "-N", "-j", "-%d" % family, "route", "show", "table", "254", "dev", TUNNEL_DEVICE, "protocol", "2"]
    )


class _LastTable:
    """What was read last, by any Kernel. Valid while the kernel says that no transaction came since."""

    generation: int | None = None
    listing: Listing = ()


def _table() -> Listing:
    """nft takes seconds for 150,000 elements, and apply asks before and after everything that it does."""
    now = nft_generation()
    if now is None or now != _LastTable.generation:
        _LastTable.listing = _read_table()
        _LastTable.generation = now if now == nft_generation() else None
    return _LastTable.listing


def _read_table() -> Listing:
    argv = ["list", "table", "inet", NFT_TABLE]
    done = run(["nft", "-j", "-s", *argv], check=False)
    if done.status != 0:
        if "No such file or directory" in done.stderr:
            return []
        raise NodeError("nft list table inet %s: %s" % (NFT_TABLE, done.stderr.strip()))
    try:
        return parse_table(done.stdout)
    except NodeError:
        # Some releases break off at a table's flags, which are nothing that a table of ours has.
        flags = re.search(r"^\tflags (.*)$", run(["nft", "-s", *argv], check=False).stdout, re.MULTILINE)
        if flags is None:
            raise
        return [{"table": {"family": "inet", "name": NFT_TABLE, "flags": flags.group(1)}}]


def parse_table(text: str) -> list[dict[str, Any]]:
    """A listing without what packets themselves put into sets: that is state, which comes and goes."""
    try:
        entries = [entry for entry in json.loads(text)["nftables"] if "metainfo" not in entry]
    except (ValueError, KeyError) as error:
        raise NodeError("nft printed no JSON: %s" % error) from error
    for entry in entries:
        if "dynamic" in entry.get("set", {}).get("flags", ()):
            entry["set"].pop("elem", None)
    return entries
