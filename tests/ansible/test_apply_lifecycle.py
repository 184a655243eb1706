"""A node's life with the collection: from nothing to its bundle, again, and back to nothing."""

import json
from pathlib import Path

import pytest

from tests.ansible.conftest import Node, node_files, objects

pytestmark = pytest.mark.lab


@pytest.fixture(params=["worker", "gateway"])
def node(request: pytest.FixtureRequest) -> Node:
    found: Node = request.getfixturevalue(request.param)
    return found


def test_apply_from_nothing_again_and_back(node: Node, bundle_dir: Path) -> None:
    files = node_files(bundle_dir, node.name)
    before = node.state()

    predicted = node.apply(files, check=True)
    assert before.diff(node.state()) == "", "check mode touches nothing"
    done = node.apply(files)
    assert done["changed"]
    assert done["changes"] == predicted["changes"]
    assert node.verify(files) == []
    assert node.verify() == []

    again = node.apply(files)
    assert (again["changed"], again["changes"]) == (False, [])

    leaving = node.absent(check=True)
    assert leaving["changed"]
    assert node.verify(files) == [], "check mode touches nothing"
    assert node.absent()["changed"]
    assert before.diff(node.state()) == ""
    assert not node.absent()["changed"]


def test_files_on_the_node_are_those_of_the_bundle(node: Node, bundle_dir: Path) -> None:
    files = node_files(bundle_dir, node.name)
    node.apply(files)
    found = node.shell("cd /etc/egress-gateway; for f in *; do stat -c '%n %a' $f; done").split("\n")
    scripts = {name for name, text in files.items() if text.startswith("#!")}
    assert set(filter(None, found)) == {
        *(f"{name} {755 if name in scripts else 644}" for name in files),
        "before.json 644",
    }
    for name, text in files.items():
        assert node.run("cat", f"/etc/egress-gateway/{name}") == text


def test_an_unchanged_run_leaves_counters_and_keepalived_alone(gateway: Node, bundle_dir: Path) -> None:
    files = node_files(bundle_dir, "gw1")
    gateway.apply(files)
    looks = (
        "nft -a list table inet egress_gateway",
        "cat /run/egress-gateway/keepalived.pid",
        "ls -l --full-time /etc/e*-gateway",
    )
    before = [gateway.shell(look) for look in looks]
    gateway.apply(files)
    assert [gateway.shell(look) for look in looks] == before


def test_routing_switches_go_back_with_all_that_they_moved(worker: Node, bundle_dir: Path) -> None:
    """Writing ip_forward resets accept_redirects and each device's forwarding (devinet.c): absent restores those."""
    worker.shell(
        "sysctl -qw net.ipv4.ip_forward=0 net.ipv4.conf.all.accept_redirects=0 net.ipv4.conf.eth0.forwarding=1"
    )
    before = worker.state()
    worker.apply(node_files(bundle_dir, "worker1"))
    assert worker.run("cat", "/proc/sys/net/ipv4/ip_forward") == "1\n"
    worker.absent()
    assert before.diff(worker.state()) == ""
    worker.shell("sysctl -qw net.ipv4.ip_forward=1")


def test_the_first_original_is_the_one_that_counts(worker: Node, bundle_dir: Path) -> None:
    files = node_files(bundle_dir, "worker1")
    worker.shell("sysctl -qw net.ipv4.ip_forward=1")
    worker.apply(files)
    worker.shell("sysctl -qw net.ipv4.ip_forward=0")
    worker.apply(files)
    worker.absent()
    assert worker.run("cat", "/proc/sys/net/ipv4/ip_forward") == "1\n"


def test_what_is_not_ours_stays(gateway: Node, bundle_dir: Path) -> None:
    gateway.shell(
        """
        nft add table inet egress_gateway_of_others
        ip rule add preference 99 fwmark 0x80/0xff table 2999
        ip rule add preference 99 fwmark 0x25000001/0xff003fff table main
        ip route add 198.18.0.0/24 dev eth0 table 2999 protocol static
        ip neighbour replace 10.6.1.77 lladdr 02:00:00:00:00:77 dev eth0 nud permanent
        """
    )
    before = gateway.state()
    gateway.apply(node_files(bundle_dir, "gw1"))
    gateway.absent()
    assert before.diff(gateway.state()) == ""
    gateway.shell(
        """
        nft delete table inet egress_gateway_of_others
        ip rule delete preference 99 fwmark 0x80/0xff
        ip rule delete preference 99 fwmark 0x25000001/0xff003fff
        ip route delete 198.18.0.0/24 table 2999
        ip neighbour delete 10.6.1.77 dev eth0
        """
    )


def test_absent_removes_what_a_killed_keepalived_left(gateway: Node, bundle_dir: Path) -> None:
    before = gateway.state()
    gateway.apply(node_files(bundle_dir, "gw1"))
    gateway.await_address("172.31.255.254")
    gateway.shell("kill -STOP $(cat /run/egress-gateway/*.pid); kill -KILL $(cat /run/egress-gateway/*.pid)")
    assert " 172.31.255.254/" in gateway.run("ip", "address"), "the addresses of the slot's master are left"
    gateway.absent()
    assert before.diff(gateway.state()) == ""


def test_a_gateway_that_becomes_a_worker_lets_go(gateway: Node, bundle_dir: Path) -> None:
    gateway.apply(node_files(bundle_dir, "gw1"))
    gateway.await_address("172.31.255.254")
    files = node_files(bundle_dir, "gw1")
    plan = json.loads(files["plan.json"]) | {"role": "worker", "gateway": None}
    fewer = {n: t for n, t in files.items() if n not in ("keepalived.conf", "notify.sh")} | {
        "plan.json": json.dumps(plan)
    }
    done = gateway.apply(fewer)
    assert done["changed"], done
    assert "keepalived" in objects(done["changes"])
    assert gateway.verify(fewer) == []
    held = gateway.run("ip", "address", "show", "dev", "eth0")
    assert not [eip for eip in _eips(files) if f" {eip}/" in held]


def _eips(files: dict[str, str]) -> list[str]:
    memberships = json.loads(files["plan.json"])["gateway"]["memberships"]
    return [address["address"] for membership in memberships for address in membership["eips"]]
