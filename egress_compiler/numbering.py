"""The numbers this product owns on a node, each in one place.

Source of the bit layout: kube-proxy marks with 0x4000 and 0x8000, Calico with 0x000f0000; none of those
bits is ours, and all comparisons are under a mask.
"""

from __future__ import annotations

from netaddr import EUI, mac_unix_expanded

MARK_PREFIX = 0x26000000
"""Worker side: the connection is governed; the slot number is in the low bits."""
GATEWAY_MARK_PREFIX = 0x27000000
"""Gateway side: the connection came by the tunnel."""
PREFIX_MASK = 0xFF000000
EITHER_PREFIX_MASK = 0xFE000000
"""Under this mask both prefixes are equal to MARK_PREFIX."""
SLOT_MASK = 0x00003FFF
MARK_MASK = PREFIX_MASK | SLOT_MASK
FOREIGN_BITS = 0xFFFFFFFF ^ MARK_MASK
MAX_SLOT = SLOT_MASK

MASTER_RULE_PREFERENCE = 98
STEER_RULE_PREFERENCE = 99
FIRST_TABLE = 3000
ROUTE_PROTOCOL = 213
UNREACHABLE_METRIC = 4278198272
"""The last resort of a slot's table: worse than any real route."""

NFT_TABLE = "egress_gateway"
TUNNEL_DEVICE = "egress.vxlan"
MAX_VRID = 255
FIRST_MAC = 0x666567000000
"""Locally administered, unicast; node indices are added to it."""


def slot_mark(slot: int) -> int:
    return MARK_PREFIX | slot


def slot_table(slot: int) -> int:
    return FIRST_TABLE + slot


def tunnel_mac(node_index: int) -> str:
    """The MAC of a node's tunnel device, unique per node index."""
    return str(EUI(FIRST_MAC + node_index, dialect=mac_unix_expanded))
