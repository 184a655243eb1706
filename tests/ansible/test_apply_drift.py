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
        "$(nft -a list chain inet egress_gateway classify | sed -n 's/.*@governed_pods6 # handle //p')",
        ("rule 7 of chain classify",),
    ),
    Drift(
        "rule of a policy changed",
        "worker1",
        "nft replace rule inet egress_gateway policy.egp.shop.web handle "
        "$(nft -a list chain inet egress_gateway policy.egp.shop.web | sed -n 's/.*ipv4 goto.*# handle //p') "
        "meta nfproto ipv4 return",
        ("rule 1 of chain policy.egp.shop.web",),
        "EgressPolicy shop/web",
    ),
    Drift(
        "rule added",
        "worker1",
        "nft add rule inet egress_gateway forward counter accept",
        ("rule 4 of chain forward",),
        "not in the plan",
    ),
    Drift(
        "element added",
        "worker1",
        "nft add element inet egress_gateway governed_pods4 '{ 10.244.3.77 : goto policy.egp.shop.web }'",
        ("element 10.244.3.77 of map governed_pods4",),
        "not in the plan",
    ),
    Drift(
        "element deleted",
        "worker1",
        "nft delete element inet egress_gateway governed_pods4 '{ 10.244.3.10 }'",
        ("element 10.244.3.10 of map governed_pods4",),
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
        ("route ipv4 default table 3002 metric 4278198272",),
    ),
    Drift(
        "stale route",
        "worker1",
        "ip route add unreachable default table 3009 metric 5 protocol 213",
        ("route ipv4 default table 3009 metric 5",),
        "not in the plan",
    ),
    Drift(
        "connected route deleted",
        "worker1",
        "ip route delete 172.31.0.0/16 dev egress.vxlan",
        ("route 172.31.0.0/16 on egress.vxlan",),
        "the tunnel",
    ),
    Drift(
        "connected IPv6 route deleted",
        "gw1",
        "ip -6 route delete fd11::/112 dev egress.vxlan",
        ("route fd11::/112 on egress.vxlan",),
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
        "ip rule delete preference 104",
        ("rule ipv4 preference 104 from all",),
        "what goes past the last resort",
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
    Drift(
        "ARP off",
        "worker1",
        "ip link set egress.vxlan arp off",
        (
            "link egress.vxlan arp",
            *(f"neighbour {a} on egress.vxlan" for a in ("172.31.0.1", "fd11::1", "172.31.0.2", "fd11::2")),
        ),
        "the tunnel",
    ),
    Drift(
        "in a bridge",
        "worker1",
        "ip link add br9 type bridge; ip link set egress.vxlan master br9",
        ("link egress.vxlan master",),
    ),
    Drift("carrier off", "worker1", "ip link set egress.vxlan protodown on", ("link egress.vxlan protodown",)),
    Drift(
        "answer number led to another slot",
        "worker1",
        "nft delete element inet egress_gateway answer_slots '{ 0x26000004 }'; "
        "nft add element inet egress_gateway answer_slots '{ 0x26000004 : jump slot.2 }'",
        ("element 0x26000004 of map answer_slots",),
        "EgressPolicy shop/web",
    ),
    Drift(
        "answer number unknown",
        "gw1",
        "nft delete element inet egress_gateway answers4 '{ 4 }'",
        ("element 0x00000004 of map answers4",),
        "EgressPolicy shop/web",
    ),
    Drift("TTL of the tunnel", "worker1", "ip link set egress.vxlan type vxlan ttl 1", ("link egress.vxlan",)),
    Drift("learning", "worker1", "ip link set egress.vxlan type vxlan learning", ("link egress.vxlan",)),
    Drift(
        "address deprecated",
        "worker1",
        "ip address change fd11::3/112 dev egress.vxlan preferred_lft 0",
        ("address fd11::3/112 on egress.vxlan",),
    ),
    Drift(
        "address that expires",
        "worker1",
        "ip address change 172.31.0.3/16 dev egress.vxlan valid_lft 300 preferred_lft 300",
        ("address 172.31.0.3/16 on egress.vxlan",),
    ),
    Drift(
        "FDB entry to another port",
        "worker1",
        "bridge fdb replace 66:65:67:00:00:01 dev egress.vxlan dst 10.6.1.11 port 4789 self permanent",
        ("fdb 66:65:67:00:00:01 to 10.6.1.11 on egress.vxlan",),
    ),
    Drift(
        "FDB entry that ages",
        "worker1",
        "bridge fdb replace 66:65:67:00:00:01 dev egress.vxlan dst 10.6.1.11 self dynamic",
        ("fdb 66:65:67:00:00:01 to 10.6.1.11 on egress.vxlan",),
    ),
    Drift(
        "flood entry of another VNI",
        "worker1",
        "bridge fdb append 00:00:00:00:00:00 dev egress.vxlan dst 10.6.1.11 vni 7 self permanent",
        ("fdb 00:00:00:00:00:00 to 10.6.1.11 on egress.vxlan",),
    ),
    Drift(
        "neighbour not permanent",
        "worker1",
        "ip neighbour replace 172.31.0.1 lladdr 66:65:67:00:00:01 dev egress.vxlan nud stale",
        ("neighbour 172.31.0.1 on egress.vxlan",),
    ),
    Drift(
        "route with an MTU",
        "worker1",
        "ip route replace default via 172.31.255.254 dev egress.vxlan table 3001 protocol 213 mtu lock 576",
        ("route ipv4 default table 3001 metric 0",),
    ),
    Drift(
        "route of several next hops",
        "worker1",
        "ip route replace default table 3001 protocol 213 nexthop via 172.31.0.1 dev egress.vxlan "
        "nexthop via 172.31.0.2 dev egress.vxlan",
        ("route ipv4 default table 3001 metric 0",),
    ),
    Drift(
        "ip rule that ignores the default route",
        "worker1",
        f"ip rule delete preference 99 fwmark {MARK}; "
        f"ip rule add preference 99 fwmark {MARK} table 3001 protocol 213 suppress_prefixlength 0",
        (
            f"rule ipv4 preference 99 fwmark {MARK}",
            f"rule ipv4 preference 99 fwmark {MARK} suppress_prefixlength 0",
        ),
        "EgressGateway internet, slot of gw1",
    ),
    Drift(
        "ip rule for one protocol",
        "worker1",
        f"ip -6 rule delete preference 99 fwmark {MARK}; "
        f"ip -6 rule add preference 99 fwmark {MARK} ipproto tcp dport 80-90 table 3001 protocol 213",
        (
            f"rule ipv6 preference 99 fwmark {MARK}",
            f"rule ipv6 preference 99 fwmark {MARK} ipproto 6 dport 80-90",
        ),
        "EgressGateway internet, slot of gw1",
    ),
    Drift(
        "table put to sleep",
        "worker1",
        "nft add table inet egress_gateway '{ flags dormant; }'",
        ("table inet egress_gateway",),
    ),
    Drift(
        "end of the veth pair in a bridge",
        "gw1",
        "ip link add br9 type bridge; ip link set egress.worker master br9",
        ("link egress.worker",),
    ),
    Drift("MTU changed", "worker1", "ip link set egress.vxlan mtu 1400", ("link egress.vxlan mtu",)),
    Drift(
        "sysctl changed",
        "worker1",
        "echo 0 > /proc/sys/net/ipv4/conf/egress.vxlan/rp_filter",
        ("sysctl net/ipv4/conf/egress.vxlan/rp_filter",),
    ),
    Drift(
        "forwarding off on the tunnel",
        "worker1",
        "echo 0 > /proc/sys/net/ipv4/conf/egress.vxlan/forwarding",
        ("sysctl net/ipv4/conf/egress.vxlan/forwarding",),
    ),
    Drift(
        "IPv6 forwarding off on the uplink",
        "gw1",
        "echo 0 > /proc/sys/net/ipv6/conf/eth0/forwarding",
        ("sysctl net/ipv6/conf/eth0/forwarding",),
    ),
    Drift(
        "forwarding off on the veth pair",
        "gw1",
        "echo 0 > /proc/sys/net/ipv4/conf/egress.gateway/forwarding",
        ("sysctl net/ipv4/conf/egress.gateway/forwarding",),
    ),
    Drift(
        "owner of a file",
        "worker1",
        "chown 1000 /etc/egress-gateway/nftables.nft",
        ("file /etc/egress-gateway/nftables.nft",),
        "the bundle",
    ),
    Drift(
        "directory open to all",
        "worker1",
        "chmod 1777 /etc/egress-gateway",
        ("directory /etc/egress-gateway",),
        "what root runs",
    ),
    Drift(
        "owner of a directory",
        "gw1",
        "chown 1000:1000 /var/lib/egress-gateway",
        ("directory /var/lib/egress-gateway",),
    ),
    Drift(
        "program open to all",
        "worker1",
        "chmod a+w /var/lib/egress-gateway/agent.pyz",
        ("program /var/lib/egress-gateway/agent.pyz",),
    ),
    Drift(
        "originals gone",
        "worker1",
        "rm /etc/egress-gateway/before.json",
        ("file /etc/egress-gateway/before.json",),
        "the sysctls before the first apply",
    ),
    Drift(
        "copy of the originals gone",
        "worker1",
        "rm /var/lib/egress-gateway/before.json",
        ("file /var/lib/egress-gateway/before.json",),
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
        # What watches it would start it again before anybody looks.
        "kill $(pgrep -f '[e]gress-gateway/watch$'); kill -KILL $(cat /run/egress-gateway/*.pid); sleep 0.1",
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


@pytest.mark.parametrize(
    ("plant", "first"),
    [
        ("ip link set egress.vxlan down", "link egress.vxlan state"),
        (
            "echo 1 > /proc/sys/net/ipv6/conf/egress.vxlan/disable_ipv6",
            "sysctl net/ipv6/conf/egress.vxlan/disable_ipv6",
        ),
    ],
)
def test_what_takes_more_along_is_named_first(plant: str, first: str, nodes: dict[str, Node], bundle_dir: Path) -> None:
    node, files = nodes["worker1"], node_files(bundle_dir, "worker1")
    node.shell(plant)
    named = objects(node.verify(files))
    assert named[0] == first
    assert "address fd11::3/112 on egress.vxlan" in named
    assert objects(node.apply(files)["changes"])[0] == first
    assert node.verify(files) == []


def test_originals_that_are_lost_are_said_to_be(nodes: dict[str, Node], bundle_dir: Path) -> None:
    node, files = nodes["worker1"], node_files(bundle_dir, "worker1")
    node.shell("rm /etc/egress-gateway/before.json /var/lib/egress-gateway/before.json")
    assert len(node.verify(files)) == 2
    assert "state absent will leave them as they are now" in str(node.apply(files)["warnings"])
    assert node.verify(files) == []


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ("id 7 dstport 4789", "vxlan id 7 local any dstport 4789 learning"),
        ("id 100 local 10.6.1.21 dstport 7789 nolearning", "vxlan id 100 local 10.6.1.21 dstport 7789 nolearning"),
    ],
    ids=["another tunnel", "without group policy"],
)
def test_another_kind_of_device_is_replaced(options: str, named: str, nodes: dict[str, Node], bundle_dir: Path) -> None:
    node, files = nodes["worker1"], node_files(bundle_dir, "worker1")
    node.shell(f"ip link delete egress.vxlan; ip link add egress.vxlan type vxlan {options}")
    drift = {entry["object"]: entry for entry in node.verify(files)}
    assert drift["link egress.vxlan"]["actual"] == named
    assert node.apply(files)["changed"]
    assert node.verify(files) == []


def test_a_master_is_no_drift(nodes: dict[str, Node], bundle_dir: Path) -> None:
    """On the master the slot's tunnel address is local, and the route to it cannot be added."""
    node, files = nodes["gw1"], node_files(bundle_dir, "gw1")
    node.await_address("172.31.255.254")
    node.shell("ip route delete default table 3001 metric 0 2>/dev/null || true")
    assert node.verify(files) == []
    assert not node.apply(files)["changed"]
