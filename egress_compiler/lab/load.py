"""Open TCP connections from pods to the outside, kept busy and checked while something happens to the network."""

import selectors
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import msgspec

from egress_compiler.lab.errors import LabError
from egress_compiler.lab.lab import Lab, kill
from egress_compiler.lab.ports import TCP_PORT

Kind = Literal["pod", "server", "both", "port"]
KINDS: tuple[Kind, ...] = ("pod", "server", "both", "port")
"""Who speaks: the pod and is answered, the server alone, both; `port`: as `pod`, from the same ports in every pod."""
_OPEN_SECONDS = 60.0
_END_SECONDS = 10.0
"""For a client that has closed its output and is about to end."""


@dataclass(frozen=True, slots=True)
class Flows:
    """So many connections of a kind to an address of the outside server, which must see them come from `source`."""

    kind: Kind
    count: int
    address: str
    source: str


@dataclass(frozen=True, slots=True)
class Tally:
    """What has become of the connections: how many are open and alive, and why how many were lost."""

    open: int
    lost: Mapping[str, int]
    """By `POD KIND ADDRESS: REASON`."""

    @property
    def lost_count(self) -> int:
        return sum(self.lost.values())


class _Answer(msgspec.Struct):
    open: int
    lost: dict[str, int] = {}


class Load:
    """Running connections of several hosts. As a context manager they are closed when the block is left."""

    def __init__(self, lab: Lab, flows: Mapping[str, Sequence[Flows]], *, interval_ms: int = 500) -> None:
        """Returns when all are open; each then speaks every `interval_ms`. LabError when one does not open."""
        self._clients: dict[str, subprocess.Popen[str]] = {}
        script = str(Path(__file__).with_name("load_client.py"))
        try:
            for host, wanted in flows.items():
                words = [f"{f.kind},{f.count},{f.address},{TCP_PORT},{f.source}" for f in wanted]
                argv = [sys.executable, "-I", "-S", script, "--interval", str(interval_ms), *words]
                self._clients[host] = lab.popen(host, argv, stdin=subprocess.PIPE)
            for host in self._clients:
                self._answer(host, _OPEN_SECONDS)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def settle(self, seconds: float = 10) -> Tally:
        """Waits until every connection has heard something new, at most so long; who has not by then is lost.

        Lost ones are replaced as soon as they can be.
        """
        for client in self._clients.values():
            assert client.stdin is not None
            client.stdin.write(f"settle {seconds}\n")
            client.stdin.flush()
        open_count = 0
        lost: Counter[str] = Counter()
        for host in self._clients:
            answer = self._answer(host, seconds + _OPEN_SECONDS)
            open_count += answer.open
            for what, count in answer.lost.items():
                lost[f"{host} {what}"] += count
        return Tally(open_count, dict(sorted(lost.items())))

    def close(self) -> None:
        """Ends all connections."""
        for client in self._clients.values():
            kill(client)

    def _answer(self, host: str, seconds: float) -> _Answer:
        client = self._clients[host]
        assert client.stdout is not None
        assert client.stderr is not None
        with selectors.DefaultSelector() as selector:
            selector.register(client.stdout, selectors.EVENT_READ)
            said = bool(selector.select(seconds))
            line = client.stdout.readline() if said else ""
        if said and not line:
            raise LabError(f"the load of {host} ended: {client.communicate(timeout=_END_SECONDS)[1].strip()}")
        if not said:
            raise LabError(f"the load of {host} does not answer")
        return msgspec.json.decode(line, type=_Answer)
