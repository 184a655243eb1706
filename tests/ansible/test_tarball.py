"""Wheel and collection built, installed where there is no source tree, and used by their documentation alone."""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from egress_compiler.lab import Lab, ProbeTarget
from tests.ansible.conftest import COLLECTIONS, EXAMPLE, NODES, ROOT, Node
from tests.ansible.test_playbooks import tallies
from tests.lab.by_hand import wait_for

pytestmark = pytest.mark.lab

POD = "shop/web-5d8f7c9b6d-4kq2x"
INVENTORY = """\
plugin: egress.gateway.cluster
cluster: [cluster.json]
policies: [policies]
bundle: bundle
against: applied.json
"""


@dataclass(frozen=True)
class Controller:
    """A directory of one's own on a machine that has only what was installed."""

    lab: Lab
    directory: Path
    programs: Path

    def run(self, tool: str, *arguments: str, status: int = 0) -> str:
        done = self.lab.exec(
            "controller",
            [str(self.programs / tool), *arguments],
            env={
                "PATH": f"{self.programs}:/usr/bin:/bin:/usr/sbin:/sbin",
                "ANSIBLE_CONFIG": str(self.directory / "ansible.cfg"),
                "ANSIBLE_COLLECTIONS_PATH": str(self.directory.parent / "collections"),
                "ANSIBLE_HOME": str(self.directory.parent / "ansible-home"),
                "ANSIBLE_NOCOLOR": "1",
                "PYTHONPATH": "",
                "PYTHONNOUSERSITE": "1",
                "COLUMNS": "1000",
            },
            cwd=self.directory,
            check=False,
            timeout=180,
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout

    def playbook(self, name: str, *arguments: str, status: int = 0) -> str:
        return self.run("ansible-playbook", "-i", "nodes.yml", f"egress.gateway.{name}", *arguments, status=status)

    def compile(self) -> str:
        inputs = ["-p", "policies", "-c", "cluster.json", "-s", "settings.yaml", "-i", "nodes.yml", "-l", "lock.json"]
        return self.run("egress-compiler", "compile", *inputs, "--out", "bundle")

    def changed(self, output: str) -> list[str]:
        return sorted(host for host, number in tallies(output).items() if number)


def build(directory: Path) -> Path:
    """A virtual environment with the wheel and this one's third-party packages, and the collection; its programs."""
    tools = Path(sys.executable).parent
    environment = {**os.environ, "ANSIBLE_HOME": str(directory / "ansible-home")}

    def run(*command: str | Path, cwd: Path = ROOT) -> None:
        words = [str(word) for word in command]
        done = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr

    run(tools / "hatchling", "build", "-t", "wheel", "-d", directory)
    collection = COLLECTIONS / "ansible_collections/egress/gateway"
    run(tools / "ansible-galaxy", "collection", "build", "--output-path", directory, cwd=collection)
    (tarball,) = directory.glob("*.tar.gz")
    install = ["collection", "install", str(tarball), "-p", str(directory / "collections"), "--offline", "--force"]
    run(tools / "ansible-galaxy", *install)
    run(sys.executable, "-m", "venv", "--without-pip", directory / "venv")
    (packages,) = (directory / "venv/lib").glob("python*/site-packages")
    # No .pth file of the directory named here is read, so the editable install of the source tree is not found.
    (packages / "others.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    (wheel,) = directory.glob("*.whl")
    run(sys.executable, "-m", "pip", "-q", "--python", directory / "venv/bin/python", "install", "--no-deps", wheel)
    for tool in ("ansible-playbook", "ansible-inventory", "ansible-doc"):
        script = (tools / tool).read_text(encoding="utf-8").split("\n", 1)[1]
        (directory / "venv/bin" / tool).write_text(f"#!{directory}/venv/bin/python\n{script}", encoding="utf-8")
        (directory / "venv/bin" / tool).chmod(0o755)
    return directory / "venv/bin"


@pytest.fixture
def controller(lab: Lab, tmp_path: Path) -> Iterator[Controller]:
    programs = build(tmp_path)
    directory = tmp_path / "work"
    (directory / "group_vars").mkdir(parents=True)
    shutil.copytree(EXAMPLE / "policies", directory / "policies")
    for name in ("cluster.json", "settings.yaml"):
        shutil.copy(EXAMPLE / name, directory)
    shutil.copy(EXAMPLE / "egress.lock.json", directory / "lock.json")
    (directory / "ansible.cfg").write_text("[ssh_connection]\npipelining = true\n", encoding="utf-8")
    (directory / "nodes.yml").write_text(INVENTORY, encoding="utf-8")
    variables = yaml.safe_load(lab.inventory.read_text(encoding="utf-8"))["all"]["vars"]
    (directory / "group_vars/all.yml").write_text(yaml.safe_dump(variables), encoding="utf-8")
    yield Controller(lab, directory, programs)
    for node in reversed(NODES):
        Node(lab, node).absent()


def edit(directory: Path, pod: str) -> None:
    """Takes a pod out of the cluster."""
    data: Any = json.loads((directory / "cluster.json").read_text(encoding="utf-8"))
    data["items"] = [o for o in data["items"] if f"{o['metadata'].get('namespace')}/{o['metadata']['name']}" != pod]
    (directory / "cluster.json").write_text(json.dumps(data), encoding="utf-8")


def test_from_the_tarball_to_the_nodes_and_away(controller: Controller) -> None:
    lab, directory = controller.lab, controller.directory
    before = {node: lab.snapshot_node(node) for node in NODES}

    where = controller.run("python", "-c", "import egress_compiler; print(egress_compiler.__file__)")
    assert where.startswith(str(controller.programs.parent)), "not the source tree"
    found = json.loads(controller.run("ansible-doc", "--json", "egress.gateway.apply"))
    assert found["egress.gateway.apply"]["doc"]["filename"].startswith(str(directory.parent / "collections"))
    controller.playbook("facts")
    assert (directory / "host_vars/worker1/egress.yml").exists()
    controller.compile()
    controller.playbook("apply", "--check", "--diff")
    assert all(before[node].diff(lab.snapshot_node(node)) == "" for node in NODES), "check mode touches nothing"
    assert controller.changed(controller.playbook("apply")) == list(NODES)
    assert controller.changed(controller.playbook("apply")) == []
    controller.playbook("verify")

    shutil.copytree(directory / "bundle", directory / "applied.json")
    edit(directory, POD)
    controller.compile()
    second = controller.playbook("apply", "-e", "egress_only_changed=true")
    assert controller.changed(second) == ["worker1"], "its node alone"
    assert "worker2" not in tallies(second), "nobody else is asked"

    for name in ("worker2", "gw1"):
        Node(lab, name).signal_agent("STOP")  # it would have it back by the time of the next task
    Node(lab, "worker2").shell("ip rule delete preference 99")
    Node(lab, "gw1").shell("nft delete element inet egress_gateway eips4 '{ 10.6.1.60 }'")
    drift = controller.playbook("verify", status=2)
    assert re.search(r"fatal: \[worker2\].*?rule ipv4 preference 99", drift, re.DOTALL)
    assert re.search(r"fatal: \[gw1\].*?element 10.6.1.60 of set eips4", drift, re.DOTALL)
    assert controller.changed(controller.playbook("apply")) == ["gw1", "worker2"]

    back = ["-e", f"egress_bundle={directory / 'applied.json'}"]
    assert controller.changed(controller.playbook("apply", *back)) == ["worker1"], "rolled back"
    wait_for(
        lambda: lab.probe(POD, [ProbeTarget("tcp", lab.topology.outside.far4[0])])[0].seen == "10.6.1.61",
        "the pod to leave with its EIP again",
    )

    assert controller.changed(controller.playbook("absent")) == list(NODES)
    for node in NODES:
        assert before[node].diff(lab.snapshot_node(node)) == ""
