"""The gate on a node, as the collection brings it: in the runtime's list, kept there by the agent, and gone again."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.ansible.conftest import EXAMPLE, Node, compiled, node_files, objects

pytestmark = pytest.mark.lab

PATIENCE = 20.0
"""Seconds; it takes one, but machines that test are busy."""
CONF = "/etc/cni/net.d"
CALICO = """{
  "name": "k8s-pod-network",
  "cniVersion": "0.3.1",
  "plugins": [
    {"type": "calico"},
    {"type": "portmap", "snat": true}
  ]
}
"""
MULTUS = '{"cniVersion": "0.3.1", "name": "multus-cni-network", "type": "multus", "delegates": []}\n'
PROGRAM = "program /opt/cni/bin/egress-gate"
ENTRY = f"pod start gate in {CONF}/10-calico.conflist"


def gated(directory: Path, more: str = "") -> Path:
    """The example's bundle for nodes that follow their pods and hold their start."""
    settings = directory / "settings.yaml"
    text = (EXAMPLE / "settings.yaml").read_text() + "membership: followed\npodStart: gate\n" + more
    settings.write_text(text)
    return compiled(directory / "bundle", settings=settings)


def files_for(bundle: Path, node: str) -> dict[str, str]:
    return {**node_files(bundle, node), "members.json": (bundle / "members.json").read_text()}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return files_for(gated(tmp_path_factory.mktemp("gated")), "worker1")


@pytest.fixture
def node(worker: Node) -> Iterator[Node]:
    """Without any CNI's configuration."""
    yield worker
    worker.shell(f"rm -rf {CONF} /etc/cni/k3s")


def put(node: Node, name: str, text: str) -> None:
    """As daemons do: written beside it, and renamed."""
    node.lab.exec(
        node.name, ["sh", "-ec", f"mkdir -p {CONF}; cat >{CONF}/x.tmp; mv {CONF}/x.tmp {CONF}/{name}"], stdin=text
    )


def types(node: Node) -> list[str]:
    """Of the list that a runtime takes."""
    name = sorted(node.shell(f"ls {CONF} | grep -E '[.](conflist|conf|json)$'").split())[0]
    found = json.loads(node.run("cat", f"{CONF}/{name}"))
    return [plugin["type"] for plugin in found.get("plugins", [found])]


def of_gate(changes: list[dict[str, Any]]) -> list[str]:
    """The follower has no API here, and verify says so, too."""
    return [name for name in objects(changes) if name == PROGRAM or name.startswith("pod start gate")]


def until(condition: Callable[[], bool]) -> None:
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < PATIENCE
        time.sleep(0.1)


def test_it_comes_and_goes(node: Node, files: dict[str, str]) -> None:
    put(node, "10-calico.conflist", CALICO)
    before = node.state()

    predicted = node.apply(files, check=True)
    done = node.apply(files)

    assert not done.get("failed"), done["msg"]
    assert of_gate(done["changes"]) == [PROGRAM, ENTRY]
    assert of_gate(predicted["changes"]) == [PROGRAM, ENTRY]
    assert types(node) == ["calico", "portmap", "egress-gate"]
    assert of_gate(node.apply(files)["changes"]) == []
    assert of_gate(node.verify(files)) == []

    node.absent()
    assert node.run("cat", f"{CONF}/10-calico.conflist") == CALICO
    assert node.state() == before


def test_verify_names_it_and_apply_repairs_it(node: Node, files: dict[str, str]) -> None:
    put(node, "10-calico.conflist", CALICO)
    node.apply(files)
    put(node, "10-calico.conflist", CALICO)
    node.shell("echo >>/opt/cni/bin/egress-gate")

    assert of_gate(node.verify(files)) == [PROGRAM, ENTRY]
    assert of_gate(node.apply(files)["changes"]) == [PROGRAM, ENTRY]
    assert of_gate(node.verify(files)) == []


def test_the_agent_keeps_it(node: Node, files: dict[str, str]) -> None:
    """A CNI that is installed later, one that writes its list anew, and one that comes before it."""
    done = node.apply(files, agent=True)
    assert any("there is no CNI configuration" in warning for warning in map(str, done["warnings"]))

    for _ in range(2):
        put(node, "10-calico.conflist", CALICO)
        until(lambda: types(node) == ["calico", "portmap", "egress-gate"])
    put(node, "00-multus.conf", MULTUS)
    until(lambda: types(node) == ["multus", "egress-gate"])
    until(lambda: node.run("cat", f"{CONF}/10-calico.conflist") == CALICO)
    node.shell(f"rm {CONF}/00-multus.conf")
    until(lambda: types(node) == ["calico", "portmap", "egress-gate"])


def test_it_goes_with_the_setting(node: Node, files: dict[str, str], tmp_path: Path) -> None:
    put(node, "10-calico.conflist", CALICO)
    node.apply(files)
    settings = tmp_path / "settings.yaml"
    settings.write_text((EXAMPLE / "settings.yaml").read_text() + "membership: followed\n")
    ungated = files_for(compiled(tmp_path / "bundle", settings=settings), "worker1")

    done = node.apply(ungated)

    assert set(of_gate(done["changes"])) == {PROGRAM, ENTRY}
    assert node.run("cat", f"{CONF}/10-calico.conflist") == CALICO
    assert of_gate(node.verify(ungated)) == []


def test_other_directories(node: Node, tmp_path: Path) -> None:
    """Where the runtime has its own, as that of k3s."""
    more = "gate: {confDir: /etc/cni/k3s, binDir: /opt/cni/k3s, onTimeout: block}\n"
    files = files_for(gated(tmp_path, more), "worker1")
    node.shell(f"mkdir -p /etc/cni/k3s; cat >/etc/cni/k3s/10-flannel.conflist <<'END'\n{CALICO}END")

    assert not node.apply(files).get("failed")
    entry = json.loads(node.run("cat", "/etc/cni/k3s/10-flannel.conflist"))["plugins"][-1]
    assert (entry["type"], entry["onTimeout"]) == ("egress-gate", "block")
    node.run("test", "-x", "/opt/cni/k3s/egress-gate")

    node.absent()
    assert node.run("cat", "/etc/cni/k3s/10-flannel.conflist") == CALICO
    node.run("test", "!", "-e", "/opt/cni/k3s")
