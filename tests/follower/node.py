"""A lab whose worker1 follows its pods: the example with `membership: followed`, applied, and an API server for it."""

import contextlib
import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from egress_compiler.lab import Lab, ProbeTarget, build_topology, down, up
from tests.ansible.conftest import EXAMPLE, GATEWAYS, NODES, Node, compiled, node_files
from tests.gate.node import PodNode
from tests.gate.starter import Api

KUBECONFIG = "/etc/kubernetes/kubelet.conf"
WEB_EIPS, API_EIPS = ("10.6.1.61", "fd00:10:6:1::61"), ("10.6.1.62", "10.6.1.60")
NAMESPACES: dict[str, dict[str, str]] = {"shop": {}, "ops": {}, "payments": {"pci": "true"}, "kube-system": {}}


def followed_bundle(directory: Path, settings: str = "") -> Path:
    """The example's bundle where nodes follow their pods; ``settings`` are added."""
    directory.mkdir(exist_ok=True)
    text = (EXAMPLE / "settings.yaml").read_text() + "membership: followed\n" + settings
    (directory / "settings.yaml").write_text(text)
    return compiled(directory / "bundle", settings=directory / "settings.yaml")


def files_of(bundle: Path, node: str) -> dict[str, str]:
    """As the action plugin hands them over."""
    return {**node_files(bundle, node), "members.json": (bundle / "members.json").read_text()}


class FollowingLab:
    """worker1 follows its pods at ``api``; what is asked of it is asked of the kernel."""

    def __init__(self, lab: Lab, bundle: Path, api: Api) -> None:
        self.lab = lab
        self.bundle = bundle
        self.api = api
        self.node = Node(lab, "worker1")

    def say(self, what: str, **arguments: Any) -> Any:
        return self.api.do(what, **arguments)

    def elements(self, family: int = 4) -> dict[str, str]:
        """The sources that the kernel's table has for pods, each with its chain; none without a table."""
        listed = self.node.shell(f"nft -j list map inet egress_gateway governed_pods{family} 2>/dev/null || true")
        if not listed.strip():
            return {}
        (found,) = (entry["map"] for entry in json.loads(listed)["nftables"] if "map" in entry)
        return {element[0]: next(iter(element[1].values()))["target"] for element in found.get("elem", [])}

    def status(self) -> dict[str, Any]:
        """What the follower says of itself; nothing while there is none."""
        text = self.node.shell("cat /run/egress-gateway/follow.status 2>/dev/null || true")
        return {"synced": False, "reason": "", "governed": 0, **(json.loads(text) if text else {})}

    def follower(self) -> list[str]:
        """The process ids of followers on the node."""
        script = "pgrep --ns $$ --nslist net -f '[e]gress-gateway/agent[.]pyz follow' || true"
        return self.node.shell(script).split()

    def seen(self, pod: str, address: str) -> str | None:
        (result,) = self.lab.probe(pod, [ProbeTarget("udp", address)], timeout=1)
        return result.seen

    def until_no_follower(self) -> None:
        end = time.monotonic() + 30
        while self.follower():
            assert time.monotonic() < end
            time.sleep(0.05)

    def until(self, condition: Callable[[], Any], seconds: float = 30) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, (self.elements(), self.status())
            time.sleep(0.05)


@contextlib.contextmanager
def following_lab(name: str, directory: Path, settings: str = "") -> Iterator[FollowingLab]:
    bundle = followed_bundle(directory, settings)
    lab = up(build_topology([EXAMPLE / "cluster.json"]), name=name, gateways=GATEWAYS)
    try:
        pods = PodNode(lab, "worker1")
        pods.shell(f"mkdir -p $(dirname {KUBECONFIG})")
        with pods.api(Path(KUBECONFIG), directory / "control") as api:
            for namespace, labels in NAMESPACES.items():
                api.do("add_namespace", name=namespace, labels=labels)
            for node in NODES:
                done = Node(lab, node).apply(files_of(bundle, node), agent=node == "worker1")
                assert not done.get("failed"), done["msg"]
            yield FollowingLab(lab, bundle, api)
    finally:
        down(name)
        shutil.rmtree(directory / "bundle", ignore_errors=True)
