"""The dual-stack example in a lab, its nodes following a scripted API server on worker1, and the gate there."""

import itertools
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from egress_compiler import bundle
from egress_compiler.lab import build_topology, down, up
from egress_compiler.pipeline import Inputs, compile_bundle
from tests.ansible.conftest import EXAMPLE, GATEWAYS, NODES, Node, node_files
from tests.gate.node import RANGES, PodNode
from tests.gate.starter import Api, Json, Pod

WORKER = "worker1"
EIP4, EIP6 = "10.6.1.61", "fd00:10:6:1::61"
"""Of the policy shop/web."""
LABELS = {"app": "web"}
SERVER = "203.0.113.10:7001"
_numbers = itertools.count()
NAMESPACES = {"shop": {"team": "shop"}, "payments": {"pci": "true"}, "ops": {}, "kube-system": {}}


@dataclass(frozen=True)
class GatedCluster:
    node: PodNode
    host: Node
    api: Api
    files: dict[str, str]

    def pod(self, name: str, namespace: str = "shop", wanted: str = EIP4, seconds: float = 5.0) -> Pod:
        return Pod(namespace, name, f"uid-{namespace}-{name}", SERVER, wanted, seconds)

    def announce(self, pod: Pod, *addresses: str, labels: dict[str, str] | None = None) -> None:
        """As a scheduler does, and with addresses as its kubelet does."""
        self.api.put(pod, WORKER, LABELS if labels is None else labels, addresses)

    def start(self, pod: Pod) -> Json:
        """Known to the API, and started; afterwards the API has its addresses."""
        self.announce(pod)
        found = self.node.start(pod)
        if "error" not in found:
            self.announce(pod, *found["addresses"])
        return found

    def start_at_last(self, pod: Pod) -> Json:
        """As often as it takes: the kubelet tries again, too."""
        found: Json = {"error": "never tried"}
        for _ in range(20):
            if "error" in found:
                found = self.start(pod)
        return found

    def stop(self, pod: Pod) -> None:
        """The container ends, and the API still has the pod until it is deleted there."""
        found = self.node.stop(pod)
        assert "error" not in found, found

    def delete(self, pod: Pod) -> None:
        self.api.delete(pod)

    def follower(self, signal: str) -> None:
        pids = "pgrep --ns $$ --nslist net -f '[a]gent[.]pyz follow'"
        self.host.shell(f"for pid in $({pids}); do kill -{signal} $pid; done")

    def governed(self) -> str:
        """The maps of pods, as nft lists them."""
        return "".join(self.host.run("nft", "list", "map", "inet", "egress_gateway", f"governed_pods{f}") for f in "46")


@contextmanager
def gated_cluster(
    directory: Path, gate: str = "", more: str = "", ranges: Sequence[str] = RANGES
) -> Iterator[GatedCluster]:
    """``gate`` are its settings, as YAML in braces; ``more`` are further settings."""
    kubeconfig, control = directory / "kubeconfig", directory / "control"
    settings = directory / "settings.yaml"
    said = f"podStart: gate\ngate: {gate}\n" if gate else ""
    follow = f"membership: followed\nfollower: {{kubeconfig: {kubeconfig}}}\n{said}{more}"
    settings.write_text((EXAMPLE / "settings.yaml").read_text() + follow)
    inputs = Inputs((EXAMPLE / "policies",), (EXAMPLE / "cluster.json",), settings=settings)
    compilation = compile_bundle(replace(inputs, lock=EXAMPLE / "egress.lock.json"))
    bundle.write_files(compilation, directory / "bundle")
    members = (directory / "bundle" / "members.json").read_text()
    name = f"gated-{os.getpid()}-{next(_numbers)}"
    lab = up(build_topology([EXAMPLE / "cluster.json"]), name=name, gateways=GATEWAYS)
    try:
        node = PodNode(lab, WORKER)
        node.configure(ranges=ranges)
        with node.api(kubeconfig, control) as api:
            for namespace, labels in NAMESPACES.items():
                api.do("add_namespace", name=namespace, labels=labels)
            files = {}
            for one in NODES:
                files = {**node_files(directory / "bundle", one), "members.json": members}
                done = Node(lab, one).apply(files, agent=True)
                assert not done.get("failed"), done["msg"]
            for gateway in GATEWAYS:
                Node(lab, gateway).signal_agent("CONT")
            files = {**node_files(directory / "bundle", WORKER), "members.json": members}
            cluster = GatedCluster(node, Node(lab, WORKER), api, files)
            _until_governed(cluster, control, bool(gate))
            yield cluster
    finally:
        down(name)


def order(control: Path, gate: bool, count: int, rate: float, seconds: float) -> Json:
    """For ``PodNode.many``: pods of shop/web that wait that long for their EIP."""
    pod = {"namespace": "shop", "target": SERVER, "wanted": EIP4, "seconds": seconds}
    return {"count": count, "rate": rate, "gate": gate, "labels": LABELS, "control": str(control), "pod": pod}


def _until_governed(cluster: GatedCluster, control: Path, gate: bool) -> None:
    """A first pod is seen with its EIP, as soon as a gateway has it."""
    for found in cluster.node.many(**order(control, gate, 1, 1, 30)):
        assert found.get("delay") is not None, found


def until(condition: Callable[[], object], seconds: float = 20) -> None:
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < seconds
        time.sleep(0.05)
