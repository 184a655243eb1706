"""What the outside sees: a short client in a host asks the echo service for the source address."""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from egress_compiler.lab.errors import LabError
from egress_compiler.lab.ports import HTTP_PORT, TCP_PORT, UDP_PORT
from egress_compiler.lab.run import end

Protocol = Literal["tcp", "udp", "http", "ws"]
PORTS: dict[str, int] = {"tcp": TCP_PORT, "udp": UDP_PORT, "http": HTTP_PORT, "ws": HTTP_PORT}
DEFAULT_TIMEOUT = 2.0


@dataclass(frozen=True, slots=True)
class ProbeTarget:
    """An echo server to ask; port 0 is the one that the lab's servers have for the protocol."""

    protocol: Protocol
    address: str
    port: int = 0

    def __post_init__(self) -> None:
        if self.protocol not in PORTS:
            raise LabError(f"no protocol {self.protocol!r}; there are {', '.join(PORTS)}")

    def __str__(self) -> str:
        """As the client takes it."""
        return f"{self.protocol},{self.address},{self.port or PORTS[self.protocol]}"


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """The source address and port that the target saw, or why there is no answer: never both."""

    target: ProbeTarget
    seen: str | None
    port: int | None
    error: str | None
    """`refused`, `reset`, `timeout` or `unreachable`; other text is the exception's own."""


class _Answer(msgspec.Struct):
    seen: str | None = None
    port: int | None = None
    error: str | None = None


def client(*arguments: str) -> list[str]:
    """The command of the client. It needs no package, hence `-I -S`: a python that starts in some 15 ms."""
    return [sys.executable, "-I", "-S", str(Path(__file__).with_name("echo_client.py")), *arguments]


def arguments(targets: Sequence[ProbeTarget], timeout: float) -> list[str]:
    """What the client takes to ask all targets, each within `timeout` seconds."""
    return ["probe", "--timeout", str(timeout), *map(str, targets)]


def collect(process: "subprocess.Popen[str]", targets: Sequence[ProbeTarget], timeout: float) -> list[ProbeResult]:
    """The answers of a client that was started with `arguments`; LabError when it fails."""
    with process:
        try:
            out, err = process.communicate(timeout=timeout + 10)
        except BaseException as error:
            end(process)
            if isinstance(error, subprocess.TimeoutExpired):
                raise LabError(f"the probe did not end within {timeout + 10:g} s") from error
            raise
    lines = out.splitlines()
    if process.returncode != 0 or len(lines) != len(targets):
        raise LabError(f"the probe failed: {err.strip() or out.strip()}")
    answers = [msgspec.convert(json.loads(line), type=_Answer) for line in lines]
    return [ProbeResult(t, a.seen, a.port, a.error) for t, a in zip(targets, answers, strict=True)]
