"""Who has no part in it, outside or inside the cluster, gets nothing of it: no port, address, mastership, or way in."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from egress_compiler.lab import ProbeTarget, kill
from egress_compiler.lab.example import RunningExample
from egress_compiler.model.policy import Ref
from tests.lab.by_hand import EXAMPLES, applied, holds, wait_for

pytestmark = pytest.mark.lab
FORGE = Path(__file__).with_name("forge.py")
SENT = 3
"""Packets a forgery."""
GATEWAY, WORKER = "gw1", "worker1"
GATEWAY_ADDRESS, TUNNEL_MAC, TUNNEL_VIP = "10.6.1.11", "66:65:67:00:00:01", "172.31.255.254"
EIPS = ("10.6.1.61", "fd00:10:6:1::61")
GOVERNED = ("10.244.3.10", "fd00:10:244:3::a")
"""shop/web-5d8f7c9b6d-4kq2x on worker1, which leaves with EIPS."""
NO_PODS = ("10.20.30.40", "fd00:20:30::40")
FREE_POD, FREE = "ops/batch-28c7q", ("10.244.3.40", "fd00:10:244:3::28")
OTHER_NODES_POD = "ops/probe-0"
GATEWAY_POD = "shop/web-5d8f7c9b6d-tn5rs"
HEARD = """
table inet heard {
    set from4 { type ipv4_addr; flags dynamic; }
    set from6 { type ipv6_addr; flags dynamic; }
    chain prerouting {
        type filter hook prerouting priority -300;
        udp dport 7002 add @from4 { ip saddr }
        udp dport 7002 add @from6 { ip6 saddr }
    }
}
"""


@pytest.fixture(scope="module")
def ha() -> Iterator[RunningExample]:
    with applied(EXAMPLES / "dual-stack-ha", "hardening") as running:
        yield running


def forge(running: RunningExample, host: str, *arguments: str) -> None:
    running.lab.exec(host, [sys.executable, str(FORGE), *arguments])


def number(running: RunningExample) -> str:
    """The answer number of GOVERNED."""
    return str(running.compilation.allocation.answers[Ref("EgressPolicy", "shop", "web")])


def far(running: RunningExample) -> tuple[str, str]:
    outside = running.lab.topology.outside
    return outside.far4[0], outside.far6[0]


def drops(running: RunningExample, node: str, reason: str) -> int:
    """How many packets the node has dropped for a reason, as the rule's comment gives it."""
    listing = running.lab.exec(node, ["nft", "-j", "list", "table", "inet", "egress_gateway"]).stdout
    rules = [entry["rule"] for entry in json.loads(listing)["nftables"] if "rule" in entry]
    counters = [
        part["counter"]["packets"]
        for rule in rules
        if rule.get("comment") == reason
        for part in rule["expr"]
        if "counter" in part
    ]
    assert counters, f"no rule of {node} says {reason!r}"
    return sum(counters)


class Listening:
    """Who was heard on the port of the forgeries by a host, whether it answers or not."""

    def __init__(self, running: RunningExample, host: str) -> None:
        self._running, self._host = running, host

    def __enter__(self) -> "Listening":
        self._running.lab.exec(self._host, ["nft", "-f", "-"], stdin=HEARD)
        return self

    def __exit__(self, *_: object) -> None:
        self._running.lab.exec(self._host, ["nft", "delete table inet heard"])

    def sources(self) -> set[str]:
        listing = self._running.lab.exec(self._host, ["nft", "-j", "list", "table", "inet", "heard"]).stdout
        sets = [entry["set"] for entry in json.loads(listing)["nftables"] if "set" in entry]
        return {str(element) for one in sets for element in one.get("elem", ())}


def test_a_stranger_cannot_take_mastership_away(ha: RunningExample) -> None:
    """By multicast it is not even listened to."""
    before = drops(ha, GATEWAY, "vrrp: unknown peer")
    for destination in ("224.0.0.18", GATEWAY_ADDRESS):
        forge(ha, "outside", "advert", destination, "1")
    wait_for(lambda: drops(ha, GATEWAY, "vrrp: unknown peer") == before + SENT, "the adverts to be dropped")
    assert holds(ha.lab, GATEWAY, TUNNEL_VIP)
    assert holds(ha.lab, GATEWAY, EIPS[0])


def test_a_stranger_cannot_tell_gateways_of_connections(ha: RunningExample) -> None:
    before = drops(ha, GATEWAY, "conntrackd: unknown peer")
    script = f"import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(bytes(64), ('{GATEWAY_ADDRESS}', 3780))"
    ha.lab.exec("outside", ["python3", "-c", script])
    wait_for(lambda: drops(ha, GATEWAY, "conntrackd: unknown peer") == before + 1, "the message to be dropped")


@pytest.mark.parametrize("family", [0, 1], ids=["ipv4", "ipv6"])
def test_a_stranger_cannot_borrow_an_eip_by_the_tunnel(ha: RunningExample, family: int) -> None:
    """Everything is right, the packet network's number and the source inside, but for who sends it."""
    before = drops(ha, GATEWAY, "vxlan: unknown peer")
    with Listening(ha, "outside") as outside:
        packet = (TUNNEL_MAC, GOVERNED[family], far(ha)[family], number(ha))
        forge(ha, "outside", "vxlan", GATEWAY_ADDRESS, *packet)
        assert drops(ha, GATEWAY, "vxlan: unknown peer") == before + SENT
        assert outside.sources() == set()
        forge(ha, WORKER, "frames", "egress.vxlan", *packet)
        wait_for(lambda: outside.sources() == {EIPS[family]}, "the same packet from its node to be translated")


@pytest.mark.parametrize("family", [0, 1], ids=["ipv4", "ipv6"])
@pytest.mark.parametrize("forged", ["0", "77", "16383", "16384", "65535"])
def test_the_tunnel_carries_no_number_that_is_no_answer(ha: RunningExample, forged: str, family: int) -> None:
    before = drops(ha, GATEWAY, "unknown answer number")
    with Listening(ha, "outside") as outside:
        forge(ha, WORKER, "frames", "egress.vxlan", TUNNEL_MAC, GOVERNED[family], far(ha)[family], forged)
        wait_for(lambda: drops(ha, GATEWAY, "unknown answer number") == before + SENT, "the packets to be dropped")
        assert outside.sources() == set()


@pytest.mark.parametrize("family", [0, 1], ids=["ipv4", "ipv6"])
def test_the_tunnel_carries_nothing_that_is_no_pods(ha: RunningExample, family: int) -> None:
    """A node may say any number that there is, but lends nobody else's address to it."""
    before = drops(ha, GATEWAY, "no pod's address")
    with Listening(ha, "outside") as outside:
        packet = (TUNNEL_MAC, NO_PODS[family], far(ha)[family], number(ha))
        forge(ha, WORKER, "frames", "egress.vxlan", *packet)
        wait_for(lambda: drops(ha, GATEWAY, "no pod's address") == before + SENT, "the packets to be dropped")
        assert outside.sources() == set()


@pytest.mark.parametrize("pod", [FREE_POD, GATEWAY_POD])
def test_a_pod_cannot_speak_vxlan(ha: RunningExample, pod: str) -> None:
    """Not even from the address of its node, as the CNI would have it."""
    node = ha.lab.topology.pod(pod).node
    to = GATEWAY_ADDRESS if node != GATEWAY else "10.6.1.12"
    before = drops(ha, node, "vxlan: from a pod")
    with Listening(ha, "outside") as outside:
        forge(ha, pod, "vxlan", to, TUNNEL_MAC, GOVERNED[0], far(ha)[0], number(ha))
        wait_for(lambda: drops(ha, node, "vxlan: from a pod") == before + SENT, "the packets to be dropped")
        assert outside.sources() == set()


@pytest.mark.parametrize(
    "inside",
    [
        "10.244.1.10",
        "fd00:10:244:1::a",
        "10.6.1.22",
        "fd00:10:6:1::22",
        "10.96.12.34",
        "fd00:10:96::1234",
    ],
    ids=["pod", "pod6", "node", "node6", "service", "service6"],
)
def test_the_tunnel_is_no_way_into_the_cluster(ha: RunningExample, inside: str) -> None:
    before = drops(ha, GATEWAY, "no path into the cluster")
    source = GOVERNED[":" in inside]
    with Listening(ha, GATEWAY_POD) as pod, Listening(ha, "worker2") as node:
        forge(ha, WORKER, "frames", "egress.vxlan", TUNNEL_MAC, source, inside, number(ha))
        wait_for(lambda: drops(ha, GATEWAY, "no path into the cluster") == before + SENT, "the packets to be dropped")
        assert (pod.sources(), node.sources()) == (set(), set())


@pytest.mark.parametrize("to", [TUNNEL_VIP, "172.31.0.1", "fd11::1", GATEWAY_ADDRESS, "fd00:10:6:1::11"])
def test_the_tunnel_is_no_way_to_the_gateway_itself(ha: RunningExample, to: str) -> None:
    before = drops(ha, GATEWAY, "no path to the node")
    forge(ha, WORKER, "frames", "egress.vxlan", TUNNEL_MAC, GOVERNED[":" in to], to, number(ha))
    wait_for(lambda: drops(ha, GATEWAY, "no path to the node") == before + SENT, "the packets to be dropped")


@pytest.mark.parametrize("family", [0, 1], ids=["ipv4", "ipv6"])
@pytest.mark.parametrize("pod", [FREE_POD, OTHER_NODES_POD])
def test_a_pod_cannot_borrow_the_eip_of_another_pod_by_its_address(ha: RunningExample, pod: str, family: int) -> None:
    """Its neighbour's on one node, or that of a pod elsewhere, whom its own node does not steer."""
    lab = ha.lab
    router = json.loads(lab.exec(pod, ["ip", "-j", "neighbour", "show", "nud", "permanent"]).stdout)[0]["lladdr"]
    with Listening(ha, "outside") as outside:
        forge(ha, pod, "frames", "eth0", router, GOVERNED[family], far(ha)[family])
        forge(ha, pod, "marked", "0", far(ha)[family])
        wait_for(lambda: outside.sources() != set(), "the pod's own packets to be heard")
        assert EIPS[family] not in outside.sources()


@pytest.mark.parametrize("mark", ["26000001", "27000000", "27000001", "26000000"])
def test_a_pods_own_marks_mean_nothing(ha: RunningExample, mark: str) -> None:
    with Listening(ha, "outside") as outside:
        for address in far(ha):
            forge(ha, FREE_POD, "marked", mark, address)
        wait_for(lambda: len(outside.sources()) == 2, "the pod to be heard")
        assert outside.sources() == {"10.6.1.21", "fd00:10:6:1::21"}


def test_an_eip_does_not_answer_pings(ha: RunningExample) -> None:
    for eip in EIPS:
        assert ha.lab.exec("outside", ["ping", "-c1", "-W1", eip], check=False).returncode == 1
    assert ha.lab.exec("outside", ["ping", "-c1", "-W1", GATEWAY_ADDRESS], check=False).returncode == 0


def test_a_port_that_a_program_of_the_node_opens_on_an_eip_is_not_reached(ha: RunningExample) -> None:
    script = (
        "import socket, sys, time; s = [socket.create_server((a, 7005), family=f) for a, f in"
        f" (('{EIPS[0]}', socket.AF_INET), ('{EIPS[1]}', socket.AF_INET6))]; print(flush=True); time.sleep(30)"
    )
    program = ha.lab.popen(GATEWAY, ["python3", "-c", script])
    assert program.stdout is not None
    program.stdout.readline()
    try:
        results = ha.lab.probe("outside", [ProbeTarget("tcp", eip, 7005) for eip in EIPS], timeout=1)
        assert [result.error for result in results] == ["timeout", "timeout"]
    finally:
        kill(program)
