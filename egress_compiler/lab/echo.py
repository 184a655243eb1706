"""The echo service: tells whoever asks which source address and port it sees. Runs alone: `python -m ...lab.echo`.

TCP: on connection one line `ADDRESS PORT`; then every line comes back, and the line `every N` makes the server send
`tick COUNT` every N milliseconds until the connection ends.
UDP: each datagram is answered `ADDRESS PORT DATAGRAM`, from the address that it was sent to.
HTTP: any path answers JSON `{"ip": ADDRESS, "port": PORT}`.
WebSocket, path /ws of the HTTP port: the same JSON as first message; then every message comes back.
"""

import argparse
import asyncio
import contextlib
import json
import logging
import signal
import socket
import sys
from collections.abc import Sequence
from http import HTTPStatus

from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from egress_compiler.lab.ports import HTTP_PORT, TCP_PORT, UDP_PORT, WEBSOCKET_PATH

EVERYWHERE = ("0.0.0.0", "::")

_IP_PKTINFO = 8
"""ip(7); the socket module has no name for it on Python 3.11."""
_LONGEST_DATAGRAM = 65535


async def run(binds: Sequence[str], *, tcp_port: int, udp_port: int, http_port: int) -> None:
    """Serves until SIGTERM or SIGINT; OSError when an address cannot be bound. Port 0 takes a free one.

    Prints one line of JSON when it listens: `{"tcp": PORT, "udp": PORT, "http": PORT}`.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with contextlib.AsyncExitStack() as stack:
        ports = {"tcp": tcp_port, "udp": udp_port, "http": http_port}
        for bind in binds:
            tcp = await stack.enter_async_context(await asyncio.start_server(_tcp, bind, ports["tcp"], backlog=1024))
            udp = stack.enter_context(_udp_socket(bind, ports["udp"]))
            loop.add_reader(udp, _answer_datagram, udp)
            stack.callback(loop.remove_reader, udp)
            web = await stack.enter_async_context(
                serve(_websocket, bind, ports["http"], process_request=_http, logger=_quiet(), ping_interval=None)
            )
            ports["tcp"] = tcp.sockets[0].getsockname()[1]
            ports["udp"] = udp.getsockname()[1]
            ports["http"] = next(iter(web.sockets)).getsockname()[1]
        sys.stdout.write(json.dumps(ports) + "\n")
        sys.stdout.flush()
        await stop.wait()


async def _tcp(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    ticker: asyncio.Task[None] | None = None
    try:
        ip, port = writer.get_extra_info("peername")[:2]
        writer.write(f"{ip} {port}\n".encode())
        while line := await reader.readline():
            command, _, argument = line.decode(errors="replace").strip().partition(" ")
            if command == "every" and argument.isdigit() and ticker is None:
                ticker = asyncio.create_task(_tick(writer, int(argument) / 1000))
            else:
                writer.write(line)
                await writer.drain()
    except (OSError, ValueError):  # the peer is gone, or sent a line beyond reason
        pass
    finally:
        if ticker is not None:
            ticker.cancel()
        writer.close()


async def _tick(writer: asyncio.StreamWriter, seconds: float) -> None:
    count = 0
    with contextlib.suppress(OSError):
        while True:
            writer.write(f"tick {count}\n".encode())
            await writer.drain()
            count += 1
            await asyncio.sleep(seconds)


def _udp_socket(bind: str, port: int) -> socket.socket:
    """A socket that tells with each datagram which address it was sent to."""
    family = socket.AF_INET6 if ":" in bind else socket.AF_INET
    udp = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        if family == socket.AF_INET6:
            udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        else:
            udp.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        udp.bind((bind, port))
    except BaseException:
        udp.close()
        raise
    return udp


def _answer_datagram(udp: socket.socket) -> None:
    """Answers from the address that was asked: on a host with many, routing would choose another."""
    with contextlib.suppress(OSError):  # no route back: as lost as any datagram
        data, ancillary, _, peer = udp.recvmsg(_LONGEST_DATAGRAM, 256)
        answer = f"{peer[0]} {peer[1]} ".encode() + data
        udp.sendmsg([answer], [(level, kind, _own_address(level, info)) for level, kind, info in ancillary], 0, peer)


def _own_address(level: int, info: bytes) -> bytes:
    """The packet info of a request turned into that of its answer: the same address, by whatever device routing says.

    struct in6_pktinfo {addr[16], ifindex}; struct in_pktinfo {ifindex, spec_dst[4], addr[4]}. A link-local address
    means nothing without its device.
    """
    if level == socket.IPPROTO_IPV6:
        link_local = info[0] == 0xFE and info[1] & 0xC0 == 0x80
        return info if link_local else info[:16] + bytes(4)
    return bytes(4) + info[4:]


def _peer(connection: ServerConnection) -> str:
    ip, port = connection.remote_address[:2]
    return json.dumps({"ip": ip, "port": port})


def _http(connection: ServerConnection, request: Request) -> Response | None:
    """None lets the request become a WebSocket."""
    if request.path == WEBSOCKET_PATH:
        return None
    body = _peer(connection).encode() + b"\n"
    headers = Headers({"Content-Type": "application/json", "Content-Length": str(len(body)), "Connection": "close"})
    return Response(HTTPStatus.OK, "OK", headers, body)


async def _websocket(connection: ServerConnection) -> None:
    with contextlib.suppress(ConnectionClosed):
        await connection.send(_peer(connection))
        async for message in connection:
            await connection.send(message)


def _quiet() -> logging.Logger:
    """websockets tells of each connection; of interest here are failures of the server alone."""
    logger = logging.getLogger("egress_compiler.lab.echo")
    logger.setLevel(logging.CRITICAL)
    return logger


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; exit status 1 when an address cannot be bound."""
    parser = argparse.ArgumentParser(prog="echo-server", description="Tells which source address it sees.")
    parser.add_argument("--bind", action="append", metavar="ADDRESS", help="address to listen on, repeatable (all)")
    parser.add_argument("--tcp-port", type=int, default=TCP_PORT)
    parser.add_argument("--udp-port", type=int, default=UDP_PORT)
    parser.add_argument("--http-port", type=int, default=HTTP_PORT, help="HTTP, and WebSocket at " + WEBSOCKET_PATH)
    options = parser.parse_args(argv)
    try:
        asyncio.run(
            run(
                options.bind or EVERYWHERE,
                tcp_port=options.tcp_port,
                udp_port=options.udp_port,
                http_port=options.http_port,
            )
        )
    except OSError as error:
        sys.stderr.write(f"echo-server: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
