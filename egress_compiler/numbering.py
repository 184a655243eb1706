"""The numbers this product owns on a node, each in one place.

Source of the bit layout: kube-proxy marks with 0x4000 and 0x8000, Calico with 0x000f0000; none of those
bits is ours, and all comparisons are under a mask.
"""

from __future__ import annotations

from netaddr import EUI, mac_unix_expanded

from egress_compiler.net import Family

MARK_PREFIX = 0x26000000
"""Worker side: the connection is governed; the slot number is in the low bits."""
GATEWAY_MARK_PREFIX = 0x27000000
"""Gateway side: the connection came by the tunnel, or from a pod of the gateway itself."""
GATEWAY_ZONE = 0x2627
"""Conntrack zone of the gateway side; the worker side is in zone 0 with everybody else's connections."""
PREFIX_MASK = 0xFF000000
EITHER_PREFIX_MASK = 0xFE000000
"""Under this mask both prefixes are equal to MARK_PREFIX."""
SLOT_MASK = 0x00003FFF
MARK_MASK = PREFIX_MASK | SLOT_MASK
FOREIGN_BITS = 0xFFFFFFFF ^ MARK_MASK
MAX_SLOT = SLOT_MASK - 1
OWN_SLOT_MARK = MARK_PREFIX | SLOT_MASK
"""Of packets of a gateway's own pods whose slot the gateway has itself: the number of no slot."""
MAX_UPLINK = 255
"""Further uplinks of a node, by their place among them; their marks are the highest of the low bits."""
MAX_NODE_INDEX = SLOT_MASK - MAX_UPLINK - 1
"""On the gateway side the same bits tell the pod's node, in a connection's mark."""

STEER_RULE_PREFERENCE = 99
LAST_RESORT_SKIP_PREFERENCE = 100
LAST_RESORT_PREFERENCE = 101
LAST_RESORT_END_PREFERENCE = 102
"""What hosts send goes from the first to the last of the three, past the last resort."""
FIRST_TABLE = 3000
TO_GATEWAY_TABLE = FIRST_TABLE
"""For OWN_SLOT_MARK: the packets enter the gateway side. Slots count from 1, so no slot has this table."""
LAST_RESORT_TABLE = 19999
"""For packets of governed sources that our nftables table has not looked at, because it is gone."""
FIRST_REPLY_TABLE = 20000
"""Above the tables of all slots; the index of the node that the replies go to is added."""
FIRST_UPLINK_TABLE = 40000
"""Above the tables of replies to all nodes; the further uplink's place among the node's is added."""
ROUTE_PROTOCOL = 213
UNREACHABLE_METRIC = 4278198272
"""The last resort of a slot's table: worse than any real route."""

NFT_TABLE = "egress_gateway"
LOOPBACK = "lo"
"""The device by which, to ip rules, packets come that the node itself makes."""
TUNNEL_DEVICE = "egress.vxlan"
TUNNEL_OVERHEAD: dict[Family, int] = {4: 50, 6: 70}
"""Bytes that VXLAN adds to an inner IP packet: outer IP and UDP, VXLAN, inner Ethernet (RFC 7348)."""
WORKER_DEVICE = "egress.worker"
GATEWAY_DEVICE = "egress.gateway"
"""The two ends of the wire between a gateway node's two sides."""
WIRE_MAC = "66:65:67:ff:ff:ff"
"""Of both ends: without ARP, a packet is addressed to the MAC of the device it leaves by."""
WIRE_ADDRESSES = ("169.254.38.37/32", "169.254.38.38/32")
"""Of the ends: the kernel's reverse path check refuses whatever comes by a device that has no IPv4 address."""
NOBODY: dict[Family, str] = {4: "169.254.38.39", 6: "fe80::2627"}
"""Next hops that do not exist.  Over the wire, they keep one neighbour entry instead of one for each destination."""
WITHOUT_GATEWAY_S = 15
"""For so long no new connection asks again for a gateway that nobody has answered for."""
MAX_VRID = 255
FIRST_MAC = 0x666567000000
"""Locally administered, unicast; node indices are added to it."""


def slot_mark(slot: int) -> int:
    return MARK_PREFIX | slot


def slot_table(slot: int) -> int:
    return FIRST_TABLE + slot


def node_mark(node_index: int) -> int:
    """The gateway side's mark of connections whose pod is on the node with this index."""
    return GATEWAY_MARK_PREFIX | node_index


def uplink_mark(uplink: int) -> int:
    """The gateway side's mark of packets that leave by a further uplink, which count from 1."""
    return GATEWAY_MARK_PREFIX | (SLOT_MASK - MAX_UPLINK + uplink - 1)


def uplink_table(uplink: int) -> int:
    return FIRST_UPLINK_TABLE + uplink


def reply_table(node_index: int) -> int:
    return FIRST_REPLY_TABLE + node_index


def tunnel_mac(node_index: int) -> str:
    """The MAC of a node's tunnel device, unique per node index."""
    return str(EUI(FIRST_MAC + node_index, dialect=mac_unix_expanded))
