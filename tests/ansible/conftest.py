"""A lab with a compiled example, and the collection's modules run in its nodes as Ansible would run them."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from egress_compiler import bundle
from egress_compiler.lab import Lab, NodeState, build_topology, down, up
from egress_compiler.lab.example import example_inputs
from egress_compiler.load.inventory import find_collections
from egress_compiler.pipeline import Inputs, compile_bundle

ROOT = Path(__file__).resolve().parents[2]
COLLECTIONS = ROOT / "collections"
EXAMPLE = ROOT / "examples" / "dual-stack-ha"
GATEWAYS = ("gw1", "gw2")
NODES = ("gw1", "gw2", "worker1", "worker2")

# ansible_collections.egress.gateway, for pack() and for unit-like looks inside, by Ansible's own loader from the start:
# it refuses what was imported without it as soon as a test has had an inventory read in this process.
find_collections()


@dataclass(frozen=True)
class Node:
    """A lab node and the modules of the collection on it."""

    lab: Lab
    name: str

    def module(self, module: str, *, check: bool = False, diff: bool = False, **arguments: Any) -> dict[str, Any]:
        """A module's result. Its arguments arrive as Ansible's module wrapper passes them."""
        arguments |= {"_ansible_check_mode": check, "_ansible_diff": diff, "_ansible_remote_tmp": "/run/ansible"}
        done = self.lab.exec(
            self.name,
            [sys.executable, "-m", f"ansible_collections.egress.gateway.plugins.modules.{module}"],
            stdin=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}),
            env={"PYTHONPATH": str(COLLECTIONS)},
            check=False,
            timeout=120,
        )
        assert done.stdout.strip().startswith("{"), (done.stdout + done.stderr)[-2000:]
        result: dict[str, Any] = json.loads(done.stdout)
        return result

    def apply(self, files: dict[str, str], *, agent: bool = False, **arguments: Any) -> dict[str, Any]:
        """Without ``agent`` the node's agent is there and does nothing, so that what a test plants stays."""
        result = self.module("apply", payload=packed(files), service_manager="direct", **arguments)
        self.signal_agent("CONT" if agent else "STOP")
        return result

    def signal_agent(self, signal: str) -> None:
        """A command of the agent's that ends meanwhile is none of it."""
        pids = "pgrep --ns $$ --nslist net -f '[e]gress-gateway/agent[.]pyz'"
        self.shell(f"for pid in $({pids}); do kill -{signal} $pid || true; done")

    def absent(self, **arguments: Any) -> dict[str, Any]:
        return self.module("apply", state="absent", service_manager="direct", **arguments)

    def verify(self, files: dict[str, str] | None = None) -> list[dict[str, Any]]:
        """The drift, with or without a bundle to compare with."""
        given: dict[str, Any] = {} if files is None else {"payload": packed(files)}
        given |= {"service_manager": "direct", "fail_on_drift": False, "probe_owners": False}
        result = self.module("verify", **given)
        assert not result.get("failed"), result["msg"]
        drift: list[dict[str, Any]] = result["drift"]
        return drift

    def run(self, *argv: str) -> str:
        return self.lab.exec(self.name, argv).stdout

    def shell(self, script: str) -> str:
        return self.run("sh", "-ec", script)

    def await_address(self, address: str) -> None:
        """Until keepalived has put it on a device."""
        self.shell(f"for i in $(seq 100); do ip address | grep -q ' {address}/' && exit 0; sleep 0.1; done; exit 1")

    def state(self) -> NodeState:
        return self.lab.snapshot_node(self.name)


def packed(files: dict[str, str]) -> str:
    from ansible_collections.egress.gateway.plugins.module_utils.bundle import pack

    text: str = pack(files)
    return text


def compiled(
    out: Path,
    *,
    cluster: Path = EXAMPLE / "cluster.json",
    policies: Path = EXAMPLE / "policies",
    settings: Path = EXAMPLE / "settings.yaml",
    lock: Path = EXAMPLE / "egress.lock.json",
) -> Path:
    """The example's bundle in a directory; its lock file is written beside it."""
    beside = out.with_suffix(".lock.json")
    shutil.copy(lock, beside)
    bundle.write(compile_bundle(Inputs((policies,), (cluster,), settings=settings, lock=beside)), out)
    return out


def node_files(directory: Path, node: str) -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in sorted((directory / "nodes" / node).iterdir())}


def files_of(example: Path, directory: Path, node: str) -> dict[str, str]:
    """A node's files of an example, compiled into a directory that does not exist yet."""
    bundle.write_files(compile_bundle(example_inputs(example)), directory)
    return node_files(directory, node)


def objects(changes: list[dict[str, Any]]) -> list[str]:
    return [change["object"] for change in changes]


@pytest.fixture(scope="session")
def bundle_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(tmp_path_factory.mktemp("bundle") / "bundle")


@pytest.fixture(scope="module")
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    name = f"ansible-{os.getpid()}-{request.module.__name__.rpartition('_')[2][:10]}"
    yield up(build_topology([EXAMPLE / "cluster.json"]), name=name, gateways=GATEWAYS)
    down(name)


@pytest.fixture
def worker(lab: Lab) -> Iterator[Node]:
    """A worker with nothing of ours on it, before and after."""
    yield from _clean(Node(lab, "worker1"))


@pytest.fixture
def gateway(lab: Lab) -> Iterator[Node]:
    yield from _clean(Node(lab, "gw1"))


def _clean(node: Node) -> Iterator[Node]:
    yield node
    result = node.absent()
    assert not result.get("failed"), result["msg"]


def playbook(
    lab: Lab, name: str, *arguments: str, check: bool = True, inventory: Path | None = None
) -> "subprocess.CompletedProcess[str]":
    """Runs one of the project's playbooks over SSH, from the lab's controller; ``inventory`` in place of the lab's."""
    tools = str(Path(sys.executable).parent)
    return lab.exec(
        "controller",
        ["ansible-playbook", "-i", str(inventory or lab.inventory), f"playbooks/{name}.yml", *arguments],
        env={
            "PATH": f"{tools}:{os.environ.get('PATH', '/usr/bin')}:/usr/sbin",
            "PYTHONPATH": str(ROOT),
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_NOCOLOR": "1",
        },
        cwd=ROOT,
        check=check,
        timeout=120,
    )
