# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""What nftables tells without nft: whether a table is there, and the number that every transaction changes."""

from __future__ import annotations

import errno
import socket
import struct

_NETLINK_NETFILTER = 12  # linux/netlink.h
_NEW_GENERATION, _GET_GENERATION = 10 << 8 | 15, 10 << 8 | 16  # linux/netfilter/nf_tables.h: subsystem, message
_NEW_TABLE, _GET_TABLE = 10 << 8 | 0, 10 << 8 | 1
_ERROR = 2  # linux/netlink.h: NLMSG_ERROR
_INET = 1  # linux/netfilter.h: NFPROTO_INET
_NFTA_TABLE_NAME = 1
_NLM_F_REQUEST = 1
_NFTA_GEN_ID = 1
_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, port
_GENERIC = struct.Struct("=BBH")  # struct nfgenmsg: family, version, resource
_ATTRIBUTE = struct.Struct("=HH")  # struct nlattr: length, type
_SECONDS = 5.0


def nft_generation() -> int | None:
    """None where the kernel does not say. Equal numbers mean that no rule, set or element was changed in between.

    What packets change (counters, sets that rules fill) is no transaction.
    """
    try:
        return number(_ask(_GET_GENERATION, _GENERIC.pack(0, 0, 0)))
    except (OSError, struct.error):
        return None


def has_table(name: str) -> bool | None:
    """Whether there is a table inet ``name``; None where the kernel does not say."""
    text = name.encode() + b"\0"
    padding = b"\0" * (-len(text) % 4)
    attribute = _ATTRIBUTE.pack(_ATTRIBUTE.size + len(text), _NFTA_TABLE_NAME) + text + padding
    try:
        message = _ask(_GET_TABLE, _GENERIC.pack(_INET, 0, 0) + attribute)
        kind = _HEADER.unpack_from(message)[1]
        if kind == _ERROR:
            return False if -struct.unpack_from("=i", message, _HEADER.size)[0] == errno.ENOENT else None
    except (OSError, struct.error):
        return None
    return True if kind == _NEW_TABLE else None


def _ask(message: int, body: bytes) -> bytes:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER) as kernel:
        kernel.settimeout(_SECONDS)
        kernel.send(_HEADER.pack(_HEADER.size + len(body), message, _NLM_F_REQUEST, 1, 0) + body)
        return kernel.recv(65536)


def number(message: bytes) -> int | None:
    """The generation that a message of the kernel tells, if it tells one."""
    length, kind, _flags, _sequence, _port = _HEADER.unpack_from(message)
    place = _HEADER.size + _GENERIC.size
    while kind == _NEW_GENERATION and place + _ATTRIBUTE.size <= min(length, len(message)):
        size, attribute = _ATTRIBUTE.unpack_from(message, place)
        if attribute == _NFTA_GEN_ID:
            return int(struct.unpack_from(">I", message, place + _ATTRIBUTE.size)[0])
        place += max(_ATTRIBUTE.size, (size + 3) & ~3)
    return None
