# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""Who else on a segment answers for an address: ARP probes (RFC 5227) and neighbour solicitations (RFC 4861)."""

from __future__ import annotations

import contextlib
import ipaddress
import select
import socket
import struct
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

SECONDS = 0.4
"""How long answers are waited for. On one segment they take some milliseconds; the second question covers a loss."""

_ASKED = 2
_ETH_ARP = 0x0806
_BROADCAST = b"\xff" * 6
_ARP = struct.Struct("!HHBBH6s4s6s4s")
_ARP_REQUEST, _ARP_REPLY = 1, 2
_SOLICITATION, _ADVERTISEMENT = 135, 136
_SOLICITED_NODE = bytes.fromhex("ff0200000000000000000001ff")
_ICMP6_FILTER = 1  # linux/icmpv6.h
_SYS_NET = Path("/sys/class/net")


def answers(device: str, addresses: Iterable[str]) -> Mapping[str, frozenset[str]]:
    """MAC addresses of other hosts that answer, by address; nothing for a device that cannot ask.

    The kernel's own answers never come back to it, so whoever answers is somebody else.
    """
    wanted = [ipaddress.ip_address(address) for address in sorted(set(addresses))]
    found: dict[str, set[str]] = {}
    if not wanted:
        return {}
    with contextlib.ExitStack() as stack:
        try:
            mac = _mac(device)
            arp = stack.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_ARP)))
            arp.bind((device, _ETH_ARP))
            nd = _neighbour_socket(stack, device)
        except (OSError, ValueError):
            return {}
        sockets = [arp] if nd is None else [arp, nd]
        for _question in range(_ASKED):
            for address in wanted:
                with contextlib.suppress(OSError):
                    _ask(arp, nd, mac, address)
            end = time.monotonic() + SECONDS / _ASKED
            while True:
                ready = select.select(sockets, [], [], max(end - time.monotonic(), 0))[0]
                if not ready:
                    break
                for each in ready:
                    answer = _arp_answer(arp.recv(1514)) if each is arp else _neighbour_answer(each.recv(1514))
                    if answer is not None and answer[1] != mac:
                        found.setdefault(answer[0], set()).add(_text(answer[1]))
    return {str(address): frozenset(found[str(address)]) for address in wanted if str(address) in found}


def _mac(device: str) -> bytes:
    return bytes.fromhex((_SYS_NET / device / "address").read_text(encoding="ascii").strip().replace(":", ""))


def _neighbour_socket(stack: contextlib.ExitStack, device: str) -> socket.socket | None:
    """None where the kernel has no IPv6."""
    with contextlib.suppress(OSError):
        nd = stack.enter_context(socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6))
        # A set bit blocks its type.
        blocked = bytearray(b"\xff" * 32)
        blocked[_ADVERTISEMENT // 32 * 4 : _ADVERTISEMENT // 32 * 4 + 4] = struct.pack(
            "=I", 0xFFFFFFFF & ~(1 << _ADVERTISEMENT % 32)
        )
        nd.setsockopt(socket.IPPROTO_ICMPV6, _ICMP6_FILTER, bytes(blocked))
        nd.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, socket.if_nametoindex(device))
        nd.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        return nd
    return None


def _ask(
    arp: socket.socket, nd: socket.socket | None, mac: bytes, address: ipaddress.IPv4Address | ipaddress.IPv6Address
) -> None:
    if address.version == 4:
        # The sender's address is empty, so that nobody learns a wrong owner from the question.
        request = _ARP.pack(1, 0x0800, 6, 4, _ARP_REQUEST, mac, bytes(4), bytes(6), address.packed)
        arp.send(_BROADCAST + mac + struct.pack("!H", _ETH_ARP) + request)
    elif nd is not None:
        group = str(ipaddress.IPv6Address(_SOLICITED_NODE + address.packed[-3:]))
        # Checksum by the kernel; then the target, and the source's link-layer address as the only option.
        nd.sendto(struct.pack("!BBHI", _SOLICITATION, 0, 0, 0) + address.packed + b"\x01\x01" + mac, (group, 0))


def _arp_answer(frame: bytes) -> tuple[str, bytes] | None:
    if len(frame) < 14 + _ARP.size:
        return None
    _hardware, _protocol, _hlen, _plen, operation, mac, address, _target, _to = _ARP.unpack_from(frame, 14)
    return (str(ipaddress.IPv4Address(address)), mac) if operation == _ARP_REPLY else None


def _neighbour_answer(message: bytes) -> tuple[str, bytes] | None:
    """From an advertisement with the target's link-layer address, which an answer to a multicast has."""
    if len(message) < 32 or message[0] != _ADVERTISEMENT or message[24:26] != b"\x02\x01":
        return None
    return str(ipaddress.IPv6Address(message[8:24])), message[26:32]


def _text(mac: bytes) -> str:
    return ":".join("%02x" % byte for byte in mac)
