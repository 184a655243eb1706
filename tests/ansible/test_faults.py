"""Every command of a run fails, is killed half-way, hangs, or is the last that the module lives to see.

Afterwards the node is as before or as wanted, or the next run makes it so; and no packet of a governed pod ever left
with an address that is not an EIP. By default a sample; EGRESS_FAULT_STEP=1 takes every command and every fault.
"""

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from egress_compiler.lab import Lab
from tests.ansible.conftest import COLLECTIONS, NODES, Node, node_files, packed
from tests.ansible.leaks import govern, heard, talking
from tests.ansible.test_apply_failure import altered, with_slot, with_sysctl

pytestmark = pytest.mark.lab

SHIM = Path(__file__).with_name("fault.sh")
PROGRAMS = ("bridge", "ip", "keepalived", "nft", "unshare")
FAULTS = ("fail", "half", "hang", "module-before", "module-after")
STEP = int(os.environ.get("EGRESS_FAULT_STEP", "61"))
"""One of so many; prime, so that each fault meets commands of every kind."""
PATIENCE = 300 if STEP > 10 else 7200


@dataclass(frozen=True)
class Run:
    """An apply with one fault: what it said, if it lived to say anything, and the commands that it ran."""

    result: dict[str, Any] | None
    commands: list[str]


def other(files: dict[str, str]) -> dict[str, str]:
    """A bundle that differs in every kind of object."""
    changed = altered(
        with_slot(with_sysctl(files, "net/ipv4/conf/all/log_martians", "1"), "172.31.255.246", "fd11::fff6"),
        {
            "kernel.tunnel.mtu": 1400,
            "kernel.tunnel.addresses": lambda addresses: [*addresses, "172.31.9.9/32"],
            "kernel.peers": lambda peers: peers[1:],
        },
    )
    changed["nftables.nft"] = files["nftables.nft"].replace("keep_source", "same_source")
    return changed | {name: text + "# another\n" for name, text in files.items() if name == "keepalived.conf"}


class Faults:
    """A node whose commands go wrong at will."""

    def __init__(self, node: Node) -> None:
        self.node = node
        node.shell("mkdir -p /etc/faults /etc/shim; mount --bind /etc/shim /usr/local/sbin")
        for program in PROGRAMS:
            node.lab.exec(node.name, ["tee", f"/etc/shim/{program}"], stdin=SHIM.read_text(encoding="utf-8"))
        node.shell("chmod +x /etc/shim/*")

    def run(self, at: int, how: str, **arguments: Any) -> Run:
        self.node.shell(f"cd /etc/faults; : >log; echo {at} >at; echo {how} >how")
        arguments |= {"service_manager": "direct", "command_timeout": 1, "_ansible_remote_tmp": "/run/ansible"}
        done = self.node.lab.exec(
            self.node.name,
            [sys.executable, "-m", "ansible_collections.egress.gateway.plugins.modules.apply"],
            stdin=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}),
            env={"PYTHONPATH": str(COLLECTIONS)},
            check=False,
        )
        commands = self.node.shell("cd /etc/faults; echo 0 >at; cat log").splitlines()
        result = json.loads(done.stdout) if done.stdout.strip() else None
        assert result is not None or done.returncode in (137, -9), done.stderr[-2000:]
        return Run(result, commands)

    def end(self) -> None:
        """A script of keepalived's may be in the middle of a command, and holds the mount until that has ended."""
        again = "for i in $(seq 100); do umount /usr/local/sbin 2>/dev/null && break; sleep 0.1; done"
        last = "if mountpoint -q /usr/local/sbin; then umount /usr/local/sbin; fi"
        self.node.shell(f"{again}; {last}; rm -r /etc/faults /etc/shim")


@pytest.fixture
def governed(lab: Lab, bundle_dir: Path) -> Iterator[Lab]:
    """The whole lab with the bundle applied, and a pod that never stops talking."""
    govern(lab, bundle_dir)
    with talking(lab):
        yield lab
    for name in NODES:
        Node(lab, name).absent()


def plan_of_faults(count: int) -> list[tuple[int, str]]:
    return [(at, how) for at in range(1, count + 1) for how in FAULTS][::STEP]


def state_of(node: Node, candidates: dict[str, dict[str, str] | None]) -> str:
    """Which of the bundles the node has."""
    for name, files in candidates.items():
        predicted = node.absent(check=True) if files is None else node.apply(files, check=True)
        assert not predicted.get("failed"), predicted["msg"]
        if predicted["changes"] == []:
            return name
    return "neither"


def prove(faults: Faults, before: dict[str, str] | None, wanted: dict[str, str] | None, at: int, how: str) -> None:
    """One run with one fault, and what must hold then."""
    node = faults.node
    arguments = {"state": "absent"} if wanted is None else {"payload": packed(wanted)}
    run = faults.run(at, how, **arguments)
    place = (
        f"{how} at command {at} of {len(run.commands)}: {run.commands[at - 1] if len(run.commands) >= at else 'none'}"
    )
    candidates = {"before": before, "wanted": wanted}
    if run.result is None:
        assert how.startswith("module"), place
    elif not run.result.get("failed"):
        assert state_of(node, candidates) == "wanted", place
    else:
        assert run.result["rolled_back"] or "Nothing was changed" in run.result["msg"], (place, run.result["msg"])
        assert state_of(node, candidates) == "before", (place, run.result["msg"])
    healed = faults.run(0, "no", **arguments).result
    assert healed is not None, place
    assert not healed.get("failed"), (place, healed["msg"])
    assert state_of(node, candidates) == "wanted", place


@pytest.mark.parametrize("name", ["worker1", "gw1"])
@pytest.mark.timeout(PATIENCE)
def test_a_change_goes_wrong(governed: Lab, bundle_dir: Path, name: str) -> None:
    node = Node(governed, name)
    faults = Faults(node)
    files = node_files(bundle_dir, name)
    bundles = [files, other(files)]
    first = faults.run(0, "no", payload=packed(bundles[1]))
    assert first.result is not None
    assert not first.result.get("failed"), first.result["msg"]
    count = len(first.commands)
    assert count > 30
    for at, how in plan_of_faults(count):
        prove(faults, bundles[1], bundles[0], at, how)
        assert heard(governed)[0] == [], (at, how)
        bundles.reverse()
    faults.end()
    assert node.shell("ls -A /etc/systemd/system | grep egress || true") == ""
    assert node.shell("find /etc /run -name '.*egress-gateway-new'") == ""
    leaked, right = heard(governed)
    assert (leaked, right > 100) == ([], True)


@pytest.mark.parametrize("name", ["worker2", "gw2"])
@pytest.mark.timeout(PATIENCE)
def test_coming_and_going_go_wrong(lab: Lab, bundle_dir: Path, name: str) -> None:
    node = Node(lab, name)
    nothing = node.state()
    faults = Faults(node)
    files = node_files(bundle_dir, name)
    ways: list[tuple[dict[str, str] | None, dict[str, str] | None]] = [(None, files), (files, None)]
    counts = [
        len(faults.run(0, "no", payload=packed(files)).commands),
        len(faults.run(0, "no", state="absent").commands),
    ]
    for at, how in plan_of_faults(max(counts))[:: 1 if STEP < 10 else 2]:
        for before, wanted in ways:
            prove(faults, before, wanted, at, how)
    faults.end()
    assert nothing.diff(node.state()) == ""
