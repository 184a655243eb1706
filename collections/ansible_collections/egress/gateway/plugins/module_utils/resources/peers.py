# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""The far ends of the tunnel: permanent neighbours and forwarding entries on our device."""

from __future__ import annotations

from collections.abc import Sequence

from ansible_collections.egress.gateway.plugins.module_utils.contract import spelling
from ansible_collections.egress.gateway.plugins.module_utils.contract.names import FLOOD_MAC, TUNNEL_DEVICE
from ansible_collections.egress.gateway.plugins.module_utils.contract.plan import TunnelPeer
from ansible_collections.egress.gateway.plugins.module_utils.kernel.command import NodeError, batch
from ansible_collections.egress.gateway.plugins.module_utils.kernel.reading import Kernel
from ansible_collections.egress.gateway.plugins.module_utils.resources.key import Key
from ansible_collections.egress.gateway.plugins.module_utils.resources.resource import Change, Item, Items, Resource


class Neighbours(Resource):
    def __init__(self, kernel: Kernel, peers: Sequence[TunnelPeer]) -> None:
        self._kernel = kernel
        self._peers = peers

    def forget(self) -> None:
        self._kernel.forget()

    def desired(self) -> Items:
        return {
            Key.of("neighbour", address, TUNNEL_DEVICE): Item(peer.mac, "node " + peer.node)
            for peer in self._peers
            for address in peer.addresses
        }

    def actual(self) -> Items:
        found = self._kernel.neighbours()
        return {Key.of("neighbour", address, TUNNEL_DEVICE): Item(mac) for address, mac in found.items()}

    def fix(self, changes: Sequence[Change]) -> NodeError | None:
        lines = []
        for change in changes:
            address = change.key.parts[0]
            if change.action == "remove":
                lines.append("neighbour delete %s dev %s" % (address, TUNNEL_DEVICE))
            else:
                lines.append("neighbour replace " + spelling.neighbour(address, str(change.after)))
        return batch(["ip"], lines)


class Forwarding(Resource):
    """The FDB: each peer's MAC behind its underlay address, and the flood list."""

    def __init__(self, kernel: Kernel, peers: Sequence[TunnelPeer]) -> None:
        self._kernel = kernel
        self._peers = peers

    def forget(self) -> None:
        self._kernel.forget()

    def desired(self) -> Items:
        return {
            _entry(mac, peer.underlay): Item(_PERMANENT, "node " + peer.node)
            for peer in self._peers
            for mac in spelling.fdb_macs(peer)
        }

    def actual(self) -> Items:
        states: dict[Key, list[str]] = {}
        for entry in self._kernel.fdb():
            state = " ".join(filter(None, [_PERMANENT if entry.permanent else "not permanent", entry.more]))
            states.setdefault(_entry(entry.mac, entry.destination), []).append(state)
        return {k: Item(", ".join(sorted(states[k]))) for k in sorted(states, key=str)}

    def fix(self, changes: Sequence[Change]) -> NodeError | None:
        found = self._kernel.fdb()
        lines = []
        for change in changes:
            mac, dst = str(change.key.parts[0]), str(change.key.parts[1])
            if change.action != "create":
                lines += [
                    "fdb delete " + spelling.fdb_entry(mac, dst, entry.more)
                    for entry in found
                    if (entry.mac, entry.destination) == (mac, dst)
                ]
            if change.action != "remove":
                verb = "append" if mac == FLOOD_MAC else "replace"
                lines.append("fdb %s %s" % (verb, spelling.fdb_entry(mac, dst)))
        return batch(["bridge"], lines)


_PERMANENT = "permanent"


def _entry(mac: str, dst: str) -> Key:
    return Key.of("fdb", mac, dst, TUNNEL_DEVICE)
