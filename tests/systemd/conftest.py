"""A small cluster of real systems for each release: two gateways and a worker that systemd boots, reached over SSH."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]  # it ships no types

from egress_compiler.lab import Lab, LabError, NodeState, build_topology, down, sshd, up
from tests.ansible.conftest import EXAMPLE, GATEWAYS, ROOT, compiled, playbook
from tests.ansible.leaks import until_governed
from tests.ansible.test_playbooks import tallies
from tests.conftest import lab_obstacle
from tests.systemd import containers, trees

NODES = (*GATEWAYS, "worker1")
PROGRAMS = {"debootstrap": "debootstrap", "systemd-nspawn": "systemd-container"}


EVERY_RELEASE = pytest.mark.parametrize("cluster", trees.RELEASES, indirect=True)
ONE_RELEASE = pytest.mark.parametrize("cluster", ["trixie"], indirect=True)


_NUMBERS = re.compile(r"^\d+: |@if\d+| link-netnsid \d+|^33:33:.*\n", re.MULTILINE)
"""What a kernel numbers anew, and the multicast groups that it joins by and by."""


@dataclass
class Cluster:
    """A lab whose nodes are containers, and the bundle that is meant for it."""

    lab: Lab
    input: Path
    """The cluster that it is compiled from."""
    bundle: Path
    before: dict[str, NodeState]
    """The nodes as they were when they had booted for the first time."""

    def playbook(self, name: str, *arguments: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        return playbook(self.lab, name, "-e", f"egress_bundle={self.bundle}", *arguments, check=check)

    def module(self, node: str, module: str, arguments: str) -> None:
        """One task on one node, over SSH."""
        command = [
            "ansible",
            "-i",
            str(self.lab.inventory),
            node,
            "-b",
            "-m",
            f"egress.gateway.{module}",
            "-a",
            arguments,
        ]
        environment = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/usr/sbin", "PYTHONPATH": str(ROOT)}
        self.lab.exec("controller", command, env=environment, cwd=ROOT, timeout=120)

    def changed(self, name: str, *arguments: str) -> dict[str, int]:
        """Runs a playbook and returns how many of its tasks changed something, by host."""
        output = self.playbook(name, *arguments).stdout
        return {host: number for host, number in tallies(output).items() if host in NODES}

    def shell(self, node: str, script: str, *, check: bool = True) -> str:
        return self.lab.exec(node, ["sh", "-ec", script], check=check, timeout=60).stdout

    def state(self, node: str) -> NodeState:
        """What a reboot does not change."""
        found = self.lab.snapshot_node(node)
        return NodeState(node, {subject: _NUMBERS.sub("", text) for subject, text in found.sections.items()})

    def until_verified(self, seconds: float = 45) -> None:
        """Until the playbook finds no drift on any node; what it finds at the end is the failure."""
        limit = time.monotonic() + seconds
        while (done := self.playbook("verify", check=False)).returncode != 0:
            assert time.monotonic() < limit, done.stdout[-6000:]

    def reboot(self, node: str) -> None:
        """Orderly: systemd stops everything, and the kernel forgets what it knew."""
        self.lab.exec(node, ["systemctl", "poweroff"])
        limit = time.monotonic() + 60
        while self._runs(node):
            assert time.monotonic() < limit, f"{node} does not shut down"
            time.sleep(0.05)
        self.cut_power(node)

    def _runs(self, node: str) -> bool:
        try:
            return bool(sshd.first_process(self.lab.name, node))
        except LabError:
            return False

    def cut_power(self, node: str) -> None:
        """The node is dead at once; then it boots."""
        self.lab.poweroff(node)
        self.lab.power_on(node)


class ByRelease(LoadScopeScheduling):  # type: ignore[misc]  # xdist's has no types
    """Workers of xdist take whole releases, as the nodes of one boot once for all its tests."""

    def _split_scope(self, nodeid: str) -> str:
        return next((name for name in trees.RELEASES if nodeid.endswith(f"{name}]")), nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByRelease:
    return ByRelease(config, log)


# trylast: after -m and -k have deselected.
@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the ring with the reason where it cannot run; with EGRESS_REQUIRE_LAB=1 a missing program ends the run."""
    ours = [item for item in items if item.get_closest_marker("systemd")]
    missing = _missing() if ours and lab_obstacle() is None else None
    if missing and os.environ.get("EGRESS_REQUIRE_LAB") == "1":
        pytest.exit(f"EGRESS_REQUIRE_LAB=1, but {len(ours)} systemd tests cannot run here: {missing}", returncode=1)
    obstacle = (lab_obstacle() or missing or containers.obstacle()) if ours else None
    for item in ours if obstacle else ():
        item.add_marker(pytest.mark.skip(reason=f"systemd: {obstacle}"))


@cache
def _missing() -> str | None:
    search = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
    missing = [package for program, package in PROGRAMS.items() if shutil.which(program, path=search) is None]
    return f"needs the packages {', '.join(missing)}" if missing else None


@pytest.fixture(scope="session")
def small_cluster(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example without its second worker."""
    path = tmp_path_factory.mktemp("cluster") / "cluster.json"
    exported = json.loads((EXAMPLE / "cluster.json").read_text(encoding="utf-8"))
    exported["items"] = [item for item in exported["items"] if not _is_gone(item)]
    path.write_text(json.dumps(exported), encoding="utf-8")
    return path


def _is_gone(item: Mapping[str, Any]) -> bool:
    return "worker2" in (item["metadata"]["name"], item.get("spec", {}).get("nodeName"))


@pytest.fixture(scope="session")
def cluster(
    request: pytest.FixtureRequest, small_cluster: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """Of the release that the test is parametrized with; its tests share it. Nothing is applied at first."""
    name = f"systemd-{os.getpid()}-{request.param}"
    try:
        tree = trees.tree(request.param)
    except trees.Unreachable as error:
        pytest.skip(f"systemd: {error}")
    bundle = compiled(tmp_path_factory.mktemp(request.param) / "bundle", cluster=small_cluster)
    try:
        machine = containers.containers(tree)
        lab = up(build_topology([small_cluster]), name=name, gateways=GATEWAYS, machine=machine)
        found = Cluster(lab, small_cluster, bundle, {})
        found.before |= {node: found.state(node) for node in NODES}
        yield found
    finally:
        down(name)
        containers.remove_control_groups(name)


@pytest.fixture
def governed(cluster: Cluster) -> Cluster:
    """With the bundle on every node, and the pod seen with its EIPs."""
    if "egress_gateway" not in cluster.shell("worker1", "nft list tables"):
        cluster.playbook("apply")
    until_governed(cluster.lab)
    return cluster


def nothing_failed(cluster: Cluster) -> None:
    """No unit of any node has failed, others' either."""
    for node in NODES:
        assert cluster.shell(node, "systemctl list-units --failed --no-legend --plain") == ""
