"""Many open TCP connections from one host, each checked word by word. Run as a file, as the echo client is.

    load_client.py --interval MS KIND,COUNT,ADDRESS,PORT,SOURCE...

opens COUNT connections of a KIND to an echo server and prints {"open": N} when each was seen with the address SOURCE.
KIND is `pod` (the client speaks and is answered), `server` (only the server speaks), `both`, or `port` (as `pod`, from
source ports that are the same in every host). A line `settle SECONDS` on standard input asks what has become of them:
each must hear something new within that time. The answer is {"open": N, "lost": {"KIND ADDRESS: REASON": N}}; the lost
are replaced as soon as that is possible. It ends with its standard input.
"""

import asyncio
import contextlib
import json
import socket
import struct
import sys
import time

FIRST_PORT = 20000
"""Of `port` connections: below the range that the kernel gives to others."""
SLICES = 10
"""Connections speak in so many turns per interval, so that the load is even."""
OPEN_SECONDS = 10.0
AT_ONCE = 50
"""Connections that are being opened at the same time."""


class Flow(asyncio.Protocol):
    """One connection. Words are numbered; whatever is not the next number is an error."""

    def __init__(self, kind: str, address: str, port: int, source: str, own_port: int, interval: float) -> None:
        self.kind = kind
        self.peer = (address, port)
        self.source = source
        self.own_port = own_port
        self.interval = interval
        self.said = 0
        self.answered = 0
        self.ticks = 0
        self.seen: str | None = None
        self.lost: str | None = None
        self._transport: asyncio.Transport | None = None
        self._rest = b""

    @property
    def talks(self) -> bool:
        return self.kind != "server"

    @property
    def listens(self) -> bool:
        return self.kind in {"server", "both"}

    async def open(self) -> None:
        """Returns when the server has told the source address; OSError when it does not."""
        family = socket.AF_INET6 if ":" in self.peer[0] else socket.AF_INET
        own = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        own.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            if self.own_port:
                own.bind(("", self.own_port))
            loop = asyncio.get_running_loop()
            await loop.sock_connect(own, self.peer)
            await loop.create_connection(lambda: self, sock=own)
        except BaseException:
            own.close()
            raise
        while self.seen is None and self.lost is None:
            await asyncio.sleep(0.01)
        if self.lost is not None:
            raise OSError(self.lost)

    async def try_open(self) -> str | None:
        """Why it does not open, if it does not."""
        try:
            await asyncio.wait_for(self.open(), OPEN_SECONDS)
        except (OSError, TimeoutError) as error:
            return f"{self.kind} to {self.peer[0]} does not open: {error_text(error)}"
        return None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if self.listens:
            transport.write(f"every {round(self.interval * 1000)}\n".encode())

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._hear(line.decode(errors="replace"))

    def connection_lost(self, exc: Exception | None) -> None:
        self.lose("ended" if exc is None else type(exc).__name__)

    def speak(self) -> None:
        if self.talks and self.lost is None and self._transport is not None:
            self.said += 1
            self._transport.write(b"%d\n" % self.said)

    def lose(self, why: str) -> None:
        """The first reason counts."""
        if self.lost is None:
            self.lost = why
        if self._transport is not None:
            self._transport.abort()

    def _hear(self, line: str) -> None:
        if self.seen is None:
            self.seen = line.partition(" ")[0]
            if self.seen != self.source:
                self.lose(f"seen as {self.seen}, not {self.source}")
        elif self.listens and line == f"tick {self.ticks}":
            self.ticks += 1
        elif self.talks and line == str(self.answered + 1) and self.answered < self.said:
            self.answered += 1
        else:
            self.lose(f"heard {line[:40]!r} after {self.answered} answers and {self.ticks} ticks")


def error_text(error: Exception) -> str:
    return str(error) or type(error).__name__


class Load:
    """All connections of this host."""

    def __init__(self, flows: list[Flow], interval: float) -> None:
        self.flows = flows
        self.interval = interval
        self._openers: set[asyncio.Task[None]] = set()

    async def open(self) -> str | None:
        """Opens all connections; why the first that did not open did not."""
        limit = asyncio.Semaphore(AT_ONCE)

        async def one(flow: Flow) -> str | None:
            async with limit:
                return await flow.try_open()

        problems = await asyncio.gather(*map(one, self.flows))
        return next((problem for problem in problems if problem is not None), None)

    def _replace(self, index: int) -> None:
        """Opens a lost connection again, however long that takes."""
        flow = self.flows[index]
        self.flows[index] = flow = Flow(flow.kind, *flow.peer, flow.source, flow.own_port, flow.interval)

        async def until_open() -> None:
            while self.flows[index] is flow and await flow.try_open() is not None:
                flow.lost = None
                await asyncio.sleep(0.5)

        task = asyncio.create_task(until_open())
        self._openers.add(task)
        task.add_done_callback(self._openers.discard)

    async def speak(self) -> None:
        turn = 0
        while True:
            started = time.monotonic()
            for flow in self.flows[turn::SLICES]:
                flow.speak()
            turn = (turn + 1) % SLICES
            await asyncio.sleep(max(0.0, self.interval / SLICES - (time.monotonic() - started)))

    async def settle(self, seconds: float) -> dict[str, object]:
        marks = [(flow, flow.said, flow.ticks) for flow in self.flows]
        end = time.monotonic() + seconds
        while (waiting := [m for m in marks if _waits(*m)]) and time.monotonic() < end:
            await asyncio.sleep(0.05)
        for flow, _, _ in waiting:
            flow.lose("stalled" if flow.seen else "does not open")
        lost: dict[str, int] = {}
        gone = [index for index, flow in enumerate(self.flows) if flow.lost is not None]
        for index in gone:
            flow = self.flows[index]
            what = f"{flow.kind} {flow.peer[0]}: {flow.lost}"
            lost[what] = lost.get(what, 0) + 1
            self._replace(index)
        return {"open": len(self.flows) - len(gone), "lost": lost}


def _waits(flow: Flow, said: int, ticks: int) -> bool:
    """Whether a connection that lives has not yet heard what was said after the mark."""
    if flow.lost is not None:
        return False
    return (flow.talks and flow.answered <= said) or (flow.listens and flow.ticks <= ticks)


def _say(value: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


async def run(flows: list[Flow], interval: float) -> str | None:
    """Opens all, then answers what standard input asks for until that ends; the reason where one does not open."""
    load = Load(flows, interval)
    problem = await load.open()
    if problem is not None:
        return problem
    speaking = asyncio.create_task(load.speak())
    _say({"open": len(flows)})
    orders = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    while order := (await orders.readline()).split():
        _say(await load.settle(float(order[1])))
    speaking.cancel()
    for flow in load.flows:
        flow.lose("done")
    with contextlib.suppress(asyncio.CancelledError):
        await speaking
    return None


def main(arguments: list[str]) -> int:
    """The command line, see the top of the file; exit status 1 when a connection does not open at the start."""
    interval = float(arguments[1]) / 1000
    flows: list[Flow] = []
    ports = FIRST_PORT
    for text in arguments[2:]:
        kind, count, address, port, source = text.split(",")
        for _ in range(int(count)):
            own = ports if kind == "port" else 0
            ports += kind == "port"
            flows.append(Flow(kind, address, int(port), source, own, interval))
    problem = asyncio.run(run(flows, interval))
    if problem is not None:
        sys.stderr.write(problem + "\n")
    return 0 if problem is None else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
