# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""What the kernel tells everybody of changes to its network: multicast netlink, sorted into the few kinds that matter.

A message is judged by its header and a handful of bytes, for a busy node tells of a lot that is none of our business.
What exactly differs, the resources find out by reading.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable, Collection, Iterator

from ansible_collections.egress.gateway.plugins.module_utils.contract.names import NFT_TABLE, OWN_DEVICES
from ansible_collections.egress.gateway.plugins.module_utils.contract.numbers import FIRST_TABLE, ROUTE_PROTOCOL
from ansible_collections.egress.gateway.plugins.module_utils.firewall.host_firewall import COMMENT

TABLE = "table"
"""Our nftables table."""
HOST_FIREWALL = "host firewall"
"""Our accepts in the host's firewall."""
FIREWALL = "firewall"
"""Some other nftables object."""
RULES = "rules"
ROUTES = "routes"
LINKS = "links"
"""Our devices and the node's uplinks."""
ADDRESSES = "addresses"
"""On those devices."""
NEIGHBOURS = "neighbours"
"""On our devices, forwarding entries included."""
SYSCTLS = "sysctls"
"""Forwarding and reverse path filters, of which the kernel tells; of other settings it does not."""
EVERYTHING = frozenset([TABLE, HOST_FIREWALL, FIREWALL, RULES, ROUTES, LINKS, ADDRESSES, NEIGHBOURS, SYSCTLS])

_NETLINK_NETFILTER = 12  # linux/netlink.h
_ROUTE_GROUPS = (1, 3, 5, 7, 8, 9, 11, 19, 24, 25)
"""linux/rtnetlink.h: link, neigh, IPv4 ifaddr, route, rule, IPv6 ifaddr, route, rule, IPv4 and IPv6 netconf."""
_NFTABLES_GROUP = 7  # linux/netfilter/nfnetlink.h
_SO_RCVBUFFORCE = 33  # asm-generic/socket.h
_BUFFER = 4 << 20
"""Bytes that may wait: as many as a large table's replacement tells, so that it is not lost."""
_CHUNK = 1 << 16

_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, port
_ATTRIBUTE = struct.Struct("=HH")  # struct nlattr: length, type
_LINK = struct.Struct("=BxHiII")  # struct ifinfomsg: family, type, index, flags, changed flags
_ADDRESS = struct.Struct("=BBBBI")  # struct ifaddrmsg: family, prefix length, flags, scope, index
_ROUTE = struct.Struct("=BBBBBBBBI")  # struct rtmsg: the fifth is the table, the sixth the protocol
_NEIGHBOUR = struct.Struct("=BxxxiHBB")  # struct ndmsg: family, index, state, flags, type
_NETCONF = 4  # bytes of struct netconfmsg, padded
_IFLA_IFNAME = 3
_NETCONFA_IFINDEX = 1
_RTA_TABLE = 15
_TABLE_IN_ATTRIBUTE = 252  # RT_TABLE_COMPAT
_NUD_PERMANENT = 0x80
_AF_BRIDGE = 7
_NEW_LINK, _DELETED_LINK = 16, 17
_NEW_ADDRESS, _DELETED_ADDRESS = 20, 21
_NEW_ROUTE, _DELETED_ROUTE = 24, 25
_NEW_NEIGHBOUR, _DELETED_NEIGHBOUR = 28, 29
_NEW_RULE, _DELETED_RULE = 32, 33
_NEW_NETCONF, _DELETED_NETCONF = 80, 81


class Ears:
    """Two sockets, one for each subsystem. ``devices`` are the names that link and address messages are about."""

    def __init__(self) -> None:
        self.devices: Collection[str] = ()
        self.sockets: dict[socket.socket, Callable[[bytes], frozenset[str]]] = {
            _listen(socket.NETLINK_ROUTE, _ROUTE_GROUPS): self._network,
            _listen(_NETLINK_NETFILTER, (_NFTABLES_GROUP,)): netfilter_kinds,
        }

    def hear(self, source: socket.socket) -> frozenset[str]:
        """The kinds of all that waits to be read; everything, where the kernel had to drop messages."""
        found: set[str] = set()
        while True:
            try:
                found |= self.sockets[source](source.recv(_CHUNK))
            except BlockingIOError:
                return frozenset(found)
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                found |= EVERYTHING

    def _network(self, data: bytes) -> frozenset[str]:
        return network_kinds(data, {*OWN_DEVICES, *self.devices}, _name)


def _listen(protocol: int, groups: Collection[int]) -> socket.socket:
    found = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, protocol)
    found.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
    found.bind((0, sum(1 << (group - 1) for group in groups)))
    return found


def _name(index: int) -> str:
    try:
        return socket.if_indextoname(index)
    except OSError:  # gone meanwhile, which a message about the link tells
        return ""


def messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and payload of each message of a datagram."""
    place = 0
    while place + _HEADER.size <= len(data):
        length, kind, _flags, _sequence, _port = _HEADER.unpack_from(data, place)
        if length < _HEADER.size:
            return
        yield kind, data[place + _HEADER.size : place + length]
        place += (length + 3) & ~3


def netfilter_kinds(data: bytes) -> frozenset[str]:
    """Names are looked for as bytes: a firewall's reload tells of thousands of rules, whose meaning does not matter.

    Of a rule that goes the kernel tells all, its comment included.
    """
    found = {FIREWALL}
    if NFT_TABLE.encode() + b"\0" in data:
        found.add(TABLE)
    if COMMENT.encode() in data:
        found.add(HOST_FIREWALL)
    return frozenset(found)


def network_kinds(data: bytes, devices: Collection[str], name: Callable[[int], str]) -> frozenset[str]:
    """``devices`` are those that concern us; ``name`` tells a device's by its index."""
    return frozenset(kind for number, body in messages(data) for kind in _kinds(number, body, devices, name))


def _kinds(number: int, body: bytes, devices: Collection[str], name: Callable[[int], str]) -> Iterator[str]:
    if number in (_NEW_RULE, _DELETED_RULE):
        yield RULES
    elif number in (_NEW_ROUTE, _DELETED_ROUTE):
        if _is_our_route(body):
            yield ROUTES
    elif number in (_NEW_LINK, _DELETED_LINK):
        if attribute(body, _LINK.size, _IFLA_IFNAME).rstrip(b"\0").decode(errors="replace") in devices:
            yield LINKS
    elif number in (_NEW_ADDRESS, _DELETED_ADDRESS):
        if name(_ADDRESS.unpack_from(body)[4]) in devices:
            yield ADDRESSES
    elif number in (_NEW_NEIGHBOUR, _DELETED_NEIGHBOUR):
        family, index, state, _flags, _type = _NEIGHBOUR.unpack_from(body)
        lasting = family == _AF_BRIDGE or state & _NUD_PERMANENT or number == _DELETED_NEIGHBOUR
        if lasting and name(index) in OWN_DEVICES:
            yield NEIGHBOURS
    elif number in (_NEW_NETCONF, _DELETED_NETCONF):
        index = struct.unpack("=i", attribute(body, _NETCONF, _NETCONFA_IFINDEX) or b"\0" * 4)[0]
        if index < 0 or name(index) in devices:  # below 0: of all devices, or of those to come
            yield SYSCTLS


def _is_our_route(body: bytes) -> bool:
    """Whether it has our protocol, or is in a table of ours."""
    table, protocol = _ROUTE.unpack_from(body)[4:6]
    if protocol == ROUTE_PROTOCOL or table != _TABLE_IN_ATTRIBUTE:
        return bool(protocol == ROUTE_PROTOCOL)
    number = attribute(body, _ROUTE.size, _RTA_TABLE)
    return len(number) == 4 and struct.unpack("=I", number)[0] >= FIRST_TABLE


def attribute(body: bytes, place: int, wanted: int) -> bytes:
    """The value of an attribute of a message; empty where it has none."""
    while place + _ATTRIBUTE.size <= len(body):
        size, kind = _ATTRIBUTE.unpack_from(body, place)
        if size < _ATTRIBUTE.size:
            break
        if kind == wanted:
            return body[place + _ATTRIBUTE.size : place + size]
        place += (size + 3) & ~3
    return b""
