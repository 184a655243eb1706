"""A lab as its users see it: brought up, opened again, used, taken down."""

import subprocess
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from egress_compiler.lab import build, echo_daemon, hosts, inventory, pods, probe, snapshot, sshd, state
from egress_compiler.lab.errors import LabError
from egress_compiler.lab.failover import INTERVAL_MS, OutageMeter
from egress_compiler.lab.machine import NAMESPACES, Machine
from egress_compiler.lab.probe import DEFAULT_TIMEOUT, ProbeResult, ProbeTarget
from egress_compiler.lab.run import end, require_means, run, start
from egress_compiler.lab.snapshot import NodeState
from egress_compiler.lab.topology import LabTopology


@dataclass(frozen=True, slots=True)
class Lab:
    """A running lab. Hosts are called by a node's name, `namespace/pod`, `outside`, `controller` or `fabric`."""

    name: str
    topology: LabTopology
    machine: Machine = NAMESPACES

    @property
    def state_dir(self) -> Path:
        """Keys, logs and process ids; gone with the lab."""
        return state.directory(self.name)

    @property
    def inventory(self) -> Path:
        """The Ansible inventory, for playbooks that run in the controller."""
        return self.state_dir / "inventory.yml"

    def command(self, host: str, argv: Sequence[str], *, cwd: Path | None = None) -> list[str]:
        """`argv` as a command that runs it in a host; LabError when there is no such host."""
        return hosts.command(self.name, self.topology, host, argv, cwd)

    def exec(
        self,
        host: str,
        argv: Sequence[str],
        *,
        check: bool = True,
        timeout: float | None = 30,
        stdin: str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> "subprocess.CompletedProcess[str]":
        """Runs a program in a host to its end; LabError when it fails (with `check`) or takes too long."""
        argv = self.command(host, argv, cwd=cwd)
        return run(argv, stdin=stdin, check=check, timeout=timeout, env=env, cwd=cwd)

    def popen(
        self,
        host: str,
        argv: Sequence[str],
        *,
        stdin: int | IO[str] | None = subprocess.DEVNULL,
        stdout: int | IO[str] | None = subprocess.PIPE,
        stderr: int | IO[str] | None = subprocess.PIPE,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> "subprocess.Popen[str]":
        """Starts a program in a host, in a session of its own; `kill` of this class ends it with its children."""
        argv = self.command(host, argv, cwd=cwd)
        return start(argv, stdin=stdin, stdout=stdout, stderr=stderr, env=env, cwd=cwd)

    def probe(self, pod: str, targets: Sequence[ProbeTarget], *, timeout: float = DEFAULT_TIMEOUT) -> list[ProbeResult]:
        """Which source address each target sees from a pod (or any host), in the order of the targets."""
        return self.probe_many({pod: targets}, timeout=timeout)[pod]

    def probe_many(
        self, targets: Mapping[str, Sequence[ProbeTarget]], *, timeout: float = DEFAULT_TIMEOUT
    ) -> dict[str, list[ProbeResult]]:
        """The same from many hosts at once: it takes little more than `timeout` seconds even if nothing answers."""
        clients: dict[str, subprocess.Popen[str]] = {}
        try:
            for host, wanted in targets.items():
                clients[host] = self.popen(host, probe.client(*probe.arguments(wanted, timeout)))
            return {host: probe.collect(clients[host], targets[host], timeout) for host in clients}
        except BaseException:
            for client in clients.values():
                kill(client)
            raise

    def outage(
        self,
        pod: str,
        target: ProbeTarget,
        seconds: float,
        *,
        interval_ms: float = INTERVAL_MS,
        push: bool = False,
    ) -> OutageMeter:
        """Starts to measure outages of one flow, UDP or TCP, for so many seconds; returns at the first answer.

        With `push` only the server speaks (TCP).
        """
        if target.protocol not in {"tcp", "udp"} or (push and target.protocol != "tcp"):
            raise LabError(f"{target}: the outage meter speaks tcp and udp, and tcp alone with push")
        arguments = ["meter", str(target), "--seconds", str(seconds), "--interval", str(interval_ms)]
        client = probe.client(*arguments, *(["--push"] if push else []))
        return OutageMeter(self.popen(pod, client), target, seconds)

    def start_echo(self, host: str) -> None:
        """Starts the echo service in a host, on all its addresses; in the outside it runs from the start."""
        echo_daemon.start(self.name, host, self.command(host, echo_daemon.ARGV))

    def cut(self, node: str) -> None:
        """Pulls a node's uplink cable."""
        build.set_uplink(self.name, self.topology.node(node), up=False)

    def restore(self, node: str) -> None:
        """Plugs a node's uplink cable in again."""
        build.set_uplink(self.name, self.topology.node(node), up=True)

    def poweroff(self, node: str) -> None:
        """Kills a node: its links are gone at once, its processes dead, and what its kernel knew is lost."""
        build.unplug_node(self.name, self.topology, self.topology.node(node))

    def power_on(self, node: str) -> None:
        """Boots a node that was powered off; of what was applied to it there is what its machine keeps on a disk."""
        build.rebuild_node(self.name, self.topology, self.topology.node(node), uplink=not self.machine.has_network)
        self.machine.start(self.name, self.topology, self.topology.node(node))

    def add_pod(self, namespace: str, name: str, node: str, addresses: Sequence[str]) -> "Lab":
        """The lab with one pod more; this value does not know it. LabError when the pod does not fit."""
        return replace(self, topology=pods.add(self.name, namespace, name, node, addresses))

    def delete_pod(self, pod: str) -> "Lab":
        """The lab without the pod `namespace/name`, what runs in it is killed; LabError when there is none."""
        return replace(self, topology=pods.remove(self.name, pod))

    def snapshot_node(self, node: str) -> NodeState:
        """The state of a node that egress configuration could touch."""
        self.topology.node(node)
        return snapshot.parse(node, self.exec(node, ["sh", "-c", snapshot.SCRIPT]).stdout)


def kill(process: "subprocess.Popen[str]") -> None:
    """Ends a program that `Lab.popen` started, with its children; one that has ended is fine."""
    end(process)
    with process:
        pass


def up(
    topology: LabTopology, *, name: str = "default", gateways: Collection[str] = (), machine: Machine = NAMESPACES
) -> Lab:
    """Builds a lab, with sshd in every node and the echo service outside. Nothing is left when it fails.

    `gateways` are the nodes that the inventory lists as such. LabError when a lab of this name is up, without root, and
    when a tool is missing.
    """
    require_means()
    directory = state.directory(name)
    try:
        with state.machine_lock() as lock:
            if directory.exists() or state.namespaces(name):
                raise _InUse(f"lab {name!r} is up, or was left by a crash: take it down first")
            state.create(name, topology)
            build.create_namespaces(name, topology, lock)
        inventory.write(directory / "inventory.yml", directory / "ssh", topology, gateways, machine)
        sshd.make_keys(name, topology)
        build.build_network(name, topology, uplinks=not machine.has_network)
        machine.start_all(name, topology)
        lab = Lab(name, topology, machine)
        lab.start_echo("outside")
    except _InUse:
        raise
    except BaseException:
        build.tear_down(name)
        raise
    return lab


def open_lab(name: str = "default") -> Lab:
    """The running lab of this name; LabError when there is none."""
    return Lab(name, state.load(name))


def down(name: str = "default") -> None:
    """Removes a lab and everything it made on this machine, also what a crash left; no lab is no error."""
    state.check_name(name)
    require_means()
    build.tear_down(name)


class _InUse(LabError):
    """The name is taken: what is there is somebody else's and stays."""
