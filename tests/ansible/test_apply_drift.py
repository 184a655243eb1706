"""One thing changed by hand: verify names exactly that, check mode predicts it, apply repairs it and nothing else."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from egress_compiler.lab import Lab
from tests.ansible.conftest import Node, node_files, objects

pytestmark = pytest.mark.lab

MARK = "0x26000001/0xff003fff"


@dataclass(frozen=True)
class Drift:
    """What is done on which node, the objects that then differ, and the origin of the first one."""

    name: str
    node: str
    plant: str
    objects: tuple[str, ...]
    origin: str = ""


DRIFTS = (
    Drift(
        "rule of a chain deleted",
        "worker1",
        "nft delete rule inet egress_gateway classify handle "
        "$(nft -a list chain inet egress_gateway classify | sed -n 's/.*@steer_pods6 # handle //p')",
        ("rule 5 of chain classify",),
    ),
    Drift(
        "rule of a policy changed",
        "worker1",
        "nft replace rule inet egress_gateway steer.egp.shop.web handle "
        "$(nft -a list chain inet egress_gateway steer.egp.shop.web | sed -n 's/.*ipv4 goto.*# handle //p') "
        "meta nfproto ipv4 return",
        ("rule 2 of chain steer.egp.shop.web",),
        "EgressPolicy shop/web",
    ),
    Drift(
        "rule added",
        "worker1",
        "nft add rule inet egress_gateway forward counter accept",
        ("rule 3 of chain forward",),
        "not in the plan",
    ),
    Drift(
        "element added",
        "worker1",
        "nft add element inet egress_gateway steer_pods4 '{ 10.244.3.77 : goto steer.egp.shop.web }'",
        ("element 10.244.3.77 of map steer_pods4",),
        "not in the plan",
    ),
    Drift(
        "element deleted",
        "worker1",
        "nft delete element inet egress_gateway steer_pods4 '{ 10.244.3.10 }'",
        ("element 10.244.3.10 of map steer_pods4",),
        "shop/web-5d8f7c9b6d-4kq2x (EgressPolicy shop/web)",
    ),
    Drift("set added", "worker1", "nft add set inet egress_gateway x '{ type mark; }'", ("set x",), "not in the plan"),
    Drift("chain added", "worker1", "nft add chain inet egress_gateway x", ("chain x",), "not in the plan"),
    Drift(
        "element of an EIP set deleted",
        "gw1",
        "nft delete element inet egress_gateway eips4 '{ 10.6.1.60 }'",
        ("element 10.6.1.60 of set eips4",),
    ),
    Drift(
        "route deleted",
        "worker1",
        "ip route delete default table 3001 metric 0",
        ("route ipv4 default table 3001 metric 0",),
        "EgressGateway internet, slot of gw1",
    ),
    Drift(
        "route led elsewhere",
        "worker1",
        "ip -6 route replace default via fd11::77 dev egress.vxlan table 3001 protocol 213",
        ("route ipv6 default table 3001 metric 1024",),
        "EgressGateway internet, slot of gw1",
    ),
    Drift(
        "last resort deleted",
        "worker1",
        "ip route delete unreachable default table 3002 metric 4278198272",
        ("route ipv4 unreachable default table 3002 metric 4278198272",),
    ),
    Drift(
        "stale route",
        "worker1",
        "ip route add unreachable default table 3009 metric 5 protocol 213",
        ("route ipv4 unreachable default table 3009 metric 5",),
        "not in the plan",
    ),
    Drift(
        "ip rule deleted",
        "worker1",
        f"ip -6 rule delete preference 99 fwmark {MARK}",
        (f"rule ipv6 preference 99 fwmark {MARK}",),
        "EgressGateway internet, slot of gw1",
    ),
    Drift(
        "ip rule led elsewhere",
        "worker1",
        f"ip rule delete preference 99 fwmark {MARK}; ip rule add preference 99 fwmark {MARK} table main protocol 213",
        (f"rule ipv4 preference 99 fwmark {MARK}",),
    ),
    Drift(
        "stale ip rule",
        "worker1",
        "ip rule add preference 99 fwmark 0x26000009/0xff003fff table main",
        ("rule ipv4 preference 99 fwmark 0x26000009/0xff003fff protocol 0",),
        "not in the plan",
    ),
    Drift(
        "hosts led into the last resort",
        "worker1",
        "ip -6 rule delete preference 100 iif lo",
        ("rule ipv6 preference 100 iif lo",),
        "what this node itself sends",
    ),
    Drift(
        "end of the last resort deleted",
        "worker1",
        "ip rule delete preference 102",
        ("rule ipv4 preference 102 from all",),
        "what hosts send",
    ),
    Drift(
        "FDB entry deleted",
        "worker1",
        "bridge fdb delete 66:65:67:00:00:01 dev egress.vxlan dst 10.6.1.11 self",
        ("fdb 66:65:67:00:00:01 to 10.6.1.11 on egress.vxlan",),
        "node gw1",
    ),
    Drift(
        "FDB entry added",
        "worker1",
        "bridge fdb append 00:00:00:00:00:00 dev egress.vxlan dst 10.6.1.99 self permanent",
        ("fdb 00:00:00:00:00:00 to 10.6.1.99 on egress.vxlan",),
    ),
    Drift(
        "neighbour changed",
        "worker1",
        "ip neighbour replace 172.31.0.1 lladdr 02:00:00:00:00:01 dev egress.vxlan nud permanent",
        ("neighbour 172.31.0.1 on egress.vxlan",),
        "node gw1",
    ),
    Drift(
        "address removed",
        "worker1",
        "ip address delete fd11::3/112 dev egress.vxlan",
        ("address fd11::3/112 on egress.vxlan",),
    ),
    Drift(
        "address added",
        "worker1",
        "ip address add 172.31.9.9/32 dev egress.vxlan",
        ("address 172.31.9.9/32 on egress.vxlan",),
    ),
    Drift("MTU changed", "worker1", "ip link set egress.vxlan mtu 1400", ("link egress.vxlan mtu",)),
    Drift(
        "sysctl changed",
        "worker1",
        "echo 0 > /proc/sys/net/ipv4/conf/egress.vxlan/rp_filter",
        ("sysctl net/ipv4/conf/egress.vxlan/rp_filter",),
    ),
    Drift(
        "file edited",
        "worker1",
        "echo '# by hand' >> /etc/egress-gateway/nftables.nft",
        ("file /etc/egress-gateway/nftables.nft",),
    ),
    Drift(
        "file not executable",
        "gw1",
        "chmod -x /etc/e*/notify.sh",
        ("file /etc/egress-gateway/notify.sh", "keepalived"),
    ),
    Drift(
        "keepalived made to read another file",
        "gw1",
        "cd /etc/egress-gateway; cp keepalived.conf /run/kept\n"
        "sed -i 's/advert_int .*/advert_int 0.3/' keepalived.conf\n"
        "kill -HUP $(cat /run/egress-gateway/keepalived.pid); sleep 0.3; cat /run/kept >keepalived.conf; rm /run/kept",
        ("keepalived",),
    ),
    Drift("stray file", "worker1", "touch /etc/egress-gateway/stray", ("file /etc/egress-gateway/stray",)),
    Drift("plan damaged", "gw1", "echo '{' >/etc/egress-gateway/plan.json", ("file /etc/egress-gateway/plan.json",)),
    Drift("plan lost", "gw1", "rm /etc/egress-gateway/plan.json", ("file /etc/egress-gateway/plan.json",)),
    Drift(
        "keepalived killed",
        "gw1",
        "kill -KILL $(cat /run/egress-gateway/*.pid); sleep 0.1",
        ("keepalived",),
    ),
    Drift("keepalived stopped", "gw1", "kill $(cat /run/egress-gateway/keepalived.pid); sleep 1.5", ("keepalived",)),
)


@pytest.fixture(scope="module")
def nodes(lab: Lab, bundle_dir: Path) -> dict[str, Node]:
    found = {name: Node(lab, name) for name in ("gw1", "worker1")}
    for name, node in found.items():
        result = node.apply(node_files(bundle_dir, name))
        assert not result.get("failed"), result["msg"]
    return found


@pytest.mark.parametrize("drift", DRIFTS, ids=lambda drift: drift.name)
def test_drift_is_named_and_repaired_alone(drift: Drift, nodes: dict[str, Node], bundle_dir: Path) -> None:
    node, files = nodes[drift.node], node_files(bundle_dir, drift.node)
    node.shell(drift.plant)

    named = node.verify(files)
    assert objects(named) == list(drift.objects)
    assert drift.origin in (named[0]["origin"], "")
    assert named[0]["expected"] != named[0]["actual"]

    assert objects(node.apply(files, check=True)["changes"]) == list(drift.objects)
    repaired = node.apply(files)
    assert repaired["changed"], repaired
    assert objects(repaired["changes"]) == list(drift.objects)
    assert node.verify(files) == []


def test_a_lost_device_comes_back_with_all_that_was_on_it(nodes: dict[str, Node], bundle_dir: Path) -> None:
    for name, node in nodes.items():
        node.run("ip", "link", "delete", "egress.vxlan")
        files = node_files(bundle_dir, name)
        assert "link egress.vxlan" in objects(node.verify(files))
        assert node.apply(files)["changed"]
        assert node.verify(files) == []
    nodes["gw1"].await_address("172.31.255.254")


def test_another_kind_of_device_is_replaced(nodes: dict[str, Node], bundle_dir: Path) -> None:
    node, files = nodes["worker1"], node_files(bundle_dir, "worker1")
    node.shell("ip link delete egress.vxlan; ip link add egress.vxlan type vxlan id 7 dstport 4789")
    drift = {entry["object"]: entry for entry in node.verify(files)}
    assert "vxlan id 7 port 4789" in drift["link egress.vxlan"]["actual"]
    assert node.apply(files)["changed"]
    assert node.verify(files) == []


def test_a_master_is_no_drift(nodes: dict[str, Node], bundle_dir: Path) -> None:
    """On the master the slot's tunnel address is local, and the route to it cannot be added."""
    node, files = nodes["gw1"], node_files(bundle_dir, "gw1")
    node.await_address("172.31.255.254")
    node.shell("ip route delete default table 3001 metric 0 2>/dev/null || true")
    assert node.verify(files) == []
    assert not node.apply(files)["changed"]
