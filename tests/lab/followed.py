"""A lab whose nodes follow their pods, with the scripted API server in the controller, and an outside that notes down.

Each pod sends datagrams to a port of its own, as fast as it starts, in both families: so the outside's notes tell which
pod was seen with which address, also where addresses of pods are used again.
"""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from egress_compiler import bundle
from egress_compiler.lab import Lab, down, kill
from egress_compiler.lab.example import example_inputs, up_example
from egress_compiler.pipeline import compile_bundle
from tests.ansible.conftest import Node
from tests.lab.gateways import write_example

ROOT = Path(__file__).resolve().parents[2]
NODES = ("gw1", "gw2", "worker1", "worker2")
KUBECONFIG = "/etc/egress-follower/kubeconfig"
EIPS = {"one": ("10.6.1.61", "fd00:10:6:1::61"), "two": ("10.6.1.62", "fd00:10:6:1::62")}
"""By the label ``app`` in namespace drill."""
PCI = ("10.6.1.63", "fd00:10:6:1::63")
"""Of pods with the label ``app: card`` in namespaces with the label ``pci``."""
PATIENCE = 20.0
"""Seconds for what takes a few milliseconds, on machines that are busy."""
FOLLOWER_PIDS = "pgrep --ns $$ --nslist net -f '[e]gress-gateway/agent[.]pyz follow'"
_FIRST_PORT = 20000
_NAMESPACES: Mapping[str, Mapping[str, str]] = {"drill": {}, "card": {"pci": "true"}, "kube-system": {}}
_POLICY = """---
apiVersion: egressgateway.spidernet.io/v1beta1
kind: EgressClusterPolicy
metadata: {name: pci}
spec:
  egressGatewayName: internet
  egressIP: {ipv4: 10.6.1.63}
  appliedTo:
    podSelector: {matchLabels: {app: card}}
    namespaceSelector: {matchLabels: {pci: "true"}}
"""
_SETTINGS = """serviceCIDRs: [10.96.0.0/16, 'fd00:10:96::/112']
vrrp: {advertIntervalMs: 200}
membership: followed
follower: {kubeconfig: %s}
unknownPods: {blockedNodes: [worker1, worker2]}
"""
_TALK = """
import itertools, socket, sys, time
port = int(sys.argv[1])
targets = [(socket.AF_INET6 if ":" in a else socket.AF_INET, a) for a in sys.argv[2:]]
for family, address in itertools.cycle(targets):
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as own:  # a connection of its own each time
            own.sendto(b"x", (address, port))
    except OSError:
        pass  # refused, which is no leak
    time.sleep(0.005)
"""
_NOTES = """
table inet notes {
    set seen4 { type inet_service . ipv4_addr; size 65535; flags dynamic; }
    set seen6 { type inet_service . ipv6_addr; size 65535; flags dynamic; }
    chain input {
        type filter hook input priority 0;
        udp dport 20000-39999 add @seen4 { udp dport . ip saddr }
        udp dport 20000-39999 add @seen6 { udp dport . ip6 saddr }
    }
}
"""


class LabApi:
    """The scripted API server as a process of the lab's controller: methods of it by name."""

    def __init__(self, lab: Lab) -> None:
        self._socket = lab.state_dir / "api.sock"
        self._kubeconfig = lab.state_dir / "api.kubeconfig"
        words = [
            "--control",
            f"unix:{self._socket}",
            "--address",
            lab.topology.controller[0],
            "--port",
            "6443",
            "--tls",
        ]
        argv = [sys.executable, "-m", "tests.follow_api", *words, "--kubeconfig", str(self._kubeconfig)]
        self._process = lab.popen("controller", argv, stdin=subprocess.PIPE, env={"PYTHONPATH": str(ROOT)}, cwd=ROOT)
        assert self._process.stdout is not None
        assert self._process.stdout.readline(), "the API server starts"

    @property
    def kubeconfig(self) -> str:
        return self._kubeconfig.read_text(encoding="utf-8")

    def do(self, command: str, /, **arguments: Any) -> Any:
        with socket.socket(socket.AF_UNIX) as own:
            own.connect(str(self._socket))
            own.sendall(json.dumps({"do": command, **arguments}).encode() + b"\n")
            answer = json.loads(own.makefile("rb").readline())
        assert "error" not in answer, answer
        return answer["ok"]

    def close(self) -> None:
        kill(self._process)


@dataclass
class Talker:
    """A pod that runs and talks; ``port`` is its mark in the outside's notes."""

    host: str
    node: str
    addresses: tuple[str, ...]
    port: int
    process: "subprocess.Popen[str]"


@dataclass
class Cluster:
    """Pods are made of two halves: what runs, and what the API says of it."""

    lab: Lab
    api: LabApi
    nodes: Mapping[str, Node]
    directory: Path
    _ports: Iterator[int] = field(default_factory=lambda: count(_FIRST_PORT))

    # ------------------------------------------------------------------------------------------------------- bundles

    def compiled(self, name: str, change: Callable[[str], str] = lambda text: text) -> Path:
        """The example's bundle with its policies changed, with the numbers of those before; a directory beside it."""
        out = self.directory.parent / name
        policies = self.directory / "policies" / "policies.yaml"
        before = policies.read_text(encoding="utf-8")
        policies.write_text(change(before), encoding="utf-8")
        try:
            bundle.write(compile_bundle(example_inputs(self.directory)), out)
        finally:
            policies.write_text(before, encoding="utf-8")
        return out

    def apply(self, out: Path, *names: str, **arguments: Any) -> list[dict[str, Any]]:
        """The results, of all nodes or of these; none of them fails."""
        found = []
        for name in names or NODES:
            result = self.nodes[name].apply(files_of(out, name), agent=True, **arguments)
            assert not result.get("failed"), result["msg"]
            found.append(result)
        return found

    # ---------------------------------------------------------------------------------------------------------- pods

    def start(self, host: str, node: str, last: int) -> Talker:
        """A pod that runs, with addresses that end with this number: the API does not have it yet."""
        networks = (cidr.partition("/")[0] for cidr in self.lab.topology.node(node).pod_cidrs)
        addresses = [f"{network.removesuffix('0')}{last}" for network in networks]
        namespace, _, name = host.partition("/")
        self.lab = self.lab.add_pod(namespace, name, node, addresses)
        return self._talker(host)

    def _talker(self, host: str) -> Talker:
        pod, port, outside = self.lab.topology.pod(host), next(self._ports), self.lab.topology.outside
        argv = [sys.executable, "-I", "-S", "-c", _TALK, str(port), outside.far4[0], outside.far6[0]]
        process = self.lab.popen(host, argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return Talker(host, pod.node, pod.addresses, port, process)

    def tell(self, talker: Talker, labels: Mapping[str, str]) -> None:
        """The API has the pod, with these labels now."""
        namespace, _, name = talker.host.partition("/")
        ips = list(talker.addresses)
        self.api.do("add_pod", namespace=namespace, name=name, node=talker.node, ips=ips, labels=dict(labels))

    def forget(self, talker: Talker) -> None:
        """The API has it no more, if it had it."""
        namespace, _, name = talker.host.partition("/")
        there = {(one["metadata"]["namespace"], one["metadata"]["name"]) for one in self.api.do("objects", kind="Pod")}
        if (namespace, name) in there:
            self.api.do("delete_pod", namespace=namespace, name=name)

    def stop(self, talker: Talker) -> None:
        """It runs no more."""
        kill(talker.process)
        self.lab = self.lab.delete_pod(talker.host)

    # --------------------------------------------------------------------------------------------------------- notes

    def notes(self) -> dict[int, set[str]]:
        """By port the addresses that the outside has seen since they were last forgotten."""
        listing = self.lab.exec("outside", ["nft", "-j", "list", "table", "inet", "notes"]).stdout
        found: dict[int, set[str]] = {}
        for entry in json.loads(listing)["nftables"]:
            for element in entry.get("set", {}).get("elem", ()):
                port, address = element["concat"]
                found.setdefault(int(port), set()).add(str(address))
        return found

    def seen(self, talker: Talker) -> set[str]:
        return self.notes().get(talker.port, set())

    def renote(self) -> None:
        """Forgets what was noted."""
        self.lab.exec("outside", ["nft", "-f", "-"], stdin="flush set inet notes seen4\nflush set inet notes seen6\n")

    def until_seen(self, talker: Talker, *addresses: str, seconds: float = PATIENCE) -> None:
        """Until the pod is seen with all of these, since the notes were last forgotten."""

        def what() -> str:
            return f"{talker.host} is seen with {self.seen(talker)}"

        until(lambda: self.seen(talker) >= set(addresses), what, seconds)

    def until_only(self, talker: Talker, *addresses: str) -> None:
        """Until it is seen with these and no others for a moment; none: with none."""

        def settled() -> bool:
            self.renote()
            time.sleep(0.2)
            return self.seen(talker) == set(addresses)

        until(settled, lambda: f"{talker.host} is seen with {self.seen(talker)}, not {addresses}")

    # ------------------------------------------------------------------------------------------------------ follower

    def status(self, node: str = "worker1") -> dict[str, Any]:
        """What the follower says of itself; empty where it has not said anything."""
        text = self.nodes[node].shell("cat /run/egress-gateway/follow.status 2>/dev/null || true")
        found: dict[str, Any] = json.loads(text) if text else {}
        return found

    def until_synced(self, node: str = "worker1", seconds: float = PATIENCE) -> None:
        until(lambda: bool(self.status(node).get("synced")), lambda: f"the follower says {self.status(node)}", seconds)

    def signal_follower(self, name: str, node: str = "worker1") -> None:
        """It alone, not the agent that has started it."""
        self.nodes[node].shell(f"kill -{name} $({FOLLOWER_PIDS})")

    def ask(self, node: str, **request: Any) -> dict[str, Any]:
        """The follower's reply at its socket, as the gate's plugin asks there."""
        reply = self.lab.exec(node, [sys.executable, "-I", "-S", "-c", _ASK], stdin=json.dumps(request)).stdout
        found: dict[str, Any] = json.loads(reply)
        return found


_ASK = """
import socket, sys
own = socket.socket(socket.AF_UNIX)
own.settimeout(25)
own.connect("/run/egress-gateway/follow.sock")
own.sendall(sys.stdin.read().encode() + b"\\n")
print(own.makefile().readline())
"""


def until(condition: Callable[[], bool], what: Callable[[], str], seconds: float = PATIENCE) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, what()
        time.sleep(0.05)


def files_of(out: Path, node: str) -> dict[str, str]:
    """As the action plugins hand them over."""
    from ansible_collections.egress.gateway.plugins.plugin_utils.handover import node_files

    files: dict[str, str] = node_files(out, node)[0]
    return files


def write_followed(directory: Path) -> Path:
    """The drills' example and one policy more, on nodes that follow their pods and refuse those that nobody knows."""
    write_example(directory)
    objects = json.loads((directory / "cluster.json").read_text(encoding="utf-8"))
    objects["items"] += [
        {"kind": "Namespace", "metadata": {"name": name, "labels": labels}} for name, labels in _NAMESPACES.items()
    ]
    (directory / "cluster.json").write_text(json.dumps(objects), encoding="utf-8")
    with (directory / "policies" / "policies.yaml").open("a", encoding="utf-8") as policies:
        policies.write(_POLICY)
    (directory / "settings.yaml").write_text(_SETTINGS % KUBECONFIG, encoding="utf-8")
    return directory


@contextmanager
def cluster(directory: Path, name: str) -> Iterator[Cluster]:
    """Its lab, with nothing applied; the API has the namespaces and the example's pods."""
    lab = up_example(write_followed(directory), name)
    try:
        api = LabApi(lab)
        try:
            made = Cluster(lab, api, {node: Node(lab, node) for node in NODES}, directory)
            for namespace, labels in _NAMESPACES.items():
                api.do("add_namespace", name=namespace, labels=dict(labels))
            for pod in lab.topology.pods:
                app = pod.name.partition("-")[0]
                ips = list(pod.addresses)
                api.do("add_pod", namespace=pod.namespace, name=pod.name, node=pod.node, ips=ips, labels={"app": app})
            for node in NODES:
                lab.exec(node, ["mkdir", "-p", str(Path(KUBECONFIG).parent)])
                lab.exec(node, ["dd", f"of={KUBECONFIG}", "status=none"], stdin=api.kubeconfig)
            lab.exec("outside", ["nft", "-f", "-"], stdin=_NOTES)
            yield made
        finally:
            api.close()
    finally:
        down(name)
