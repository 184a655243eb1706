"""What others take away comes back within a second, and nothing of it lets a governed packet out."""

import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from egress_compiler.lab import Lab
from tests.ansible.conftest import Node, node_files, objects
from tests.ansible.leaks import govern, heard, talking, until_governed

pytestmark = pytest.mark.lab

PATIENCE = 20.0
"""Seconds; it takes a tenth of one, but each look at the node takes one or two, and machines that test are busy."""


@dataclass(frozen=True)
class Theft:
    """What somebody does to a node; ``lines`` of defence that it takes at once."""

    name: str
    node: str
    plant: str
    lines: int = 1


OUR_RULES = "; ".join(f"ip {family} rule flush protocol 213" for family in ("-4", "-6"))
THEFTS = (
    Theft("nft flush ruleset", "worker1", "nft flush ruleset"),
    Theft("rules as networkd removes them", "worker1", OUR_RULES),
    Theft(
        "routes as networkd removes them",
        "worker1",
        "ip route flush table all protocol 213; ip -6 route flush table all protocol 213",
    ),
    Theft("rules and routes", "worker1", f"{OUR_RULES}; ip route flush table all protocol 213"),
    Theft("tunnel device", "worker1", "ip link delete egress.vxlan"),
    Theft("tunnel device down", "worker1", "ip link set egress.vxlan down"),
    Theft(
        "forwarding entry",
        "worker1",
        "bridge fdb delete 00:00:00:00:00:00 dev egress.vxlan dst "
        "$(bridge fdb show dev egress.vxlan | sed -n 's/^00:00:00:00:00:00 dst \\([^ ]*\\).*/\\1/p' | head -n 1)",
    ),
    Theft("rule of ours", "worker1", "nft flush chain inet egress_gateway guard"),
    Theft("veth pair", "gw1", "ip link delete egress.worker"),
    Theft("table of a gateway", "gw1", "nft flush ruleset"),
    Theft("tunnel device of a gateway", "gw1", "ip link delete egress.vxlan"),
    Theft("reverse path filter", "worker1", "sysctl -w net.ipv4.conf.egress/vxlan.rp_filter=1"),
    Theft("rules and ruleset", "worker1", f"{OUR_RULES}; nft flush ruleset", lines=2),
    Theft("rules and ruleset of a gateway", "gw1", f"{OUR_RULES}; nft flush ruleset", lines=2),
)


@pytest.fixture(scope="module")
def governed(lab: Lab, bundle_dir: Path) -> Lab:
    govern(lab, bundle_dir)
    return lab


@pytest.mark.parametrize("theft", THEFTS, ids=lambda theft: theft.name)
def test_it_comes_back_and_one_theft_opens_nothing(theft: Theft, governed: Lab, bundle_dir: Path) -> None:
    """Where one line of defence is taken the other holds, also without an agent."""
    node = Node(governed, theft.node)
    files = node_files(bundle_dir, theft.node)
    assert node.verify(files) == []
    with talking(governed):
        node.signal_agent("STOP" if theft.lines == 1 else "CONT")
        node.shell(theft.plant)
        if theft.lines == 1:
            time.sleep(0.5)
            node.signal_agent("CONT")
        start = time.monotonic()
        while node.verify(files):
            assert time.monotonic() - start < PATIENCE, node.verify(files)
        until_governed(governed)
        leaked, right = heard(governed)
    assert right > 0
    if theft.lines == 1:
        assert leaked == []


def test_what_somebody_added_is_left(governed: Lab, bundle_dir: Path) -> None:
    node = Node(governed, "worker1")
    node.signal_agent("CONT")
    node.shell("nft add rule inet egress_gateway forward counter; ip rule add preference 97 to 192.0.2.1 table main")
    time.sleep(1)
    assert objects(node.verify(node_files(bundle_dir, "worker1"))) == ["rule 4 of chain forward"]
    node.shell("ip rule delete preference 97")
    assert not node.apply(node_files(bundle_dir, "worker1"), agent=True).get("failed")


def test_an_agent_that_is_killed_is_missed_and_started(governed: Lab, bundle_dir: Path) -> None:
    node, files = Node(governed, "worker1"), node_files(bundle_dir, "worker1")
    node.signal_agent("KILL")
    assert objects(node.verify(files)) == ["agent"]
    assert objects(node.apply(files, agent=True)["changes"]) == ["agent"]
    assert node.apply(files, agent=True)["changed"] is False
