"""The follower on a busy node of a large cluster: memory, rest, and the way of an event to the kernel.

Of the way two parts are told: until nft tells everybody that the table has it, and the processor's time for all that
comes with it.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from egress_compiler.lab import build_topology, down, kill, up
from tests.ansible.conftest import EXAMPLE, GATEWAYS, Node, compiled
from tests.follower.node import KUBECONFIG, FollowingLab, files_of
from tests.gate.node import PodNode

PODS, NAMESPACES, POLICIES = 250, 2_000, 10_000
EVENTS = 100
RESTS_SECONDS = 30.0
MOST_MIB, MOST_EVENT_MS, MOST_REST_PERCENT = 40.0, 20.0, 0.1
_TICKS = os.sysconf("SC_CLK_TCK")


def policies() -> Iterator[dict[str, Any]]:
    """A namespace has five, of which its pods meet one; a few are the cluster's."""
    for number in range(POLICIES):
        kind = "EgressClusterPolicy" if number % 1000 == 0 else "EgressPolicy"
        applied: dict[str, Any] = {"podSelector": {"matchLabels": {"app": f"app-{number // NAMESPACES}"}}}
        metadata = {"name": f"policy-{number}", "namespace": f"ns-{number % NAMESPACES}"}
        if kind == "EgressClusterPolicy":
            del metadata["namespace"]
            applied["namespaceSelector"] = {"matchLabels": {"team": f"t{number // 1000}"}}
        yield {
            "apiVersion": "egressgateway.spidernet.io/v1beta1",
            "kind": kind,
            "metadata": metadata,
            "spec": {
                "egressGatewayName": "internet",
                "appliedTo": applied,
                "destSubnet": [f"203.0.{number % 200}.0/24"],
            },
        }


def write_input(directory: Path) -> Path:
    """The bundle: nodes and gateways of the example, and all of these policies."""
    (directory / "policies").mkdir()
    gateways = (EXAMPLE / "policies/gateways.yaml").read_text()
    (directory / "policies/gateways.yaml").write_text(gateways)
    text = "---\n".join(yaml.dump(policy, Dumper=yaml.CSafeDumper) for policy in policies())
    (directory / "policies/all.yaml").write_text(text)
    cluster = json.loads((EXAMPLE / "cluster.json").read_text())
    kept = [item for item in cluster["items"] if item["kind"] not in ("Pod", "Namespace")]
    names = {"apiVersion": "v1", "kind": "Namespace"}
    kept += [{**names, "metadata": {"name": f"ns-{n}", "labels": labels(n)}} for n in range(NAMESPACES)]
    (directory / "cluster.json").write_text(json.dumps({**cluster, "items": kept}))
    (directory / "settings.yaml").write_text((EXAMPLE / "settings.yaml").read_text() + "membership: followed\n")
    return compiled(
        directory / "bundle",
        cluster=directory / "cluster.json",
        policies=directory / "policies",
        settings=directory / "settings.yaml",
    )


def labels(number: int) -> dict[str, str]:
    return {"team": f"t{number % 40}", "environment": "production", "cost-centre": f"{number % 100:04}"}


def put(lab: FollowingLab, number: int, app: int = 0) -> None:
    lab.say(
        "add_pod",
        namespace=f"ns-{number}",
        name=f"web-6764bb48cc-{number:05}",
        node="worker1",
        ips=[f"10.244.3.{number + 1}", f"fd00:10:244:3::{number + 1:x}"],
        labels={"app": f"app-{app}", "pod-template-hash": "6764bb48cc", "tier": "web"},
        padding=8_000,
    )


class Process:
    def __init__(self, lab: FollowingLab, pid: str) -> None:
        self._lab = lab
        self._pid = pid

    def mib(self, what: str) -> float:
        """VmRSS or VmHWM."""
        (line,) = self._lab.node.shell(f"grep ^{what}: /proc/{self._pid}/status").splitlines()
        return int(line.split()[1]) / 1024

    def seconds(self, children: bool = False) -> float:
        """Of the processor, so far; with those that it has waited for."""
        fields = self._lab.node.run("cat", f"/proc/{self._pid}/stat").rpartition(")")[2].split()
        return sum(map(int, fields[11:15] if children else fields[11:13])) / _TICKS


def events(lab: FollowingLab, agent: bool) -> list[float]:
    """Milliseconds from the API's change to what nft tells of it."""
    lab.node.signal_agent("CONT")
    if not agent:
        lab.node.shell("kill -STOP $(pgrep --ns $$ --nslist net -f 'egress-gateway/agent[.]pyz direct')")
    monitor = lab.lab.popen("worker1", ["nft", "monitor", "elements"])
    assert monitor.stdout is not None
    found = []
    try:
        time.sleep(1)
        for number in range(EVENTS):
            wanted = f" 10.244.3.{number + 1} : "
            begun = time.monotonic()
            put(lab, number, app=1 + number % 3)
            while wanted not in monitor.stdout.readline():
                continue
            found.append(1000 * (time.monotonic() - begun))
            time.sleep(0.05)
    finally:
        kill(monitor)
        lab.node.signal_agent("CONT")
    for number in range(EVENTS):
        put(lab, number)
    settled = f"policy.egp.ns-{EVENTS - 1}.policy-{EVENTS - 1}"
    lab.until(lambda: lab.elements()[f"10.244.3.{EVENTS}"] == settled)
    time.sleep(2)
    return found


def measure(directory: Path) -> dict[str, float]:
    bundle = write_input(directory)
    name = f"bench-{os.getpid()}"
    found: dict[str, float] = {"members.json": (bundle / "members.json").stat().st_size / 2**20}
    lab = up(build_topology([EXAMPLE / "cluster.json"]), name=name, gateways=GATEWAYS)
    try:
        node = PodNode(lab, "worker1")
        node.shell(f"mkdir -p $(dirname {KUBECONFIG})")
        with node.api(Path(KUBECONFIG), directory / "control") as api:
            following = FollowingLab(lab, bundle, api)
            for number in range(NAMESPACES):
                following.say("add_namespace", name=f"ns-{number}", labels=labels(number))
            for number in range(PODS):
                put(following, number)
            begun = time.monotonic()
            done = Node(lab, "worker1").apply(files_of(bundle, "worker1"), agent=True)
            assert not done.get("failed"), done["msg"]
            following.until(lambda: following.status().get("governed") == PODS, 120)
            found["first apply"] = time.monotonic() - begun
            found.update(of_process(following))
    finally:
        down(name)
    return found


def of_process(lab: FollowingLab) -> dict[str, float]:
    (pid,) = lab.follower()
    process = Process(lab, pid)
    found = {"VmHWM after start": process.mib("VmHWM")}
    for agent in (False, True):
        begun = process.seconds(children=True)
        times = events(lab, agent)
        said = "with the agent awake" if agent else "alone"
        found[f"event p50, {said}"] = statistics.median(times)
        found[f"event p99, {said}"] = statistics.quantiles(times, n=100)[98]
        lab.until(lambda: not lab.node.shell("ls /run/egress-gateway | grep changing || true"))
        found[f"CPU an event, {said}"] = 1000 * (process.seconds(children=True) - begun) / (2 * EVENTS)
    time.sleep(5)
    begun = process.seconds()
    time.sleep(RESTS_SECONDS)
    found["CPU at rest"] = 100 * (process.seconds() - begun) / RESTS_SECONDS
    found["VmRSS"] = process.mib("VmRSS")
    found["VmHWM"] = process.mib("VmHWM")
    return found


UNITS = {"members.json": "MiB", "first apply": "s", "CPU at rest": "%"}


def report(found: dict[str, float]) -> None:
    sys.stdout.write(f"{PODS} pods, {NAMESPACES} namespaces, {POLICIES} policies\n")
    for name, value in found.items():
        unit = UNITS.get(name, "MiB" if name.startswith("Vm") else "ms")
        sys.stdout.write(f"| {name} | {value:.2f} {unit} |\n")
    sys.stdout.flush()


def test_follow() -> None:
    with tempfile.TemporaryDirectory() as directory:
        found = measure(Path(directory))
    report(found)
    assert found["VmRSS"] < MOST_MIB
    assert found["CPU at rest"] < MOST_REST_PERCENT
    assert found["event p50, alone"] < MOST_EVENT_MS
