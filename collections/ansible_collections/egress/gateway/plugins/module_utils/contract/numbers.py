# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""The numbers this product owns on a node.

Source of the bit layout: kube-proxy marks with 0x4000 and 0x8000, Calico with 0x000f0000; none of those bits is
ours, and all comparisons are under a mask.  A mark is eight bits of prefix, which say what it is, and fourteen low
bits of number.
"""

from __future__ import annotations

PREFIX_MASK = 0xFF000000
NUMBER_MASK = 0x00003FFF
MARK_MASK = PREFIX_MASK | NUMBER_MASK
FOREIGN_BITS = 0xFFFFFFFF ^ MARK_MASK

MARK_PREFIX = 0x26000000
"""Worker role.  Conntrack mark: governed, with the answer number.  Packet mark: looked at, and the slot if any."""
GATEWAY_MARK_PREFIX = 0x27000000
"""Gateway role: came by the tunnel, with the answer number.  In the zone of the gateway role the conntrack mark is all
ours: where replies go back by the tunnel, the index of the pod's node is in the ten bits between."""
OWN_POD_MARK_PREFIX = 0x2F000000
"""Gateway role, conntrack mark: came by the veth pair, from a pod of the gateway node itself."""
GATEWAY_PREFIX_MASK = 0xF7000000
"""Under this mask both marks of the gateway role are GATEWAY_MARK_PREFIX."""
GOVERNED_PREFIX_MASK = 0xF6000000
"""Under this mask the conntrack marks of both roles are MARK_PREFIX."""
REPLY_MARK_PREFIX = 0x28000000
"""Gateway role, packet mark: a reply, with the index of the node that it goes to; 0 for the node's own pods."""
UPLINK_MARK_STEP = 0x01000000
FIRST_UPLINK_MARK = 0x30000000
"""Gateway role, packet mark: with the answer number, and the place of the further uplink in the prefix."""

MAX_NUMBER = NUMBER_MASK - 1
"""Of answers; they count from 1, as packets without a number have 0."""
MAX_SLOT = NUMBER_MASK - 1
OWN_SLOT_MARK = MARK_PREFIX | NUMBER_MASK
"""Of packets of a gateway's own pods whose slot the gateway has itself: the number of no slot."""
MAX_UPLINK = 15
"""Uplinks of a node that have tables of their own."""
MAX_NODE_INDEX = NUMBER_MASK - 1
NODE_SHIFT = 14
MAX_REPLY_INDEX = (1 << 10) - 1
"""Of nodes where replies go back by the tunnel."""
NODE_MASK = PREFIX_MASK | MAX_REPLY_INDEX << NODE_SHIFT
GATEWAY_ZONE = 0x2627
"""Conntrack zone of the gateway role; the worker role is in zone 0 with everybody else's connections."""

STEER_PREFERENCE = 99
SKIP_PREFERENCE = 100
"""Past the last resort: what nftables has looked at, and what hosts send."""
ENTER_PREFERENCE = 101
"""Into the last resort: what comes from where this node's pods have their addresses from."""
PASS_PREFERENCE = 102
"""Past it: everything else."""
LAST_PREFERENCE = 103
"""The last resort: one rule for each governed source."""
END_PREFERENCE = 104
"""What goes past the last resort goes on here."""
FIRST_TABLE = 3000
OWN_SLOT_TABLE = FIRST_TABLE
"""For OWN_SLOT_MARK: the packets enter the gateway role.  Slots count from 1, so no slot has this table."""
LAST_TABLE = 19999
"""For packets of governed sources that our nftables table has not looked at, because it is gone."""
FIRST_REPLY_TABLE = 20000
"""Above the tables of all slots; the index of the node that the replies go to is added, 0 for the node's own pods."""
FIRST_UPLINK_TABLE = 40000
"""Above the tables of replies to all nodes; the uplink's place among the node's is added."""
ROUTE_PROTOCOL = 213
UNREACHABLE_METRIC = 4278198272
"""The last route of a table: worse than any real one."""
DEFAULT_IPV6_METRIC = 1024
"""What the kernel gives to an IPv6 route without metric."""

WITHOUT_GATEWAY_S = 15
"""For so long no new connection asks again for a gateway that nobody has answered for."""
MAX_VRID = 255
FIRST_MAC = 0x666567000000
"""Locally administered, unicast; node indices are added to it."""


def answer_mark(number: int) -> int:
    """The worker role's conntrack mark of connections that leave with this answer."""
    return MARK_PREFIX | number


def slot_mark(slot: int) -> int:
    """The worker role's packet mark, which the slot's ip rule looks at."""
    return MARK_PREFIX | slot


def slot_table(slot: int) -> int:
    return FIRST_TABLE + slot


def node_mark(node_index: int) -> int:
    """The gateway role's conntrack mark, under NODE_MASK, of connections of pods of the node with this index."""
    return GATEWAY_MARK_PREFIX | node_index << NODE_SHIFT


def reply_mark(node_index: int) -> int:
    """The gateway role's packet mark of replies to pods of the node with this index; 0 for its own pods."""
    return REPLY_MARK_PREFIX | node_index


def reply_table(node_index: int) -> int:
    return FIRST_REPLY_TABLE + node_index


def uplink_mark(uplink: int) -> int:
    """The gateway role's packet mark, under PREFIX_MASK, of what leaves by a further uplink; they count from 1."""
    return FIRST_UPLINK_MARK + uplink * UPLINK_MARK_STEP


def uplink_table(uplink: int) -> int:
    return FIRST_UPLINK_TABLE + uplink


def is_own_mark(mark: int) -> bool:
    """Whether a packet mark is one of those that our ip rules look at."""
    prefix = mark & PREFIX_MASK
    of_roles = (MARK_PREFIX, GATEWAY_MARK_PREFIX, REPLY_MARK_PREFIX)
    return prefix in of_roles or FIRST_UPLINK_MARK < prefix <= uplink_mark(MAX_UPLINK)


def tunnel_mac(node_index: int) -> str:
    """The MAC of a node's tunnel device, unique per node index."""
    return ":".join("%02x" % byte for byte in (FIRST_MAC + node_index).to_bytes(6, "big"))
