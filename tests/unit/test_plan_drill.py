"""What a plan says of open connections, held against a real kernel: connections opened before, spoken on afterwards."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from egress_compiler import bundle
from egress_compiler.cli.move import pinned
from egress_compiler.lab import Lab, down
from egress_compiler.lab.example import example_inputs, up_example
from egress_compiler.lab.playbooks import run_playbook
from egress_compiler.lab.ports import TCP_PORT
from egress_compiler.model.lock import Lock
from egress_compiler.net import contains, parse_address, parse_span
from egress_compiler.pipeline import Compilation, compile_bundle
from egress_compiler.plan import Plan, between
from egress_compiler.plan.model import Connections

EXAMPLE = Path(__file__).parents[2] / "examples" / "dual-stack-ha"
NAME = f"test-{os.getpid()}-plan"
PATIENCE = 6
"""Seconds that a connection has for an answer."""
CLIENT = f"""
import socket, sys
link = socket.create_connection((sys.argv[1], {TCP_PORT}), timeout={PATIENCE})
file = link.makefile("rw")
print(file.readline().split()[0], flush=True)
sys.stdin.readline()
try:
    file.write("ping\\n")
    file.flush()
    print("alive" if file.readline() == "ping\\n" else "dead", flush=True)
except OSError:
    print("dead", flush=True)
"""


class Connection(NamedTuple):
    pod: str
    server: str
    client: "subprocess.Popen[str]"

    def read(self) -> str:
        assert self.client.stdout is not None
        return self.client.stdout.readline().strip()

    def speak(self) -> None:
        assert self.client.stdin is not None
        self.client.stdin.write("go\n")
        self.client.stdin.flush()


class Drill:
    """A lab whose policies a test changes step by step."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._lock: Lock | None = None
        self.lab: Lab = up_example(directory, NAME)

    def edit(self, file: str, old: str, new: str) -> None:
        path = self.directory / "policies" / file
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    def move(self, key: str, node: str) -> None:
        assert self._lock is not None
        self._lock = pinned(self._lock, [key], node)

    def compiled(self) -> Compilation:
        compilation = compile_bundle(example_inputs(self.directory), self._lock)
        self._lock = compilation.allocation.lock
        return compilation

    def apply(self, compilation: Compilation) -> None:
        out = self.lab.state_dir / "bundle"
        bundle.write_files(compilation, out)
        done = run_playbook(self.lab, "apply.yml", out)
        assert done.returncode == 0, done.stdout

    def connections(self) -> list[Connection]:
        """One from every pod to every server of its families; each has said hello."""
        made = [
            Connection(
                pod.host,
                server,
                self.lab.popen(pod.host, [sys.executable, "-c", CLIENT, server], stdin=subprocess.PIPE),
            )
            for pod in self.lab.topology.pods
            for server in self.lab.topology.outside.servers
            if any((":" in address) == (":" in server) for address in pod.addresses)
        ]
        assert all(connection.read() for connection in made)
        return made


@pytest.fixture
def drill(tmp_path: Path) -> Iterator[Drill]:
    down(NAME)
    try:
        yield Drill(Path(shutil.copytree(EXAMPLE, tmp_path / "example")))
    finally:
        down(NAME)


def told(plan: Plan, pod: str, server: str) -> Connections:
    """What the plan says of a connection; what it does not mention goes on."""
    address = parse_address(server)
    for group in plan.sources:
        for flow in group.flows if pod in {member.name for member in group.members} else ():
            listed = any(contains((parse_span(t).interval,), address.value) for t in flow.region.destinations)
            if flow.region.family == address.family and listed != flow.region.rest:
                return flow.connections
    return Connections("kept", "unchanged")


def observe(drill: Drill, before: Compilation) -> tuple[Compilation, set[str]]:
    """Applies what the files say now, and compares each connection with the plan; gives what was said of them."""
    connections = drill.connections()
    after = drill.compiled()
    plan = between(before, after, "before")
    drill.apply(after)
    time.sleep(2)
    for connection in connections:
        connection.speak()
    wrong, kinds = [], set()
    for connection in connections:
        said, got = told(plan, connection.pod, connection.server), connection.read()
        kinds.add(f"{said.outcome}: {' '.join(said.reason.split()[:2])}")
        if (got == "alive") != (said.outcome == "kept"):
            wrong.append((connection.pod, connection.server, got, said))
        connection.client.kill()
        connection.client.communicate()
    assert wrong == []
    return after, kinds


@pytest.mark.lab
def test_connections_end_and_go_on_as_the_plan_says(drill: Drill) -> None:
    first = drill.compiled()
    drill.apply(first)
    drill.edit("payments.yaml", "10.6.1.62", "10.6.1.64")
    drill.edit("shop.yaml", "10.6.1.61", "10.6.1.60")
    second, kinds = observe(drill, first)
    assert kinds >= {"kept: unchanged", "broken: 10.6.1.62 is"}
    drill.edit("shop.yaml", "10.6.1.60", "10.6.1.61")
    (drill.directory / "policies" / "ops.yaml").unlink()
    third, kinds = observe(drill, second)
    assert kinds >= {"kept: unchanged", "kept: keep 10.6.1.60", "broken: no policy"}
    drill.move("internet/10.6.1.60", "gw1")
    _, kinds = observe(drill, third)
    assert kinds == {"kept: unchanged", "kept: go on"}
