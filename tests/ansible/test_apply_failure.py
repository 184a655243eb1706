"""What fails, where it is caught, and what the node is like afterwards."""

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from egress_compiler.lab import Lab, kill
from tests.ansible.conftest import COLLECTIONS, Node, node_files, objects, packed

pytestmark = pytest.mark.lab


def altered(files: dict[str, str], changes: Mapping[str, Any]) -> dict[str, str]:
    """With another plan: by the path of a field, its value, or what makes that of the old."""
    plan = json.loads(files["plan.json"])
    for path, value in changes.items():
        inner = plan
        *above, name = path.split(".")
        for part in above:
            inner = inner[part]
        inner[name] = value(inner[name]) if callable(value) else value
    return files | {"plan.json": json.dumps(plan)}


def with_slot(files: dict[str, str], *tunnel_vips: str) -> dict[str, str]:
    """A slot more, and with it a rule and two routes of each family, in table 3009."""
    slot = {"number": 9, "gateway": "internet", "preferred_node": "gw9", "falls_back": False}
    return altered(files, {"worker.slots": lambda slots: [*slots, slot | {"tunnel_vips": tunnel_vips}]})


def with_bad_route(files: dict[str, str]) -> dict[str, str]:
    """A route that no check sees coming and the kernel refuses: the next hop is on no link."""
    return with_slot(files, "192.0.2.1", "fd11::fff6")


def with_sysctl(files: dict[str, str], key: str, value: str) -> dict[str, str]:
    more = {"key": key, "value": value, "reason": "a test"}
    return altered(files, {"kernel.sysctls": lambda sysctls: [*sysctls, more]})


def with_bad_sysctl(files: dict[str, str]) -> dict[str, str]:
    """A setting that is written after the nftables table is in place."""
    return with_sysctl(files, "net/netfilter/nf_conntrack_max", "no number")


@pytest.mark.parametrize("spoil", [with_bad_route, with_bad_sysctl])
def test_a_first_apply_that_fails_leaves_nothing(spoil: Any, gateway: Node, bundle_dir: Path) -> None:
    before = gateway.state()
    done = gateway.apply(spoil(node_files(bundle_dir, "gw1")))
    assert done["failed"]
    assert (done["rolled_back"], done["changed"]) == (True, False)
    assert before.diff(gateway.state()) == ""


def test_a_failing_change_restores_the_bundle_before(gateway: Node, bundle_dir: Path) -> None:
    files = node_files(bundle_dir, "gw1")
    gateway.apply(files)
    bad = with_bad_sysctl(files)
    bad["nftables.nft"] = bad["nftables.nft"].replace("keep_source", "same_source")
    done = gateway.apply(bad)
    assert done["failed"]
    assert "sysctl net/netfilter/nf_conntrack_max" in done["msg"]
    assert done["rolled_back"]
    assert "chain same_source" in objects(done["changes"])
    assert "chain keep_source" in objects(done["changes"])
    assert gateway.verify(files) == []


def test_the_failing_command_is_told(worker: Node, bundle_dir: Path) -> None:
    done = worker.apply(with_bad_route(node_files(bundle_dir, "worker1")))
    command = done["failed_command"]
    assert command["argv"][:2] == ["ip", "-4"]
    assert command["line"].startswith("route replace default via 192.0.2.1 dev egress.vxlan table 3009")
    assert "Nexthop has invalid gateway" in command["stderr"] or "Network is unreachable" in command["stderr"]
    assert command["line"] in done["msg"]


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda f: f | {"nftables.nft": f["nftables.nft"].replace("chain guard", "chain guard guard")}, "nft"),
        (lambda f: f | {"keepalived.conf": f["keepalived.conf"] + "\nnonsense {\n"}, "nonsense"),
        (lambda f: altered(f, {"kernel.interface": "eth9"}), "eth9"),
        (lambda f: altered(f, {"kernel.tunnel.underlay": "10.6.1.99"}), "another node"),
        (lambda f: with_sysctl(f, "net/ipv4/no_such", "1"), "no_such"),
        (lambda f: altered(f, {"version": 99}), "version 99"),
        (lambda f: f | {"plan.json": "{}"}, "damaged"),
        (lambda f: f | {"../../escape": "x"}, "no file of a bundle"),
    ],
)
def test_what_can_be_checked_first_changes_nothing(spoil: Any, complaint: str, gateway: Node, bundle_dir: Path) -> None:
    before = gateway.state()
    for check in (True, False):
        done = gateway.apply(spoil(node_files(bundle_dir, "gw1")), check=check)
        assert done["failed"]
        assert complaint in done["msg"]
        assert not done["rolled_back"]
    assert before.diff(gateway.state()) == ""


def test_killed_at_any_time_the_next_run_heals(gateway: Node, bundle_dir: Path) -> None:
    files = node_files(bundle_dir, "gw1")
    before = gateway.state()
    for tenths in (4, 5, 6, 8):
        process = _start(gateway, files)
        time.sleep(tenths / 10)
        kill(process)
        done = gateway.apply(files)
        assert not done.get("failed"), done["msg"]
        assert gateway.verify(files) == []
        gateway.absent()
        assert before.diff(gateway.state()) == ""


def test_two_runs_at_once_take_turns(worker: Node, bundle_dir: Path) -> None:
    files = node_files(bundle_dir, "worker1")
    processes = [_start(worker, files) for _ in range(3)]
    results = [json.loads(process.communicate()[0]) for process in processes]
    assert not [r["msg"] for r in results if r.get("failed")]
    assert sorted(r["changed"] for r in results) == [False, False, True]
    assert worker.verify(files) == []


def test_an_unreadable_plan_on_the_node_does_not_stop_absent(worker: Node, bundle_dir: Path) -> None:
    before = worker.state()
    worker.apply(node_files(bundle_dir, "worker1"))
    worker.shell("echo '{' > /etc/egress-gateway/plan.json")
    done = worker.absent()
    assert done["changed"]
    assert "damaged" in json.dumps(done["warnings"])
    assert before.diff(worker.state()) == ""


def test_verify_of_an_empty_node_says_so(lab: Lab) -> None:
    done = Node(lab, "worker2").module("verify", service_manager="direct")
    assert done["failed"]
    assert "no plan" in done["msg"]


def _start(node: Node, files: dict[str, str]) -> "subprocess.Popen[str]":
    arguments = {"payload": packed(files), "service_manager": "direct", "_ansible_remote_tmp": "/run/ansible"}
    process = node.lab.popen(
        node.name,
        [sys.executable, "-m", "ansible_collections.egress.gateway.plugins.modules.apply"],
        stdin=subprocess.PIPE,
        env={"PYTHONPATH": str(COLLECTIONS)},
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps({"ANSIBLE_MODULE_ARGS": arguments}))
    process.stdin.close()
    process.stdin = None
    return process
