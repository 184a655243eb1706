"""What a run of apply costs that finds nothing to do, beside ansible.builtin.ping, over 20 nodes of a lab.

`make bench`, or `python tests/bench/bench_noop.py [NODES [RUNS]]`; root. All nodes share this machine's processors, so
the times are those of all the work: the controller's, sshd's and the modules'.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest
import yaml

from egress_compiler import bundle
from egress_compiler.lab import Lab, build_topology, down, up
from egress_compiler.pipeline import Inputs, compile_bundle

ROOT = Path(__file__).resolve().parents[2]
NODES, RUNS = 20, 5
LIMIT = 1.5
EACH = 3
"""Tasks in a run, so that what starts and ends ansible-playbook counts for less."""
POLICIES = """\
apiVersion: egressgateway.spidernet.io/v1beta1
kind: EgressGateway
metadata: {name: internet}
spec:
  ippools: {ipv4: [10.6.1.200-10.6.1.209]}
  nodeSelector: {selector: {matchLabels: {egress: "true"}}}
---
apiVersion: egressgateway.spidernet.io/v1beta1
kind: EgressPolicy
metadata: {name: web, namespace: shop}
spec:
  egressGatewayName: internet
  appliedTo: {podSelector: {matchLabels: {app: web}}}
"""


def cluster(nodes: int) -> list[dict[str, Any]]:
    """Two gateways and workers, with a governed pod on each."""
    found: list[dict[str, Any]] = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}},
        {"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": "s"}}
        | {"spec": {"cidrs": ["10.96.0.0/16"]}},
    ]
    for number in range(1, nodes + 1):
        labels = {"egress": "true"} if number <= 2 else {}
        address = [{"type": "InternalIP", "address": f"10.6.1.{number + 10}"}]
        spec = {"podCIDR": f"10.244.{number}.0/24", "podCIDRs": [f"10.244.{number}.0/24"]}
        node = {
            "metadata": {"name": f"node{number:02}", "labels": labels},
            "spec": spec,
            "status": {"addresses": address},
        }
        status = {"phase": "Running", "podIP": f"10.244.{number}.10", "podIPs": [{"ip": f"10.244.{number}.10"}]}
        name = {"name": f"web-{number}", "namespace": "shop", "labels": {"app": "web"}}
        pod = {"metadata": name, "spec": {"nodeName": f"node{number:02}"}, "status": status}
        found += [{"apiVersion": "v1", "kind": "Node"} | node, {"apiVersion": "v1", "kind": "Pod"} | pod]
    return found


class Bench:
    """A lab whose nodes have their bundle, and timed runs over all of them."""

    def __init__(self, directory: Path, lab: Lab, out: Path) -> None:
        self._directory = directory
        self._lab = lab
        self._out = out

    def seconds(self, *tasks: dict[str, Any]) -> float:
        play = {"hosts": "all", "gather_facts": False, "become": False, "tasks": list(tasks)}
        (self._directory / "play.yml").write_text(yaml.safe_dump([play]), encoding="utf-8")
        program = str(Path(sys.executable).with_name("ansible-playbook"))
        command = [program, "-i", str(self._lab.inventory), str(self._directory / "play.yml")]
        environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
        began = perf_counter()
        done = self._lab.exec("controller", command, env=environment, cwd=ROOT, timeout=280, check=False)
        took = perf_counter() - began
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        self.output = done.stdout
        return took

    @property
    def apply(self) -> dict[str, Any]:
        return {"egress.gateway.apply": {"bundle": str(self._out), "service_manager": "direct"}}


PING: dict[str, Any] = {"ansible.builtin.ping": {}}


def measure(nodes: int = NODES, runs: int = RUNS) -> tuple[float, float, float]:
    """Median seconds of a run without tasks, with pings and with idle applies."""
    name = f"bench-{os.getpid()}"
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary)
        (directory / "policies.yaml").write_text(POLICIES, encoding="utf-8")
        (directory / "cluster.json").write_text(
            json.dumps({"apiVersion": "v1", "kind": "List", "items": cluster(nodes)}), encoding="utf-8"
        )
        compilation = compile_bundle(Inputs((directory / "policies.yaml",), (directory / "cluster.json",)))
        bundle.write_files(compilation, directory / "bundle")
        lab = up(build_topology([directory / "cluster.json"], extra_addresses=["10.6.1.200-10.6.1.209"]), name=name)
        try:
            bench = Bench(directory, lab, directory / "bundle")
            bench.seconds(bench.apply)
            times = [
                (bench.seconds(), bench.seconds(*[PING] * EACH), bench.seconds(*[bench.apply] * EACH))
                for _ in range(runs)
            ]
            assert "changed=0" in bench.output
            assert "changed=1" not in bench.output
        finally:
            down(name)
    nothing, ping, apply = (statistics.median(column) for column in zip(*times, strict=True))
    return nothing, ping, apply


def report(nodes: int, nothing: float, ping: float, apply: float) -> float:
    """Prints the figures; the ratio of the tasks themselves."""
    a_ping, an_apply = ((total - nothing) / EACH / nodes * 1000 for total in (ping, apply))
    print(f"\n{nodes} nodes, {os.cpu_count()} processors, {EACH} tasks a run")
    print(f"a run with pings {ping:.2f} s, with idle applies {apply:.2f} s: {apply / ping:.2f} times")
    print(f"a ping {a_ping:.0f} ms a node, an idle apply {an_apply:.0f} ms: {an_apply / a_ping:.2f} times")
    return an_apply / a_ping


@pytest.mark.lab
def test_noop() -> None:
    nothing, ping, apply = measure()
    assert report(NODES, nothing, ping, apply) < LIMIT


if __name__ == "__main__":
    arguments = [int(argument) for argument in sys.argv[1:]]
    count = arguments[0] if arguments else NODES
    report(count, *measure(count, *arguments[1:]))
