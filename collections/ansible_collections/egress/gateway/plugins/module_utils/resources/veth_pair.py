# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""The veth pair between the two roles of a gateway node: it answers no ARP and has an address on each end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.egress.gateway.plugins.module_utils.contract import spelling
from ansible_collections.egress.gateway.plugins.module_utils.contract.names import GATEWAY_DEVICE, WORKER_DEVICE
from ansible_collections.egress.gateway.plugins.module_utils.contract.plan import NodePlan
from ansible_collections.egress.gateway.plugins.module_utils.kernel.command import NodeError, batch
from ansible_collections.egress.gateway.plugins.module_utils.kernel.reading import Kernel
from ansible_collections.egress.gateway.plugins.module_utils.resources.key import Key
from ansible_collections.egress.gateway.plugins.module_utils.resources.resource import Change, Item, Items, Resource

_ORIGIN = "the veth pair of the gateway's own pods"


class VethPair(Resource):
    """Both ends. What is wrong with one of them is set right in place; without its other end an end is made anew."""

    def __init__(self, kernel: Kernel, plan: NodePlan | None) -> None:
        self._kernel = kernel
        self._pair = plan.kernel.veth if plan else None

    def forget(self) -> None:
        self._kernel.forget()

    def desired(self) -> Items:
        pair = self._pair
        if pair is None:
            return {}
        ends = ((pair.worker, pair.gateway, pair.worker_address), (pair.gateway, pair.worker, pair.gateway_address))
        return {
            _key(end): Item(_state("veth to " + other, pair.mac, pair.mtu, "up, no arp", [address]), _ORIGIN)
            for end, other, address in ends
        }

    def actual(self) -> Items:
        links = self._kernel.links()
        return {_key(name): Item(_found(links[name])) for name in (WORKER_DEVICE, GATEWAY_DEVICE) if name in links}

    def fix(self, changes: Sequence[Change]) -> NodeError | None:
        links = self._kernel.links()
        pair = self._pair
        if pair is None:
            # One end takes the other with it, but not where it is no veth of ours.
            lines = ["link delete dev " + name for name in (WORKER_DEVICE, GATEWAY_DEVICE) if name in links]
            batch(["ip"], lines)
            return None
        lines = []
        if not _is_pair(links, pair.worker, pair.gateway):
            lines += ["link delete dev " + name for name in (pair.worker, pair.gateway) if name in links]
            lines.append("link add " + spelling.veth_pair(pair))
        for end, address in ((pair.worker, pair.worker_address), (pair.gateway, pair.gateway_address)):
            lines.append("link set dev %s address %s mtu %d nomaster" % (spelling.veth_end(end), pair.mac, pair.mtu))
            lines += [
                "address delete %s dev %s" % (found, end)
                for found in _addresses(links.get(end, {}))
                if found != address
            ]
            lines.append("address replace " + spelling.veth_address(address, end))
            lines.append("link set dev %s up" % end)
            if links.get(end, {}).get("proto_down"):
                lines.append("link set dev %s protodown off" % end)
        return batch(["ip"], lines)


def _is_pair(links: Mapping[str, Mapping[str, Any]], one: str, other: str) -> bool:
    return one in links and other in links and links[one].get("link") == other and links[other].get("link") == one


def _key(device: str) -> Key:
    return Key.of("link", device)


def _found(link: Mapping[str, Any]) -> str:
    flags = link.get("flags", ())
    kind = link.get("linkinfo", {}).get("info_kind", "another kind of device")
    state = ("up" if "UP" in flags else "down") + (", no arp" if "NOARP" in flags else ", arp")
    state += ", master %s" % link["master"] if "master" in link else ""
    state += ", protodown" if link.get("proto_down") else ""
    return _state(
        "%s to %s" % (kind, link.get("link", "nothing")),
        link.get("address", ""),
        link.get("mtu", 0),
        state,
        _addresses(link),
    )


def _addresses(link: Mapping[str, Any]) -> list[str]:
    """IPv4 alone: an IPv6 address of the link's own making does no harm."""
    return ["%s/%d" % (a["local"], a["prefixlen"]) for a in link.get("addr_info", ()) if a.get("family") == "inet"]


def _state(kind: str, mac: str, mtu: int, state: str, addresses: Sequence[str]) -> str:
    return "%s, mac %s, mtu %d, %s, %s" % (kind, mac, mtu, state, " ".join(addresses) or "no address")
