# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""The names this product owns on a node: devices, addresses between them, the nftables table, files."""

from __future__ import annotations

NFT_TABLE = "egress_gateway"
LOOPBACK = "lo"
"""The device by which, to ip rules, packets come that the node itself makes."""
TUNNEL_DEVICE = "egress.vxlan"
TUNNEL_OVERHEAD: dict[int, int] = {4: 50, 6: 70}
"""Bytes that VXLAN adds to an inner IP packet, by outer family: outer IP and UDP, VXLAN, inner Ethernet (RFC 7348)."""
WORKER_DEVICE = "egress.worker"
GATEWAY_DEVICE = "egress.gateway"
"""The two ends of the veth pair between a gateway node's two roles."""
OWN_DEVICES = (TUNNEL_DEVICE, WORKER_DEVICE, GATEWAY_DEVICE)
VETH_MAC = "66:65:67:ff:ff:ff"
"""Of both ends: without ARP, a packet is addressed to the MAC of the device it leaves by."""
VETH_ADDRESSES = ("169.254.38.37/32", "169.254.38.38/32")
"""Of the ends: the kernel's reverse path check refuses whatever comes by a device that has no IPv4 address."""
NOBODY: dict[int, str] = {4: "169.254.38.39", 6: "fe80::2627"}
"""Next hops that do not exist.  Over the veth pair they keep one neighbour entry, not one for each destination."""
MAC_PREFIX = "66:65:67:"
"""Of our devices' MAC addresses."""
FLOOD_MAC = "00:00:00:00:00:00"
"""Head-end replication: what has no single receiver goes to each peer (bridge(8))."""

PLAN = "plan.json"
RULESET = "nftables.nft"
VXLAN_BATCH = "vxlan.batch"
FDB_BATCH = "fdb.batch"
ROUTES_BATCH: dict[int, str] = {4: "routes.batch", 6: "routes6.batch"}
SYSCTL_CONF = "sysctl.conf"
KEEPALIVED = "keepalived.conf"
CONNTRACKD = "conntrackd.conf"
NOTIFY = "notify.sh"
WATCH = "watch"
