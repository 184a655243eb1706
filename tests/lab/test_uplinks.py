"""EIPs of another interface than the nodes' main one: out by it, back by it, in both families, and over a failover."""

import os
import re
from collections.abc import Iterator

import pytest

from egress_compiler.lab import ProbeTarget, down
from egress_compiler.lab.build import segment_port
from egress_compiler.lab.example import RunningExample, running_example, up_example
from tests.lab.by_hand import apply_by_hand, await_masters, holds, wait_for, wrong_rows
from tests.lab.uplinks import DEVICE, EIPS, write_example

pytestmark = pytest.mark.lab

POD = "payments/api-7b6c54d9f8-v8c3d"
STRICT = """
table inet strict {
	chain prerouting {
		type filter hook prerouting priority raw; policy accept;
		fib saddr . iif oif missing counter drop
	}
}
"""
"""What comes by another device than its source is reached by is dropped, as routers do it."""


@pytest.fixture(scope="module")
def vlan(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningExample]:
    name = f"test-{os.getpid()}-vlan"
    up_example(write_example(tmp_path_factory.mktemp("vlan")), name)
    try:
        running = running_example(name)
        running.lab.exec("outside", ["nft", "-f", "-"], stdin=STRICT)
        apply_by_hand(running.lab, running.compilation)
        yield running
    finally:
        down(name)


def master(vlan: RunningExample) -> str:
    return next(node for node in ("gw1", "gw2") if holds(vlan.lab, node, EIPS[0]))


def targets(vlan: RunningExample) -> list[ProbeTarget]:
    outside = vlan.lab.topology.outside
    return [ProbeTarget(p, address) for address in (outside.far4[0], outside.far6[0]) for p in ("tcp", "udp")]


def assert_right(vlan: RunningExample) -> None:
    seen = [result.seen for result in vlan.lab.probe(POD, targets(vlan))]
    assert seen == [EIPS[0], EIPS[0], EIPS[1], EIPS[1]]


def test_each_eip_leaves_by_its_own_uplink(vlan: RunningExample) -> None:
    assert wrong_rows(vlan, applied=True) == []
    assert_right(vlan)
    listing = vlan.lab.exec("outside", ["nft", "list", "table", "inet", "strict"]).stdout
    assert "counter packets 0 " in listing
    here = vlan.lab.exec(master(vlan), ["ip", "-o", "address", "show", "dev", DEVICE]).stdout
    assert all(f" {eip}/" in here for eip in EIPS)


def test_hosts_of_the_uplinks_subnet_are_reached_without_its_router(vlan: RunningExample) -> None:
    """Though no address of the node itself is there."""
    near = ("10.20.0.7", "fd00:10:20::7")
    for address, length in zip(near, (24, 64), strict=True):
        vlan.lab.exec("outside", ["ip", "address", "add", f"{address}/{length}", "dev", "lab0", "nodad"])
    for address, eip in zip(near, EIPS, strict=True):
        (result,) = vlan.lab.probe(POD, [ProbeTarget("tcp", address)])
        assert result.seen == eip
        known = vlan.lab.exec(master(vlan), ["ip", "neighbour", "show", address, "dev", DEVICE]).stdout
        assert " lladdr " in known


def test_without_its_rule_a_packet_comes_by_the_wrong_device(vlan: RunningExample) -> None:
    """What shows that the lab would notice."""
    node = master(vlan)
    rule = ["rule", "delete", "fwmark", "0x31000000/0xff000000"]
    vlan.lab.exec(node, ["ip", *rule])
    try:
        assert vlan.lab.probe(POD, targets(vlan)[:1], timeout=1)[0].seen is None
    finally:
        vlan.lab.exec(node, ["ip", "rule", "add", "preference", "99", *rule[2:], "lookup", "40001", "protocol", "213"])
    assert_right(vlan)


@pytest.mark.parametrize("how", ["cable", "device"])
def test_a_slot_goes_where_its_uplinks_are(vlan: RunningExample, how: str) -> None:
    """A gateway without one of its uplinks has nothing of the slot, and its routes again when the uplink is back."""
    lab, node = vlan.lab, master(vlan)
    other = "gw2" if node == "gw1" else "gw1"
    port = segment_port(0, lab.topology.node(node).port)
    where, device = ("fabric", port) if how == "cable" else (node, DEVICE)
    lab.exec(where, ["ip", "link", "set", device, "down"])
    wait_for(lambda: holds(lab, other, EIPS[0]), "the other gateway to take over")
    wait_for(lambda: not holds(lab, node, EIPS[0]), "the gateway to let go")
    assert_right(vlan)
    lab.exec(where, ["ip", "link", "set", device, "up"])
    await_masters(lab, vlan.compilation)
    wait_for(lambda: holds(lab, node, EIPS[0]), "the EIPs to come back")
    assert_right(vlan)
    assert wrong_rows(vlan, applied=True) == []


def test_an_open_connection_keeps_its_uplink_when_the_policy_gets_another_eip(vlan: RunningExample) -> None:
    """The path is that of the address which the connection has, not that of a new one."""
    lab, node = vlan.lab, master(vlan)
    target = targets(vlan)[0]
    text = vlan.compilation.files[f"nodes/{node}/nftables.nft"]
    answers = re.compile(r"^(\t\t\t0x\S+ :) goto uplink.1,", re.MULTILINE)
    assert answers.search(text)
    with lab.outage(POD, ProbeTarget("tcp", target.address), 4) as meter:
        lab.exec(node, ["nft", "-f", "-"], stdin=answers.sub(r"\1 return,", text))
        measured = meter.result()
    lab.exec(node, ["nft", "-f", "-"], stdin=text)
    assert measured.seen == (EIPS[0],)
    assert measured.longest_gap_ms < 2000
