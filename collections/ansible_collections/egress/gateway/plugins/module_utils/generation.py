# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""The number that the kernel gives to its nftables rules: another after every transaction, whoever made it."""

from __future__ import annotations

import socket
import struct

_NETLINK_NETFILTER = 12  # linux/netlink.h
_NEW_GENERATION, _GET_GENERATION = 10 << 8 | 15, 10 << 8 | 16  # linux/netfilter/nf_tables.h: subsystem, message
_NLM_F_REQUEST = 1
_NFTA_GEN_ID = 1
_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, port
_GENERIC = struct.Struct("=BBH")  # struct nfgenmsg: family, version, resource
_ATTRIBUTE = struct.Struct("=HH")  # struct nlattr: length, type
_SECONDS = 5.0


def generation() -> int | None:
    """None where the kernel does not say. Equal numbers mean that no rule, set or element was changed in between.

    What packets change (counters, sets that rules fill) is no transaction.
    """
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER) as kernel:
            kernel.settimeout(_SECONDS)
            length = _HEADER.size + _GENERIC.size
            kernel.send(_HEADER.pack(length, _GET_GENERATION, _NLM_F_REQUEST, 1, 0) + _GENERIC.pack(0, 0, 0))
            return number(kernel.recv(65536))
    except (OSError, struct.error):
        return None


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
