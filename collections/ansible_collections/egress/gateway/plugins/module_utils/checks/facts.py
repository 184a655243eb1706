# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""What the compiler and people want to know about a node before anything is there."""

from __future__ import annotations

import ipaddress
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ansible_collections.egress.gateway.plugins.module_utils.checks.following import read_status
from ansible_collections.egress.gateway.plugins.module_utils.contract.numbers import ROUTE_PROTOCOL
from ansible_collections.egress.gateway.plugins.module_utils.contract.plan import FAMILIES, Family
from ansible_collections.egress.gateway.plugins.module_utils.drain import is_drained
from ansible_collections.egress.gateway.plugins.module_utils.kernel.command import NodeError, find, run
from ansible_collections.egress.gateway.plugins.module_utils.kernel.reading import Kernel, read_json
from ansible_collections.egress.gateway.plugins.module_utils.node import Paths

_VERSIONS = {
    "iproute2": ["ip", "-Version"],
    "nftables": ["nft", "--version"],
    "keepalived": ["keepalived", "--version"],
    "conntrackd": ["conntrackd", "-v"],
    "kernel": ["uname", "-r"],
}
LEAST = {"iproute2": "5.10", "kernel": "5.10", "keepalived": "2.2", "nftables": "1.0.2", "python": "3.9"}
"""The oldest versions that do."""
REQUIRED = ("ip", "bridge", "nft", "unshare")
OF_GATEWAYS = ("keepalived", "conntrack", "conntrackd")


def node_info(address: str | None = None) -> dict[str, Any]:
    """NodeError when not even ``ip`` can be asked. ``address`` is one of the node, which tells the uplink."""
    devices = {family: default_devices(family) for family in FAMILIES}
    device = next((found[0] for found in devices.values() if found), "")
    links = Kernel().links()
    uplink = next((name for name, link in sorted(links.items()) if address in _locals(link)), device)
    cidrs = _subnets(links.get(uplink, {}))
    versions = {name: version(name) for name in sorted(_VERSIONS)}
    versions["python"] = platform.python_version()
    return {
        "uplink": {
            "interface": uplink,
            "mtu": int(links[uplink]["mtu"]) if uplink in links else None,
            "cidrs": cidrs,
            "gateways": {
                "ipv%d" % family: hop
                for family, found in devices.items()
                if found and uplink not in found and (hop := _next_hop(family, uplink, cidrs))
            },
        },
        "default_interfaces": {
            "ipv%d" % family: uplink if uplink in found else found[0] for family, found in devices.items() if found
        },
        "interfaces": [_interface(name, link) for name, link in sorted(links.items())],
        "default_interface": device,
        "default_mtu": int(links[device]["mtu"]) if device in links else None,
        "drained": is_drained(Paths()),
        "following": asdict(status) if (status := read_status(Paths())) else None,
        "versions": versions,
        "too_old": [text for name in sorted(LEAST) if name != "keepalived" for text in too_old(name, versions[name])],
        "too_old_gateway": too_old("keepalived", versions["keepalived"]),
        "missing_tools": [tool for tool in REQUIRED if find(tool) is None],
        "missing_gateway_tools": [tool for tool in OF_GATEWAYS if find(tool) is None],
    }


def default_devices(family: Family) -> list[str]:
    """The devices of the preferred default route, several where it has several next hops; none where there is none."""
    routes = _routes(family, "default")
    if not routes:
        return []
    best = min(routes, key=lambda route: int(route.get("metric", 0)))
    hops = best.get("nexthops") or [best]
    return [str(hop["dev"]) for hop in hops if hop.get("dev")]


def _next_hop(family: Family, device: str, cidrs: Sequence[str]) -> str:
    """Of a device that the default route does not take: the only one that a route of any table has; else empty.

    Default routes count first.
    """
    subnets = [ipaddress.ip_network(text) for text in cidrs]
    routes = [
        r for r in _routes(family, "table", "all", "dev", device) if str(r.get("protocol")) != str(ROUTE_PROTOCOL)
    ]
    for chosen in ([r for r in routes if r.get("dst") == "default"], routes):
        hops = {str(route["gateway"]) for route in chosen if "gateway" in route}
        hops = {hop for hop in hops if any(_is_near(ipaddress.ip_address(hop), subnet) for subnet in subnets)}
        if len(hops) == 1:
            return hops.pop()
    return ""


def _is_near(hop: ipaddress.IPv4Address | ipaddress.IPv6Address, subnet: Any) -> bool:
    return hop in subnet or (hop.version == 6 == subnet.version and hop.is_link_local)


def _routes(family: Family, *words: str) -> Sequence[Mapping[str, Any]]:
    try:
        return read_json(["ip", "-N", "-j", "-%d" % family, "route", "show", *words])
    except NodeError:  # a kernel without IPv6
        return []


def _interface(name: str, link: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "mtu": link.get("mtu"),
        "state": link.get("operstate", ""),
        "mac": link.get("address", ""),
        "addresses": [
            "%s/%s" % (a["local"], a["prefixlen"])
            for a in link.get("addr_info", ())
            if a.get("scope") == "global" and "local" in a
        ],
    }


def _locals(link: Mapping[str, Any]) -> set[str]:
    return {a["local"] for a in link.get("addr_info", ()) if "local" in a}


def _subnets(link: Mapping[str, Any]) -> list[str]:
    """Of a device's global addresses; an address without a subnet, such as an EIP, has none."""
    found = {
        ipaddress.ip_interface("%s/%s" % (a["local"], a["prefixlen"])).network
        for a in link.get("addr_info", ())
        if a.get("scope") == "global" and "local" in a
    }
    return [str(n) for n in sorted(found, key=lambda n: (n.version, str(n))) if n.prefixlen < n.max_prefixlen]


def too_old(name: str, found: str | None) -> list[str]:
    """In words, where ``found`` is older than what is needed; nothing where no number is known."""
    least = [int(number) for number in LEAST[name].split(".")]
    numbers = [int(number) for number in re.findall(r"\d+", found or "")[: len(least)]]
    return (
        ["%s %s is too old, it takes %s or later" % (name, found, LEAST[name])] if numbers and numbers < least else []
    )


def version(name: str) -> str | None:
    """The first number that the program says of itself; None where it is missing."""
    argv = _VERSIONS[name]
    if find(argv[0]) is None:
        return None
    done = run(argv, check=False)
    number = re.search(r"\d+\.\d+[\w.+-]*", done.stdout + done.stderr)
    return number.group(0) if number else None
