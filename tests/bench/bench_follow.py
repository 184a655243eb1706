"""What following costs a node: memory, processor time at rest, and how long a pod's way to the kernel is.

`make bench PYTEST_ARGS="-k follow"`, or `python -m tests.bench.bench_follow`; root.  A node of 250 pods in a cluster of
2,000 namespaces and 10,000 policies, with the scripted API server beside it on the same machine: the times are from the
server's answer to whoever makes a pod until the kernel tells of the pod's address.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.lab.followed import FOLLOWER_PIDS, Cluster, cluster, until

NODE = "worker1"
PODS, NAMESPACES, POLICIES = 250, 2_000, 10_000
EVENTS = 100
REST_SECONDS = 60.0
AIM_MIB = 40.0

_POLICY = """---
apiVersion: egressgateway.spidernet.io/v1beta1
kind: EgressPolicy
metadata: {{name: p{number}, namespace: {namespace}}}
spec:
  egressIP: {{ipv4: 10.6.1.6{last}}}
  appliedTo:
    podSelector: {{matchLabels: {{app: a{number}}}}}
"""


class Cost(NamedTuple):
    mebibytes: float
    at_rest_percent: float
    milliseconds: tuple[float, ...]
    """Of each event."""


def namespace(number: int) -> str:
    return f"team-{number % NAMESPACES:04}"


def policies(text: str) -> str:
    """With as many more."""
    more = (_POLICY.format(number=n, namespace=namespace(n), last=1 + n % 2) for n in range(POLICIES))
    return text + "".join(more)


def fill(one: Cluster) -> None:
    for number in range(NAMESPACES):
        one.api.do("add_namespace", name=namespace(number), labels={"team": str(number)})
    for number in range(PODS):
        add(one, number, 10 + number % 240, second=number // 240)


def add(one: Cluster, number: int, last: int, second: int = 0) -> None:
    """A pod that the API has; it does not run."""
    ips = [f"10.244.3.{last}"] if not second else [f"fd00:10:244:3::{number:x}"]
    labels = {"app": f"a{number}", "pod-template-hash": "6764bb48cc"}
    one.api.do("add_pod", namespace=namespace(number), name=f"app-{number}", node=NODE, ips=ips, labels=labels)


def way_to_the_kernel(one: Cluster) -> list[float]:
    """Milliseconds of each of EVENTS pods that come one after the other."""
    argv = ["nft", "monitor", "new", "elements"]
    found = []
    monitor = one.lab.popen(NODE, argv, stderr=subprocess.DEVNULL)
    try:
        assert monitor.stdout is not None
        time.sleep(1)  # until it listens
        for number in range(EVENTS):
            address = f"fd00:10:244:3::1:{number:x}"
            where = {"namespace": namespace(number), "name": f"late-{number}", "node": NODE}
            one.api.do("add_pod", **where, ips=[address], labels={"app": f"a{number}"})
            began = time.perf_counter()
            while not re.search(rf"governed_pods6 .*{re.escape(address)} ", monitor.stdout.readline()):
                continue
            found.append((time.perf_counter() - began) * 1000)
            time.sleep(0.05)
    finally:
        monitor.kill()
        monitor.wait()
    return found


def processor_seconds(one: Cluster, pid: str) -> float:
    words = one.nodes[NODE].run("cat", f"/proc/{pid}/stat").rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def measure(directory: Path) -> Cost:
    with cluster(directory / "example", f"bench-{os.getpid()}") as one:
        fill(one)
        one.apply(one.compiled("bundle", policies), NODE)
        until(lambda: one.status().get("governed") == PODS + 2, lambda: f"{one.status()}", seconds=120)
        node = one.nodes[NODE]
        pid = node.shell(FOLLOWER_PIDS).strip()
        milliseconds = way_to_the_kernel(one)
        before = processor_seconds(one, pid)
        time.sleep(REST_SECONDS)
        rest = (processor_seconds(one, pid) - before) / REST_SECONDS * 100
        kilobytes = int(node.shell(f"sed -n 's/^VmRSS:[^0-9]*\\([0-9]*\\) kB/\\1/p' /proc/{pid}/status"))
        return Cost(kilobytes / 1024, rest, tuple(milliseconds))


def show(cost: Cost) -> None:
    print(f"\n{PODS} pods, {NAMESPACES:,} namespaces, {POLICIES:,} policies\n")
    deciles = statistics.quantiles(cost.milliseconds, n=10)
    print("| | | aim |\n|---|--:|--:|")
    print(f"| memory | {cost.mebibytes:.1f} MiB | 40 MiB |")
    print(f"| processor at rest | {cost.at_rest_percent:.2f} % | 0.1 % |")
    print(f"| a pod to the kernel, p50 | {statistics.median(cost.milliseconds):.1f} ms | 20 ms |")
    print(f"| p90 | {deciles[-1]:.1f} ms | |")


@pytest.mark.lab
def test_following_needs_no_more_memory_than_a_node_can_spare(tmp_path: Path) -> None:
    cost = measure(tmp_path)
    show(cost)
    assert cost.mebibytes <= AIM_MIB


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as given:
        show(measure(Path(given)))
    sys.exit(0)
