# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""What the compiler and people want to know about a node before anything is there."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.egress.gateway.plugins.module_utils.command import NodeError, find, run
from ansible_collections.egress.gateway.plugins.module_utils.drain import is_drained
from ansible_collections.egress.gateway.plugins.module_utils.kernel import Kernel, read_json
from ansible_collections.egress.gateway.plugins.module_utils.node import Paths

_VERSIONS = {
    "iproute2": ["ip", "-Version"],
    "nftables": ["nft", "--version"],
    "keepalived": ["keepalived", "--version"],
    "conntrackd": ["conntrackd", "-v"],
    "kernel": ["uname", "-r"],
}
REQUIRED = ("ip", "bridge", "nft", "unshare")
OF_GATEWAYS = ("keepalived", "conntrack", "conntrackd")


def node_info(address: str | None = None) -> dict[str, Any]:
    """NodeError when not even ``ip`` can be asked. ``address`` is one of the node, which tells the uplink."""
    device = _default_device()
    links = Kernel().links()
    uplink = next((name for name, link in sorted(links.items()) if address in _locals(link)), device)
    return {
        "uplink": {
            "interface": uplink,
            "mtu": int(links[uplink]["mtu"]) if uplink in links else None,
            "cidrs": _subnets(links.get(uplink, {})),
        },
        "interfaces": [_interface(name, link) for name, link in sorted(links.items())],
        "default_interface": device,
        "default_mtu": int(links[device]["mtu"]) if device in links else None,
        "drained": is_drained(Paths()),
        "versions": {name: version(name) for name in sorted(_VERSIONS)},
        "missing_tools": [tool for tool in REQUIRED if find(tool) is None],
        "missing_gateway_tools": [tool for tool in OF_GATEWAYS if find(tool) is None],
    }


def _default_device() -> str:
    """The device of the preferred default route, IPv4 before IPv6; empty where there is none."""
    for family in ("-4", "-6"):
        routes = _default_routes(family)
        if routes:
            best = min(routes, key=lambda route: int(route.get("metric", 0)))
            hops = best.get("nexthops") or [best]
            return str(hops[0].get("dev", ""))
    return ""


def _default_routes(family: str) -> Sequence[Mapping[str, Any]]:
    try:
        return read_json(["ip", "-j", family, "route", "show", "default"])
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


def version(name: str) -> str | None:
    """The first number that the program says of itself; None where it is missing."""
    argv = _VERSIONS[name]
    if find(argv[0]) is None:
        return None
    done = run(argv, check=False)
    number = re.search(r"\d+\.\d+[\w.+-]*", done.stdout + done.stderr)
    return number.group(0) if number else None
