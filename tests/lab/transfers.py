"""Large transfers with DF set, to find black holes: TCP both ways, and UDP that asks the kernel for the path's MTU."""

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from egress_compiler.lab import Lab, kill

PORT = 7009
AMOUNT = 400_000
"""Bytes of a transfer: some hundred full segments."""

SERVER = f"""
import socket, sys, threading

def serve(connection):
    with connection:
        amount = {AMOUNT}
        if connection.recv(1) == b"d":
            connection.sendall(bytes(amount))
            connection.recv(1)
            return
        while amount > 0:
            data = connection.recv(65536)
            if not data:
                return
            amount -= len(data)
        connection.sendall(b"!")

def known_mtu(udp, peer):
    with socket.socket(udp.family, socket.SOCK_DGRAM) as other:
        other.bind((udp.getsockname()[0], 0))
        other.connect(peer)
        six = udp.family == socket.AF_INET6
        return other.getsockopt(*((socket.IPPROTO_IPV6, 24) if six else (socket.IPPROTO_IP, 14)))  # IP_MTU

def answer(udp):
    # A datagram asks for the largest answer, "full", or for a short one.
    headers = 48 if udp.family == socket.AF_INET6 else 28
    while True:
        data, peer = udp.recvfrom(65536)
        for _ in range(2):
            try:
                udp.sendto(bytes(known_mtu(udp, peer) - headers if data.startswith(b"full") else 1), peer)
                break
            except OSError:
                pass

for address in sys.argv[1:]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    tcp = socket.create_server((address, {PORT}), family=family)
    def accept(tcp=tcp):
        while True:
            threading.Thread(target=serve, args=(tcp.accept()[0],), daemon=True).start()
    threading.Thread(target=accept, daemon=True).start()
    udp = socket.socket(family, socket.SOCK_DGRAM)
    if family == socket.AF_INET:
        udp.setsockopt(socket.IPPROTO_IP, 10, 2)  # IP_MTU_DISCOVER, IP_PMTUDISC_DO
    else:
        udp.setsockopt(socket.IPPROTO_IPV6, 23, 2)  # IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DO
        udp.setsockopt(socket.IPPROTO_IPV6, 62, 1)  # IPV6_DONTFRAG
    udp.bind((address, {PORT}))
    threading.Thread(target=answer, args=(udp,), daemon=True).start()
print("ready", flush=True)
threading.Event().wait()
"""

CLIENT = f"""
import json, socket, sys

def tcp(address, way):
    with socket.create_connection((address, {PORT}), timeout=6) as connection:
        if way == "down":
            connection.sendall(b"d")
            left = {AMOUNT}
            while left > 0:
                left -= len(connection.recv(65536)) or left + 1
            return left == 0
        connection.sendall(b"u" + bytes({AMOUNT}))
        return connection.recv(1) == b"!"

def opened(address):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    udp = socket.socket(family, socket.SOCK_DGRAM)
    udp.settimeout(0.5)
    if family == socket.AF_INET:
        udp.setsockopt(socket.IPPROTO_IP, 10, 2)
    else:
        udp.setsockopt(socket.IPPROTO_IPV6, 23, 2)
        udp.setsockopt(socket.IPPROTO_IPV6, 62, 1)
    udp.connect((address, {PORT}))
    return udp

def known_mtu(udp):
    level, option = (socket.IPPROTO_IPV6, 24) if udp.family == socket.AF_INET6 else (socket.IPPROTO_IP, 14)
    return udp.getsockopt(level, option)

def udp_up(address):
    # Full datagrams until the kernel has heard of the path's MTU, then the largest that fits.
    with opened(address) as udp:
        first = known_mtu(udp)
        headers = 48 if udp.family == socket.AF_INET6 else 28
        for _ in range(3):
            try:
                udp.send(b"short".ljust(known_mtu(udp) - headers))
                udp.recv(65536)
                return known_mtu(udp)
            except OSError:
                continue
    return 0

def udp_down(address):
    # The largest answer that arrives: the server's kernel has to hear what does not.
    with opened(address) as udp:
        for _ in range(4):
            try:
                udp.send(b"full")
                return len(udp.recv(65536))
            except OSError:
                continue
    return 0

results = []
for request in sys.argv[1:]:
    kind, address = request.split(",")
    try:
        if kind == "udp-up":
            result = udp_up(address)
        elif kind == "udp-down":
            result = udp_down(address)
        else:
            result = tcp(address, kind)
    except OSError as error:
        result = str(error)
    results.append(result)
print(json.dumps(results))
"""


@dataclass(frozen=True, slots=True)
class TransferServer:
    """A server for large transfers in a host of the lab."""

    process: "subprocess.Popen[str]"

    def stop(self) -> None:
        kill(self.process)


def start_server(lab: Lab, host: str, addresses: Sequence[str]) -> TransferServer:
    process = lab.popen(host, ["python3", "-c", SERVER, *addresses], stderr=None)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return TransferServer(process)


def transfer(lab: Lab, host: str, requests: Sequence[str]) -> list[object]:
    """One result a request.

    ``up,ADDRESS`` and ``down,ADDRESS`` over TCP: True, or what went wrong. ``udp-up,ADDRESS``: the path MTU with which
    a full datagram arrived, 0 if none did. ``udp-down,ADDRESS``: the size of the largest answer that arrived, 0 if none
    did.
    """
    done = lab.exec(host, ["python3", "-c", CLIENT, *requests], timeout=60)
    results: list[object] = json.loads(done.stdout)
    return results
