"""What pods notice when a gateway fails and comes back, and how many of 1,000 open connections are lost.

`make bench`, or `python -m tests.bench.bench_failover [ROUNDS [CONNECTIONS [FAILURE...]]]`; root. Two gateways and two
workers, all on this machine; UDP probes every 5 ms from a worker's pod, in both families; TCP connections from pods on
both workers and both gateways, in which the pod, the server or both speak, every half second, some from equal ports.
Of the failing gateway's own pods none are open when it loses its power, as they are gone then themselves.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import get_args

import pytest

from egress_compiler.lab import down
from egress_compiler.lab.drill import (
    FAILURES,
    Failure,
    Measured,
    Slots,
    governed_addresses,
    load,
    measure,
    repair,
    run_failure,
    run_repair,
)
from egress_compiler.lab.example import RunningExample, running_example, up_example
from egress_compiler.lab.load import Load
from tests.lab.by_hand import apply_by_hand, apply_node
from tests.lab.gateways import FAILING, FAILING_POD, OTHER_POD, WORKER_PODS, write_example

ROUNDS, CONNECTIONS = int(os.environ.get("BENCH_ROUNDS", "20")), 1000
"""Twenty of each kind take 25 minutes: `make bench BENCH_ROUNDS=2` is for a quick look."""
TIMERS = (200, 50)
"""Milliseconds between advertisements: the default, and fast."""
PROMISED_MS = {200: 1000.0, 50: 250.0}
SLACK = 3
"""A busy machine may take that many times what is promised; and nothing may be lost, however busy it is."""


@dataclass(slots=True)
class Result:
    """Milliseconds of outage by round, the worse of the two families, and what was lost over all rounds."""

    failure: Failure
    advert_ms: int
    away: list[float] = field(default_factory=list)
    back: list[float] = field(default_factory=list)
    opened: int = 0
    lost: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        times = "  ".join(f"{statistics.median(t):7.0f} {max(t):7.0f}" for t in (self.away, self.back))
        return f"{self.failure:9} {self.advert_ms:7} {len(self.away):6}  {times} {self.lost.total():6} of {self.opened}"


HEADER = "failure   advert  rounds  away: median, max  back: median, max  lost, of connections x moves"


def drills(advert_ms: int, failures: tuple[Failure, ...], rounds: int, connections: int) -> list[Result]:
    """Each kind in a lab of its own; prints each result as soon as it is there."""
    results = []
    for failure in failures:
        results.append(_in_new_lab(Result(failure, advert_ms), rounds, connections))
        sys.stdout.write(f"{results[-1]}\n")
        for what, count in results[-1].lost.items():
            sys.stdout.write(f"    {count} {what}\n")
        sys.stdout.flush()
    return results


def _in_new_lab(result: Result, rounds: int, connections: int) -> Result:
    name = f"bench-{os.getpid()}-failover"
    with tempfile.TemporaryDirectory() as directory:
        up_example(write_example(Path(directory) / "example", advert_ms=result.advert_ms), name)
        try:
            running = running_example(name)
            apply_by_hand(running.lab, running.compilation)
            return _drill(running, result, rounds, connections)
        finally:
            down(name)


def _drill(running: RunningExample, result: Result, rounds: int, connections: int) -> Result:
    pods = (*WORKER_PODS, OTHER_POD)
    each = connections // (len(pods) + (result.failure != "poweroff"))
    own = {FAILING_POD: each} if result.failure != "poweroff" else {}
    with load(running, dict.fromkeys(pods, each)) as others, load(running, own) as at_home:
        for _ in range(rounds):
            result.away.append(run_failure(running, FAILING, result.failure, WORKER_PODS[0]).longest_ms)
            _count(result, others)
            if own and result.failure != "cut":
                _count(result, at_home)
            result.back.append(_come_back(running, result.failure).longest_ms)
            _count(result, others)
            if own:  # while the cable was out these had no way
                _count(result, at_home, 20)
    return result


def _count(result: Result, connections: Load, seconds: float = 10) -> None:
    tally = connections.settle(seconds)
    result.opened += tally.open + tally.lost_count
    result.lost.update(tally.lost)


def _come_back(running: RunningExample, failure: Failure) -> Measured:
    if failure != "poweroff":
        return run_repair(running, FAILING, failure, WORKER_PODS[0])
    repair(running.lab, FAILING, failure)
    plan = next(plan for plan in running.compilation.plans if plan.node == FAILING)
    apply = partial(apply_node, running.lab, running.compilation, plan)
    addresses = governed_addresses(running, WORKER_PODS[0])
    return measure(running.lab, WORKER_PODS[0], addresses, apply, Slots(running).at_home)


@pytest.mark.lab
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("advert_ms", TIMERS)
def test_failover(advert_ms: int) -> None:
    sys.stdout.write(f"\n{HEADER}\n")
    for result in drills(advert_ms, FAILURES, ROUNDS, CONNECTIONS):
        assert not result.lost
        assert statistics.median(result.away) < SLACK * PROMISED_MS[advert_ms]


def main(arguments: list[str]) -> int:
    """The command line: rounds, connections, failures."""
    rounds = int(arguments[0]) if arguments else ROUNDS
    connections = int(arguments[1]) if arguments[1:] else CONNECTIONS
    failures = tuple(f for f in FAILURES if f in arguments[2:] or not arguments[2:])
    assert set(arguments[2:]) <= set(get_args(Failure))
    sys.stdout.write(HEADER + "\n")
    for advert_ms in TIMERS:
        drills(advert_ms, failures, rounds, connections)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
