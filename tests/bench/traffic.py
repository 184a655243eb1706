"""Sends and counts, from one host of a lab: run as a file. Prints one line of JSON.

traffic.py flood ADDRESS PORT new|established COUNT SECONDS
    64-byte datagrams, until there were COUNT of them or SECONDS have passed: each to another port, or all of one
    conversation, whose first datagram was answered. Prints {"sent": N, "seconds": S}.
traffic.py stream ADDRESS PORT SECONDS    as many bytes as TCP takes. Prints {"bytes": N, "seconds": S}.
traffic.py sink ADDRESS PORT              takes them, one connection after the other, until it is ended.
"""

import json
import socket
import sys
import time

PAYLOAD = b"x" * 64
HELLO = b"hi"
"""Shorter than what the bench's sinks drop."""
PORTS = range(1024, 65000)
AT_ONCE = 100
"""Datagrams between two looks at the clock."""
BYTES = 1 << 18


def flood(address: str, port: int, kind: str, count: int, seconds: float) -> dict[str, float]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        sent = 0
        if kind == "established":
            own.settimeout(5)
            own.connect((address, port))
            own.send(HELLO)
            own.recv(1024)
            own.settimeout(None)
        start = time.perf_counter()
        end = start + seconds
        while sent < count and time.perf_counter() < end:
            if kind == "established":
                send = own.send
                for _ in range(AT_ONCE):
                    send(PAYLOAD)
            else:
                to = own.sendto
                for number in range(sent, sent + AT_ONCE):
                    to(PAYLOAD, (address, PORTS[number]))
            sent += AT_ONCE
        return {"sent": sent, "seconds": time.perf_counter() - start}


def stream(address: str, port: int, seconds: float) -> dict[str, float]:
    data = memoryview(bytes(BYTES))
    with socket.create_connection((address, port), timeout=10) as own:
        sent = 0
        start = time.perf_counter()
        while time.perf_counter() < start + seconds:
            sent += own.send(data)
        own.shutdown(socket.SHUT_WR)
        own.recv(1)  # when all has arrived
        return {"bytes": sent, "seconds": time.perf_counter() - start}


def sink(address: str, port: int) -> None:
    space = bytearray(BYTES)
    with socket.create_server((address, port)) as listening:
        sys.stdout.write("{}\n")
        sys.stdout.flush()
        while True:
            other, _ = listening.accept()
            with other:
                while other.recv_into(space):
                    pass


def main(arguments: list[str]) -> None:
    what, address, port, *rest = arguments
    if what == "sink":
        sink(address, int(port))
    elif what == "stream":
        sys.stdout.write(json.dumps(stream(address, int(port), float(rest[0]))) + "\n")
    else:
        sys.stdout.write(json.dumps(flood(address, int(port), rest[0], int(rest[1]), float(rest[2]))) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
