"""Each egress IP has one owner, and one that is a gateway: seen by ARP and neighbour discovery, IPv4 and IPv6."""

from pathlib import Path
from typing import Any

import pytest

from egress_compiler.lab import Lab
from tests.ansible.conftest import GATEWAYS, Node, node_files, playbook

pytestmark = pytest.mark.lab

EIPS = ("10.6.1.61", "fd00:10:6:1::61")


def conflicts(node: Node) -> list[tuple[str, str]]:
    done = node.module("verify", service_manager="direct", fail_on_drift=False)
    assert done["drift"] == []
    return [(found["address"], found["problem"]) for found in done["conflicts"]]


def put(node: Node, verb: str) -> None:
    for eip in EIPS:
        node.shell(f"ip address {verb} {eip}/{128 if ':' in eip else 32} dev eth0{' nodad' if verb == 'add' else ''}")


@pytest.fixture
def gateways(lab: Lab, bundle_dir: Path) -> Any:
    nodes = [Node(lab, name) for name in GATEWAYS]
    yield nodes
    for node in nodes:
        assert not node.absent().get("failed")


def test_nobody_two_and_a_stranger(lab: Lab, gateways: list[Node], bundle_dir: Path) -> None:
    for node in gateways:
        assert node.apply(node_files(bundle_dir, node.name))["changed"]
    assert [conflicts(node) for node in gateways] == [[], []], "an election is waited for"

    stranger = Node(lab, "worker2")
    put(stranger, "add")
    by_node = {node.name: conflicts(node) for node in gateways}
    assert by_node["gw1"] == [(eip, "held by this node and by another host") for eip in EIPS]
    assert by_node["gw2"] == [(eip, "held by several hosts") for eip in EIPS]
    shown = playbook(lab, "verify", "-e", f"egress_bundle={bundle_dir}", "--limit", "gw1", check=False)
    assert shown.returncode != 0
    assert "10.6.1.61 is held by this node and by another host" in shown.stdout

    for node in gateways:
        node.shell("for pid in $(cat /run/egress-gateway/keepalived.pid); do kill $pid; done; sleep 1.5")
    found = gateways[0].module("verify", service_manager="direct", fail_on_drift=False)["conflicts"]
    assert {c["address"]: c["problem"] for c in found if c["address"] in EIPS} == dict.fromkeys(
        EIPS, "held by a host that is no gateway:"
    )
    put(stranger, "delete")
    found = gateways[0].module("verify", service_manager="direct", fail_on_drift=False)["conflicts"]
    assert {c["problem"] for c in found} == {"held by nobody"}
    assert all(c["origin"] for c in found)


def test_an_address_that_is_taken_is_no_eip(lab: Lab, gateways: list[Node], bundle_dir: Path) -> None:
    stranger, gateway = Node(lab, "worker2"), gateways[0]
    put(stranger, "add")
    before = gateway.state()
    done = gateway.apply(node_files(bundle_dir, gateway.name))
    assert done["failed"]
    assert "10.6.1.61 (EgressPolicy" in done["msg"]
    assert "cannot be an egress IP: held by a host that is no gateway:" in done["msg"]
    put(stranger, "delete")
    gateway.shell("ip address add 10.6.1.61/24 dev eth0")
    done = gateway.apply(node_files(bundle_dir, gateway.name), check=True)
    assert "an address of this node's own: 10.6.1.61/24 on eth0" in done["msg"]
    gateway.shell("ip address delete 10.6.1.61/24 dev eth0")
    assert before.diff(gateway.state()) == ""
