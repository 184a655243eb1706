"""What keepalived owns is part of the node: who has an address of a slot is its master, and nobody else."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from egress_compiler.lab import Lab
from tests.ansible.conftest import GATEWAYS, Node, node_files, objects

pytestmark = pytest.mark.lab
PATIENCE = 8.0
"""Seconds; a failover has two, before an address counts as misplaced."""
OWN, OTHER = ("172.31.255.254", "fd11::fffe"), ("172.31.255.253", "fd11::fffd")
"""The tunnel VIPs of gw1's slot and of gw2's."""


@dataclass(frozen=True)
class Misplaced:
    plant: str
    object: str
    origin: str


MISPLACED = (
    Misplaced("ip address add 10.6.1.62/32 dev eth0", "address 10.6.1.62/32 on eth0", "EgressPolicy payments/bank"),
    Misplaced(
        "ip address add fd00:10:6:1::62/128 dev eth0 nodad",
        "address fd00:10:6:1::62/128 on eth0",
        "EgressPolicy payments/bank",
    ),
    Misplaced("ip address add 10.6.1.62/24 dev eth0", "address 10.6.1.62/24 on eth0", "EgressPolicy payments/bank"),
    Misplaced(
        "ip address add 172.31.255.253/32 dev egress.vxlan",
        "address 172.31.255.253/32 on egress.vxlan",
        "tunnel VIP",
    ),
)


@pytest.fixture(scope="module")
def gateways(lab: Lab, bundle_dir: Path) -> Iterator[dict[str, Node]]:
    nodes = {name: Node(lab, name) for name in GATEWAYS}
    for name, node in nodes.items():
        assert not node.apply(node_files(bundle_dir, name)).get("failed")
    nodes["gw1"].await_address(OWN[0])
    nodes["gw2"].await_address(OTHER[0])
    signal_watch(nodes["gw1"], "STOP")
    yield nodes
    for node in nodes.values():
        node.absent()


def signal_watch(node: Node, name: str) -> None:
    node.shell(f"for pid in $(pgrep -f '[e]gress-gateway/watch$'); do kill -{name} $pid; done")


@pytest.mark.parametrize("misplaced", MISPLACED, ids=lambda m: m.object)
def test_an_address_of_another_master_is_named_and_taken_away(
    misplaced: Misplaced, gateways: dict[str, Node], bundle_dir: Path
) -> None:
    node, files = gateways["gw1"], node_files(bundle_dir, "gw1")
    node.shell(misplaced.plant)
    found = [(d["object"], d["expected"], d["origin"]) for d in node.verify(files)]
    assert found == [(misplaced.object, None, misplaced.origin)]
    assert objects(node.apply(files, check=True)["changes"]) == [misplaced.object]
    assert objects(node.apply(files)["changes"]) == [misplaced.object]
    assert node.verify(files) == []


def test_an_address_that_a_master_lacks_is_named_and_put_back(gateways: dict[str, Node], bundle_dir: Path) -> None:
    """keepalived does so by itself, unless it is busy."""
    node, files = gateways["gw1"], node_files(bundle_dir, "gw1")
    missing = ["address 10.6.1.61/32 on eth0", "address fd11::fffe/128 on egress.vxlan"]
    node.shell("pkill -STOP -x keepalived; ip address delete 10.6.1.61/32 dev eth0")
    node.shell("ip address delete fd11::fffe/128 dev egress.vxlan")
    try:
        assert sorted(objects(node.verify(files))) == missing
        assert sorted(objects(node.apply(files)["changes"])) == missing
        assert node.verify(files) == []
    finally:
        node.shell("pkill -CONT -x keepalived")


@pytest.mark.parametrize("who", ["agent", "watch"])
def test_the_node_sees_to_it_by_itself(who: str, gateways: dict[str, Node], bundle_dir: Path) -> None:
    node, files = gateways["gw1"], node_files(bundle_dir, "gw1")
    node.await_address(OWN[0])
    if who == "agent":
        node.signal_agent("CONT")
    else:
        signal_watch(node, "CONT")
    try:
        for misplaced in MISPLACED if who == "agent" else (MISPLACED[0], MISPLACED[1], MISPLACED[3]):
            node.shell(misplaced.plant)
            start = time.monotonic()
            while f" {misplaced.object.split(' ')[1]} " in node.run("ip", "-o", "address"):
                assert time.monotonic() - start < PATIENCE, misplaced
                time.sleep(0.1)
        assert node.verify(files) == []
    finally:
        node.signal_agent("STOP")
        signal_watch(node, "STOP")
