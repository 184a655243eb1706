"""How soon a pod is seen with its egress IP, and what leaves before, with the gate at pod start and without.

`make bench`, or `python -m tests.bench.bench_pod_start [COUNT [RATE]]`; root.  Pods start on one node of a lab, behind
Debian's ptp and host-local, at up to RATE a second; the node follows a scripted API server there.  A pod's client
connects in the moment in which the last plugin has answered, and again every 10 ms, to a server outside that tells the
source address.  Without the gate unknown pods are blocked, and the client begins when the API has the pod's address.
Addresses are used again, after 100 others, while the API may still have the pod that had them before.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.gate.cluster import EIP4, WORKER, gated_cluster, order
from tests.gate.starter import Json

COUNT, RATE = int(os.environ.get("BENCH_PODS", "1000")), float(os.environ.get("BENCH_POD_RATE", "20"))
RANGES = ("10.244.3.128/25",)
"""IPv4 alone: plugins wait for the detection of duplicate IPv6 addresses."""
BLOCKED = f"unknownPods: {{blockedNodes: [{WORKER}]}}\n"
PROMISED_MS = {"gate": {50: 60.0, 99: 150.0}, "ungated": {99: 300.0}}
SLACK = 3
"""A busy machine may take that many times what is promised; and nothing may leak, however busy it is."""


@dataclass
class Result:
    """Milliseconds of delays until the EIP and of plugins, and what was heard before it."""

    name: str
    pods: int = 0
    failed: list[str] = field(default_factory=list)
    first: int = 0
    """Pods whose first attempt had the EIP."""
    delays: list[float] = field(default_factory=list)
    heard: Counter[str] = field(default_factory=Counter)
    plugins: dict[str, list[float]] = field(default_factory=dict)

    def note(self, line: Json) -> None:
        self.pods += 1
        if "error" in line or line.get("delay") is None:
            self.failed.append(str(line.get("error", line.get("heard"))))
            return
        self.first += line["heard"] == [EIP4]
        self.delays.append(1000 * line["delay"])
        self.heard.update(line["heard"][:-1])
        for plugin, seconds in line["times"].items():
            self.plugins.setdefault(plugin, []).append(1000 * seconds)

    @property
    def leaks(self) -> int:
        """Attempts that were seen with another address."""
        return sum(count for what, count in self.heard.items() if what[0].isdigit())

    @property
    def refused(self) -> int:
        return self.heard.total() - self.leaks

    def __str__(self) -> str:
        plugins = "".join(f"\n    {name:12} {shown(times)}" for name, times in self.plugins.items())
        failed = "".join(f"\n    failed: {text}" for text in self.failed[:5])
        counts = f"{self.pods} pods, {len(self.failed)} failed, {self.leaks} leaks, {self.refused} refused"
        first = f"{self.first} with the first packet\n    to the EIP   {shown(self.delays)}"
        return f"{self.name}: {counts}, {first}{plugins}{failed}"


def percentile(values: Sequence[float], percent: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * percent / 100))]


def shown(values: Sequence[float]) -> str:
    if not values:
        return "nothing"
    return "  ".join(f"p{percent} {percentile(values, percent):6.1f} ms" for percent in (50, 90, 99))


def measure(name: str, gate: str, more: str, count: int, rate: float) -> Result:
    result = Result(name)
    with tempfile.TemporaryDirectory() as directory, gated_cluster(Path(directory), gate, more, RANGES) as cluster:
        for line in cluster.node.many(**order(Path(directory) / "control", bool(gate), count, rate, 10)):
            result.note(line)
    sys.stdout.write(f"{result}\n")
    sys.stdout.flush()
    return result


def gated(count: int, rate: float) -> Result:
    return measure("gate on", "{timeoutSeconds: 30}", "", count, rate)


def ungated(count: int, rate: float) -> Result:
    return measure("gate off, unknown pods blocked", "", BLOCKED, count, rate)


@pytest.mark.timeout(1800)
def test_the_first_packet_has_the_eip() -> None:
    result = gated(COUNT, RATE)
    assert (result.failed, result.leaks, result.refused) == ([], 0, 0)
    for percent, promised in PROMISED_MS["gate"].items():
        assert percentile(result.plugins["egress-gate"], percent) < SLACK * promised


@pytest.mark.timeout(1800)
def test_without_the_gate_nothing_leaks() -> None:
    result = ungated(COUNT, RATE)
    assert (result.failed, result.leaks) == ([], 0)
    for percent, promised in PROMISED_MS["ungated"].items():
        assert percentile(result.delays, percent) < SLACK * promised


if __name__ == "__main__":
    given = [float(text) for text in sys.argv[1:]]
    pods, pace = int(given[0]) if given else COUNT, given[1] if given[1:] else RATE
    gated(pods, pace)
    ungated(pods, pace)
