"""How long an outage is: a probe every few milliseconds while something happens to the network."""

import json
import selectors
import signal
import subprocess
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import msgspec

from egress_compiler.lab.errors import LabError
from egress_compiler.lab.probe import ProbeTarget
from egress_compiler.lab.run import end

INTERVAL_MS = 5.0
FIRST_ANSWER = 5.0
"""Seconds in which the first answer must come."""


@dataclass(frozen=True, slots=True)
class Outage:
    """What an outage meter found. Without any outage the longest gap is little more than the interval."""

    sent: int
    answered: int
    longest_gap_ms: float
    """Between two answers, or from the last one to the end."""
    seen: tuple[str, ...]
    """The source addresses, in the order of their first appearance; a TCP connection has one."""
    error: str | None
    """Why the flow ended before its time: a TCP connection was reset."""


class OutageMeter:
    """A running measurement. As a context manager it is ended at the latest when the block is left."""

    def __init__(self, process: "subprocess.Popen[str]", target: ProbeTarget, seconds: float) -> None:
        """Returns at the first answer, so that what happens next is measured; LabError when none comes."""
        self.target = target
        self._process = process
        self._seconds = seconds
        self._outage: Outage | None = None
        assert process.stdout is not None
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(process.stdout, selectors.EVENT_READ)
                line = process.stdout.readline() if selector.select(FIRST_ANSWER) else ""
            if not line or "started" not in json.loads(line):
                raise LabError(f"{target} does not answer: {line.strip() or 'no message'}")
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def result(self) -> Outage:
        """Waits until the seconds are over, and tells what was found."""
        return self._finish(self._seconds + 5)

    def stop(self) -> Outage:
        """Ends the measurement now, and tells what was found."""
        if self._outage is None:
            end(self._process, signal.SIGTERM)
        return self._finish(5)

    def close(self) -> None:
        """Ends the measurement without a result."""
        end(self._process)
        with self._process:
            pass

    def _finish(self, timeout: float) -> Outage:
        if self._outage is None:
            try:
                out, err = self._process.communicate(timeout=timeout)
            except subprocess.TimeoutExpired as error:
                raise LabError("the outage meter does not end") from error
            if self._process.returncode != 0 or not out:
                raise LabError(f"the outage meter failed: {err.strip()}")
            self._outage = msgspec.json.decode(out, type=Outage)
        return self._outage
