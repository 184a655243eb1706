"""Somebody else has what the product would take: a diagnostic before anything is touched, and no fight."""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.ansible.conftest import Node, node_files, objects
from tests.ansible.test_apply_failure import with_slot

pytestmark = pytest.mark.lab


@dataclass(frozen=True)
class Clash:
    """What somebody has done, what undoes it, and what apply says; nothing where both can live."""

    name: str
    plant: str
    undo: str
    message: str = ""
    forbids: bool = False
    """Whether the kernel does not make our device beside it."""


CLASHES = (
    Clash(
        "rule for everything at our preference",
        "ip rule add preference 99 from all table main",
        "ip rule delete preference 99 table main",
        r"ip rule of somebody else at preference 99 takes packets with mark 0x26000001/0xff003fff "
        r"\(EgressGateway internet, slot of gw1\) to table 254, before ours at 99 or in its place: "
        r"move it to a preference above 104, or away from these marks",
    ),
    Clash(
        "rule before ours that takes our mark by its low bits",
        "ip -6 rule add preference 98 fwmark 0x2/0xff table 77; ip -6 route add 2000::/3 dev lo table 77",
        "ip -6 rule delete preference 98 table 77; ip -6 route flush table 77",
        r"ip rule of somebody else at preference 98 takes packets with mark 0x26000002/.* to table 77",
    ),
    Clash(
        "rule that refuses pods",
        "ip rule add preference 50 from 10.244.0.0/16 prohibit",
        "ip rule delete preference 50 prohibit",
        r"ip rule of somebody else at preference 50 takes .* to prohibit",
    ),
    Clash(
        "route in the table of a slot",
        "ip route add 198.18.0.0/24 dev eth0 table 3001 protocol static",
        "ip route flush table 3001",
        r"routing table 3001 has an IPv4 route of somebody else, to 198\.18\.0\.0/24: .* move it to another",
    ),
    Clash(
        "device of our name",
        "ip link add egress.vxlan type bridge",
        "ip link delete egress.vxlan",
        r"the device egress\.vxlan exists already and is somebody else's bridge: remove or rename it",
    ),
    Clash(
        "tunnel on our port",
        "ip link add other type vxlan id 5 dstport 7789 gbp; ip link set other up",
        "ip link delete other",
        r"the device other, a vxlan, uses UDP port 7789, .* nobody but our own nodes; set tunnel\.port to another",
    ),
    Clash(
        "tunnel without group policy on our port",
        "ip link add other type vxlan id 5 dstport 7789; ip link set other up",
        "ip link delete other",
        r"the device other, a vxlan, uses UDP port 7789, .* no tunnel with group policy besides; set tunnel\.port",
        forbids=True,
    ),
    Clash(
        "tunnel on our port that is down",
        "ip link add other type vxlan id 5 dstport 7789",
        "ip link delete other",
    ),
    Clash(
        "tunnel that the kernel lets nobody have twice",
        "ip link add other type vxlan id 100 dstport 7789 gbp",
        "ip link delete other",
        r"the device other, a vxlan, uses the tunnel's VNI 100 and UDP port 7789: set tunnel\.vni or tunnel\.port",
        forbids=True,
    ),
    Clash(
        "Calico's WireGuard",
        "ip rule add preference 99 not fwmark 0x100000/0x100000 table 1; ip route add 10.244.9.0/24 dev eth0 table 1; "
        "ip route add throw 10.244.3.0/24 table 1",
        "ip rule delete preference 99 table 1; ip route flush table 1",
    ),
    Clash(
        "VXLAN of flannel and Cilium, and Cilium's rules",
        "ip link add flannel.1 type vxlan id 1 dstport 8472; ip link add other type vxlan id 100 dstport 4789; "
        "ip rule add preference 9 fwmark 0x200/0xf00 table 2004; ip route add local default dev lo table 2004; "
        "ip rule add preference 50 from 192.0.2.0/24 table 78; ip route add default dev eth0 table 78",
        "ip link delete flannel.1; ip link delete other; ip rule delete preference 9; ip route flush table 2004; "
        "ip rule delete preference 50; ip route flush table 78",
    ),
)


@pytest.mark.parametrize("clash", CLASHES, ids=lambda clash: clash.name)
def test_what_others_have_is_named_and_left(clash: Clash, worker: Node, bundle_dir: Path) -> None:
    files = node_files(bundle_dir, "worker1")
    worker.shell(clash.plant)
    try:
        before = worker.state()
        done = worker.apply(files)
        if clash.message:
            assert done["failed"]
            assert re.match(clash.message, done["msg"]), done["msg"]
            assert done["msg"].endswith("Nothing was changed.")
            assert before.diff(worker.state()) == ""
        else:
            assert not done.get("failed"), done["msg"]
            worker.absent()
            assert before.diff(worker.state()) == ""
    finally:
        worker.shell(clash.undo)


DAMAGE = "nft flush ruleset; ip link delete egress.vxlan; ip rule flush protocol 213; ip route flush table 19999; "


@pytest.mark.parametrize("clash", [c for c in CLASHES if c.message], ids=lambda clash: clash.name)
def test_what_came_later_keeps_nothing_from_being_repaired(clash: Clash, worker: Node, bundle_dir: Path) -> None:
    files = node_files(bundle_dir, "worker1")
    worker.apply(files)
    worker.shell(DAMAGE + clash.plant)
    try:
        broken = objects(worker.verify(files))
        assert "table inet egress_gateway" in broken
        assert any(" preference 100 " in name for name in broken)
        predicted = worker.apply(files, check=True)
        done = worker.apply(files)
        rest = objects(worker.verify(files))
        if clash.forbids:
            assert re.match(clash.message, done["msg"])
            assert re.match(clash.message, predicted["msg"])
            assert re.search("Still broken: could not (create|modify) link egress.vxlan", done["msg"])
            assert rest
            assert all("table inet" not in name and "preference 100" not in name for name in rest)
        else:
            assert not done.get("failed"), done["msg"]
            assert objects(done["changes"]) == objects(predicted["changes"])
            assert rest == []
            if "type bridge" not in clash.plant:
                assert any(re.search(clash.message, str(text)) for text in done["warnings"])
    finally:
        worker.shell(clash.undo + " || true")


def test_a_change_that_is_refused_repairs_what_there_was(worker: Node, bundle_dir: Path) -> None:
    files = node_files(bundle_dir, "worker1")
    other = with_slot(files, "172.31.255.246", "fd11::fff6")
    worker.apply(files)
    worker.shell("ip route add 198.18.0.0/24 dev eth0 table 3009 protocol static; nft flush ruleset")
    predicted = worker.apply(other, check=True)
    done = worker.apply(other)
    worker.shell("ip route flush table 3009")
    for result in (predicted, done):
        assert result["failed"]
        assert result["msg"].startswith("routing table 3009 has an IPv4 route of somebody else")
        assert objects(result["changes"]) == ["table inet egress_gateway"]
    assert done["changed"]
    assert worker.verify(files) == []


def test_what_no_interface_is_there_for_is_repaired_as_far_as_it_goes(worker: Node, bundle_dir: Path) -> None:
    files = node_files(bundle_dir, "worker1")
    worker.apply(files)
    worker.shell("nft flush ruleset; ip rule flush protocol 213; ip link set eth0 name uplink")
    done = worker.apply(files)
    worker.shell("ip link set uplink name eth0")
    assert done["failed"]
    assert "uses the interface eth0, which this node does not have" in done["msg"]
    assert "table inet egress_gateway" in objects(done["changes"])
    assert any("rule ipv4 preference 100" in name for name in objects(done["changes"]))


def test_a_node_whose_plan_cannot_be_read_is_closed_at_least(worker: Node, bundle_dir: Path) -> None:
    files = node_files(bundle_dir, "worker1")
    worker.apply(files)
    plant = "echo '{' >/etc/egress-gateway/plan.json; ip link add other type vxlan id 100 dstport 7789 gbp"
    worker.shell(f"{DAMAGE} {plant}")
    predicted = worker.apply(files, check=True)
    done = worker.apply(files)
    worker.shell("ip link delete other")
    assert done["failed"]
    assert objects(done["changes"])[0] == "table inet egress_gateway"
    assert objects(done["changes"]) == objects(predicted["changes"])
    assert "link egress.vxlan" not in objects(done["changes"])
    assert not worker.apply(files).get("failed")
    assert worker.verify(files) == []


def test_verify_warns_of_what_came_later(worker: Node, bundle_dir: Path) -> None:
    worker.apply(node_files(bundle_dir, "worker1"))
    worker.shell("ip rule add preference 42 table main")
    result = worker.module("verify", service_manager="direct", fail_on_drift=False)
    worker.shell("ip rule delete preference 42")
    assert result["drift"] == []
    assert any("ip rule of somebody else at preference 42 takes" in str(text) for text in result["warnings"])


def test_a_firewall_that_nobody_may_change_is_named(worker: Node, bundle_dir: Path) -> None:
    """Tables of newer firewalld belong to its process: the kernel refuses everybody else's changes."""
    rules = "table inet owned { flags owner; chain pass { type filter hook forward priority 0; policy drop; }; }\n"
    wait = "for i in $(seq 50); do nft list table inet owned >/dev/null 2>&1 && exit 0; sleep 0.1; done; exit 1"
    with worker.lab.popen("worker1", ["nft", "-i"], stdin=subprocess.PIPE) as holder:
        assert holder.stdin is not None
        holder.stdin.write(rules)
        holder.stdin.flush()
        worker.shell(wait)
        done = worker.apply(node_files(bundle_dir, "worker1"))
    assert not done.get("failed"), done["msg"]
    (warning,) = [text for text in map(str, done["warnings"]) if "owned" in text]
    assert "nft inet owned pass refuses what none of its rules accepts" in warning
    assert "let it accept governed connections" in warning
