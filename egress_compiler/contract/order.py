# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""In which order a node comes up: which program reads which file, and what has to be there before a sysctl is."""

from __future__ import annotations

from typing import Literal

from .names import (
    FDB_BATCH,
    GATEWAY_DEVICE,
    ROUTES_BATCH,
    RULESET,
    SYSCTL_CONF,
    TUNNEL_DEVICE,
    VXLAN_BATCH,
    WORKER_DEVICE,
)

LOADERS: dict[str, str] = {
    RULESET: "nft -f",
    VXLAN_BATCH: "ip -batch",
    FDB_BATCH: "bridge -batch",
    SYSCTL_CONF: "sysctl -p",
    ROUTES_BATCH[4]: "ip -batch",
    ROUTES_BATCH[6]: "ip -6 -batch",
}
"""What loads which file, in order.  The first that fails ends it: with the table there, what is governed stays inside.
Sysctls of connection tracking exist after the table, those of our devices after the devices."""

Phase = Literal["node", "tunnel", "veth", "conntrack"]
"""After what a sysctl exists: at once, with the tunnel device, with the veth pair, with the table."""


def load(name: str) -> str:
    """The command for a file of the bundle."""
    return "%s %s" % (LOADERS[name], name)


def sysctl_phase(key: str) -> Phase:
    parts = key.split("/")
    if TUNNEL_DEVICE in parts:
        return "tunnel"
    if WORKER_DEVICE in parts or GATEWAY_DEVICE in parts:
        return "veth"
    return "conntrack" if parts[:2] == ["net", "netfilter"] else "node"
