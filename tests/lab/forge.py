"""Packets that nobody in good faith would send; run on a lab's host as ``python forge.py KIND ...``."""

import socket
import struct
import sys
from collections.abc import Callable
from ipaddress import ip_address

UDP_PORT = 7002
"""The outside's echo of datagrams."""
_COUNT = 3
_VXLAN_PORT, _VNI = 7789, 100
_ETHERTYPE = {4: 0x0800, 6: 0x86DD}


def datagram(source: str, destination: str, port: int = UDP_PORT) -> bytes:
    """An IP packet with a UDP datagram. IPv4 needs no UDP checksum, IPv6 gets one."""
    payload = b"forged"
    src, dst = ip_address(source).packed, ip_address(destination).packed
    length = 8 + len(payload)
    udp = struct.pack("!HHHH", 40000, port, length, 0) + payload
    if len(src) == 4:
        header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + length, 1, 0, 64, socket.IPPROTO_UDP, 0, src, dst)
        return header[:10] + struct.pack("!H", _checksum(header)) + header[12:] + udp
    pseudo = src + dst + struct.pack("!II", length, socket.IPPROTO_UDP)
    udp = udp[:6] + struct.pack("!H", _checksum(pseudo + udp)) + udp[8:]
    return struct.pack("!IHBB", 6 << 28, length, socket.IPPROTO_UDP, 64) + src + dst + udp


def frames(device: str, mac: str, source: str, destination: str, number: str = "0") -> None:
    """Ethernet frames by a device, to a MAC address; by the tunnel with an answer number."""
    packet = datagram(source, destination)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, int(number))
        sender.bind((device, 0))
        for _ in range(_COUNT):
            sender.send(_ethernet(mac, packet))


def vxlan(node: str, mac: str, source: str, destination: str, number: str) -> None:
    """What a node of the cluster would send by the tunnel, from the address of whoever runs this.

    With group policy, as draft-smith-vxlan-group-policy has it: two flags, and the number.
    """
    frame = _ethernet(mac, datagram(source, destination))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(_COUNT):
            sender.sendto(struct.pack("!II", 0x88000000 | int(number), _VNI << 8) + frame, (node, _VXLAN_PORT))


def marked(mark: str, destination: str) -> None:
    """Datagrams of one's own with a packet mark."""
    family = socket.AF_INET6 if ":" in destination else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, int(mark, 16))
        for _ in range(_COUNT):
            sender.sendto(b"marked", (destination, UDP_PORT))


def advert(destination: str, router: str) -> None:
    """VRRPv3 for IPv4: a master of the highest priority, with an address that is nobody's."""
    body = struct.pack("!BBBBHH4s", 0x31, int(router), 255, 1, 20, 0, ip_address("172.31.255.254").packed)
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, 112) as sender:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 255)
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 255)
        sender.connect((destination, 0))
        source = ip_address(sender.getsockname()[0]).packed
        pseudo = source + ip_address(destination).packed + struct.pack("!HH", 112, len(body))
        for _ in range(_COUNT):
            sender.send(body[:6] + struct.pack("!H", _checksum(pseudo + body)) + body[8:])


def _ethernet(mac: str, packet: bytes) -> bytes:
    return (
        bytes.fromhex(mac.replace(":", ""))
        + bytes(5)
        + b"\x02"
        + struct.pack("!H", _ETHERTYPE[packet[0] >> 4])
        + packet
    )


def _checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2)))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF & ~total


_KINDS: dict[str, Callable[..., None]] = {"frames": frames, "vxlan": vxlan, "marked": marked, "advert": advert}

if __name__ == "__main__":
    _KINDS[sys.argv[1]](*sys.argv[2:])
