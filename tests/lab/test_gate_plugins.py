"""The gate behind real CNI plugins, called as a container runtime calls them; the follower is the test's."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from egress_compiler.lab import Lab, build_topology, down, up
from tests.gate.follower import FakeFollower, Request
from tests.gate.node import PodNode
from tests.gate.plugin import PLUGIN
from tests.gate.starter import Pod

pytestmark = pytest.mark.lab

EXAMPLE = Path(__file__).parents[2] / "examples" / "dual-stack-ha" / "cluster.json"
POD = Pod("shop", "web-1", "uid-1")
KINDS = [("ptp", "0.3.1"), ("ptp", "0.4.0"), ("ptp", "1.0.0"), ("bridge", "0.4.0"), ("bridge", "1.0.0")]


class GatedNode(PodNode):
    """worker1 of the lab, with our plugin beside Debian's, and nothing else of ours."""

    def __init__(self, lab: Lab, directory: Path) -> None:
        super().__init__(lab, "worker1")
        self.socket = directory / "follow.sock"
        self.spool = directory / "spool"
        self.write("/opt/cni/bin/egress-gate", "#!/usr/bin/python3 -IS\n" + PLUGIN.read_text(), 0o755)

    def gated(self, plugin: str = "ptp", version: str = "1.0.0", on_timeout: str = "fail") -> None:
        self.configure(
            plugin,
            version,
            socket=str(self.socket),
            spool=str(self.spool),
            timeoutSeconds=1,
            onTimeout=on_timeout,
        )


@pytest.fixture(scope="module")
def gated_lab(lab_means: None) -> Iterator[Lab]:
    name = f"gate-{os.getpid()}"
    yield up(build_topology([EXAMPLE]), name=name)
    down(name)


@pytest.fixture
def node(gated_lab: Lab, tmp_path: Path) -> GatedNode:
    return GatedNode(gated_lab, tmp_path)


@pytest.fixture
def follower(node: GatedNode) -> Iterator[FakeFollower]:
    with FakeFollower(node.socket) as follower:
        yield follower


@pytest.mark.parametrize(("plugin", "version"), KINDS)
def test_a_pod_comes_and_goes(node: GatedNode, follower: FakeFollower, plugin: str, version: str) -> None:
    node.gated(plugin, version)

    started = node.start(POD)

    assert "error" not in started
    assert list(started["times"]) == [plugin, "egress-gate"]
    assert len(started["addresses"]) == 2
    told = {"container": "shop.web-1", "addresses": sorted(started["addresses"])}
    add = {"do": "add", "namespace": "shop", "name": "web-1", "uid": "uid-1", **told}
    assert follower.requests == [add]
    if version != "0.3.1":
        assert node.check(POD) == {"pod": "web-1"}
        assert follower.requests[1:] == [{"do": "check", **told}]
        follower.requests.pop()
    assert node.stop(POD) == {"pod": "web-1"}
    assert follower.requests[1:] == [{"do": "delete", **(told if version != "0.3.1" else {**told, "addresses": []})}]
    assert node.stop(POD) == {"pod": "web-1"}  # a runtime asks again


def test_a_pod_that_fails_gives_its_address_back(node: GatedNode, follower: FakeFollower) -> None:
    """As often as the kubelet tries."""
    node.gated()
    follower.answer = lambda request: b'{"ok":false,"reason":"who?"}\n' if request["do"] == "add" else b'{"ok":true}\n'

    for _ in range(3):
        started = node.start(POD)
        assert "the pod is not known yet" in started["error"]
        assert '"code": 11' in started["error"]

    assert [request["do"] for request in follower.requests] == ["add", "delete"] * 3
    assert node.shell("ls /run/cni-ipam/test | grep -v -e last -e lock || true") == ""


def test_a_pod_waits_for_the_follower(node: GatedNode) -> None:
    """One that is started again, as the agent does, answers the pod that waits."""
    node.configure(socket=str(node.socket), spool=str(node.spool), timeoutSeconds=30)
    requests: list[Request] = []

    def end(request: Request) -> bytes:
        requests.append(request)
        return b""

    with node.begin(POD) as starting:
        with FakeFollower(node.socket, end):
            while not requests:
                assert starting.poll() is None
        with FakeFollower(node.socket) as follower:
            assert starting.wait(30) == 0
            assert [request["do"] for request in follower.requests] == ["add"]
            node.stop(POD)
