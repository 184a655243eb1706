# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""The VXLAN device and the addresses on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.egress.gateway.plugins.module_utils.contract import spelling
from ansible_collections.egress.gateway.plugins.module_utils.contract.names import TUNNEL_DEVICE
from ansible_collections.egress.gateway.plugins.module_utils.contract.plan import NodePlan, Tunnel
from ansible_collections.egress.gateway.plugins.module_utils.kernel.command import NodeError, batch
from ansible_collections.egress.gateway.plugins.module_utils.kernel.reading import Kernel, has_group_policy
from ansible_collections.egress.gateway.plugins.module_utils.node import Paths
from ansible_collections.egress.gateway.plugins.module_utils.resources.key import Key
from ansible_collections.egress.gateway.plugins.module_utils.resources.resource import Change, Item, Items, Resource

_LINK = Key.of("link", TUNNEL_DEVICE)
_MTU = Key.of("link", TUNNEL_DEVICE, "mtu")
_MAC = Key.of("link", TUNNEL_DEVICE, "mac")
_STATE = Key.of("link", TUNNEL_DEVICE, "state")
_ARP = Key.of("link", TUNNEL_DEVICE, "arp")
_MASTER = Key.of("link", TUNNEL_DEVICE, "master")
_PROTODOWN = Key.of("link", TUNNEL_DEVICE, "protodown")
_WANTED = {_STATE: "up", _ARP: "on", _MASTER: "none", _PROTODOWN: "off"}
"""What each of these settings is on a device that packets pass."""


_NOT_SET = ("ttl", "tos", "df", "group", "remote", "group6", "remote6", "proxy", "rsc", "l2miss", "l3miss", "external")
_NOT_SET += ("gpe", "vnifilter")
_UNSET = (None, False, 0, "", "unset")
"""Of a VXLAN device's options those that change what becomes of packets, and how the usual is shown."""

_RESET = {"ttl": "ttl auto", "tos": "tos 0", "df": "df unset"}
"""Those of them that the kernel lets go back in place; learning is another."""


class Link(Resource):
    """One device. Its settings are changed in place; of another kind, it is made anew, and all that is on it.

    So it is without group policy, which the kernel does not turn on in place.
    """

    def __init__(self, kernel: Kernel, paths: Paths, plan: NodePlan | None) -> None:
        self._kernel = kernel
        self._paths = paths
        self._tunnel = plan.kernel.tunnel if plan else None

    def forget(self) -> None:
        self._kernel.forget()

    def desired(self) -> Items:
        tunnel = self._tunnel
        if tunnel is None:
            return {}
        return {
            _LINK: Item(spelling.tunnel_options(tunnel), "the tunnel"),
            _MAC: Item(tunnel.mac, "the tunnel"),
            _MTU: Item(str(tunnel.mtu), "the tunnel"),
            **{key: Item(value, "the tunnel") for key, value in _WANTED.items()},
        }

    def actual(self) -> Items:
        link = self._kernel.links().get(TUNNEL_DEVICE)
        if link is None:
            return {}
        if self._tunnel is None:
            return {_LINK: Item(_found(link))}
        return {
            _LINK: Item(_found(link)),
            _MAC: Item(link.get("address", "")),
            _MTU: Item(str(link.get("mtu", ""))),
            **{key: Item(value) for key, value in settings(link).items()},
        }

    def fix(self, changes: Sequence[Change]) -> NodeError | None:
        by_object = {change.key: change for change in changes}
        lines = []
        anew = by_object.get(_LINK)
        in_place = self._in_place() if anew is not None else ""
        if in_place and self._tunnel is not None:
            lines.append("link set dev %s type vxlan %s" % (TUNNEL_DEVICE, in_place))
            lines += [
                "link set dev %s %s" % (TUNNEL_DEVICE, _setting(n, self._tunnel)) for n in by_object if n != _LINK
            ]
        elif anew is not None:
            self._let_keepalived_read_again()
            if anew.action != "create":
                lines.append("link delete dev " + TUNNEL_DEVICE)
            if self._tunnel is not None:
                lines += ["link add " + spelling.tunnel_device(self._tunnel), "link set dev %s up" % TUNNEL_DEVICE]
        elif self._tunnel is not None:
            lines += ["link set dev %s %s" % (TUNNEL_DEVICE, _setting(name, self._tunnel)) for name in by_object]
        return batch(["ip"], lines)

    def is_to_be_made(self) -> bool:
        """Whether the device, and with it every address on it, is missing or goes."""
        return any(change.key == _LINK for change in self.difference()) and not self._in_place()

    def _in_place(self) -> str:
        """What gives a device that only has other options the right ones; '' where it has to be made anew."""
        link, tunnel = self._kernel.links().get(TUNNEL_DEVICE), self._tunnel
        if link is None or tunnel is None or link.get("linkinfo", {}).get("info_kind") != "vxlan":
            return ""
        data = link["linkinfo"].get("info_data", {})
        found = [key for key in _RESET if data.get(key) not in _UNSET]
        usual = {key: value for key, value in data.items() if key not in _RESET}
        usual = {**link, "linkinfo": {"info_kind": "vxlan", "info_data": {**usual, "learning": False}}}
        if _found(usual) != spelling.tunnel_options(tunnel):
            return ""
        return " ".join([*(_RESET[key] for key in found), *(["nolearning"] if data.get("learning") else [])])

    def _let_keepalived_read_again(self) -> None:
        """The addresses that it put on the device go with the device; a reload brings them back."""
        if self._paths.keepalived_loaded.exists():
            self._paths.keepalived_loaded.unlink()


class Addresses(Resource):
    """The node's own addresses on the tunnel device, and no others but those that keepalived moves."""

    def __init__(self, kernel: Kernel, plan: NodePlan | None) -> None:
        self._kernel = kernel
        self._plan = plan

    def forget(self) -> None:
        self._kernel.forget()

    def desired(self) -> Items:
        wanted = self._plan.kernel.tunnel.addresses if self._plan else ()
        return {
            _address(address): Item(_PRESENT, "the tunnel", dict.fromkeys(_CONDITIONS, False)) for address in wanted
        }

    def actual(self) -> Items:
        floating = {a.address for a in self._plan.floating()} if self._plan else set()
        link = self._kernel.links().get(TUNNEL_DEVICE, {})
        return {
            _address("%s/%d" % (a["local"], a["prefixlen"])): _condition(a)
            for a in link.get("addr_info", ())
            if a.get("scope") != "link" and a["local"] not in floating
        }

    def fix(self, changes: Sequence[Change]) -> NodeError | None:
        lines = []
        for change in changes:
            address = str(change.key.parts[0])
            if change.action == "modify" and "dadfailed" not in change.fields:
                # In place: with an address that goes, neighbours and routes of the device go.
                lines.append(
                    "address change %s dev %s valid_lft forever preferred_lft forever" % (address, TUNNEL_DEVICE)
                )
                continue
            if change.action != "create":
                lines.append("address delete %s dev %s" % (address, TUNNEL_DEVICE))
            if change.action != "remove":
                lines.append("address replace " + spelling.tunnel_address(address))
        return batch(["ip"], lines)


_PRESENT = "present"
_CONDITIONS = ("deprecated", "dadfailed", "expires")
_FOREVER = 0xFFFFFFFF


def _condition(address: Mapping[str, Any]) -> Item:
    """Of an address as ``ip -j`` shows it: one that is not used, or goes by itself, is not what is wanted."""
    expires = address.get("valid_life_time", _FOREVER) != _FOREVER
    marks = {mark: expires if mark == "expires" else bool(address.get(mark)) for mark in _CONDITIONS}
    return Item(", ".join([_PRESENT, *(mark for mark in _CONDITIONS if marks[mark])]), fields=marks)


def _address(address: str) -> Key:
    return Key.of("address", address, TUNNEL_DEVICE)


def _found(link: Mapping[str, Any]) -> str:
    """As the contract spells it; a device that it is bound to is more than ours has, which routing leads."""
    info = link.get("linkinfo", {})
    if info.get("info_kind") != "vxlan":
        return str(info.get("info_kind", "another kind of device"))
    data = info.get("info_data", {})
    words = ["vxlan id %s local %s" % (data.get("id"), data.get("local") or data.get("local6") or "any")]
    words += ["dstport %s" % data.get("port"), "learning" if data.get("learning") else "nolearning"]
    words += ["gbp"] if has_group_policy(data) else []
    words += ["dev %s" % data["link"]] if data.get("link") else []
    return " ".join([*words, *("%s %s" % (key, data[key]) for key in _NOT_SET if data.get(key) not in _UNSET)])


def settings(link: Mapping[str, Any]) -> dict[Key, str]:
    """What a device, as ``ip -d -j`` shows it, has of what stops packets or leads them elsewhere."""
    flags = link.get("flags", ())
    return {
        _STATE: "up" if "UP" in flags else "down",
        _ARP: "off" if "NOARP" in flags else "on",
        _MASTER: link.get("master", "none"),
        _PROTODOWN: "on" if link.get("proto_down") else "off",
    }


def _setting(name: Key, tunnel: Tunnel) -> str:
    return {
        _MAC: "address " + tunnel.mac,
        _MTU: "mtu %d" % tunnel.mtu,
        _STATE: "up",
        _ARP: "arp on",
        _MASTER: "nomaster",
        _PROTODOWN: "protodown off",
    }[name]
