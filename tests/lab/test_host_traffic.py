"""A podSubnet that covers everything: nodes are reached, and reach the world, with our nftables table and without."""

import os
import shutil
from collections.abc import Iterator

import pytest

from egress_compiler.lab import TCP_PORT, ProbeTarget, down
from egress_compiler.lab.example import RunningExample, running_example, up_example
from tests.lab.by_hand import EXAMPLES, apply_by_hand

pytestmark = pytest.mark.lab
EVERYTHING = """
apiVersion: egressgateway.spidernet.io/v1beta1
kind: EgressClusterPolicy
metadata: {name: everything}
spec:
  priority: 60000
  egressGatewayName: internet
  appliedTo: {podSubnet: [0.0.0.0/0, "::/0"]}
"""
CONNECT = """
import socket, sys
to, port, source = sys.argv[1:]
try:
    with socket.create_connection((to, int(port)), timeout=4, source_address=(source, 0)) as connection:
        print(connection.makefile().readline().split()[0])
except OSError as problem:
    print(problem)
"""
NODES = {
    "gw1": ("10.6.1.11", "fd00:10:6:1::11"),
    "gw2": ("10.6.1.12", "fd00:10:6:1::12"),
    "worker1": ("10.6.1.21", "fd00:10:6:1::21"),
}
"""gw1 is the master, and worker1 a worker."""
VIPS = ("10.6.1.200", "fd00:10:6:1::200")
"""What the cluster's files do not show, as a control plane's address that kube-vip moves."""
BRIDGE = ("172.17.0.1", "fd17::1")
FREE_POD = "ops/batch-28c7q"
"""On worker1: no policy but the one for everything has it."""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningExample]:
    directory = tmp_path_factory.mktemp("example") / "ha"
    shutil.copytree(EXAMPLES / "dual-stack-ha", directory)
    (directory / "policies" / "everything.yaml").write_text(EVERYTHING)
    name = f"test-{os.getpid()}-hosts"
    up_example(directory, name)
    try:
        found = running_example(name)
        for node in NODES:
            plain = "ip address add 172.17.0.1/16 dev docker0; ip address add fd17::1/64 dev docker0 nodad"
            found.lab.exec(node, ["sh", "-ec", f"ip link add docker0 type bridge; {plain}; ip link set docker0 up"])
        vips = "ip address add 10.6.1.200/32 dev eth0; ip address add fd00:10:6:1::200/128 dev eth0 nodad"
        found.lab.exec("worker1", ["sh", "-ec", vips])
        for node in NODES:
            found.lab.start_echo(node)
        apply_by_hand(found.lab, found.compilation)
        yield found
    finally:
        down(name)


def connect(running: RunningExample, host: str, source: str, to: str) -> str:
    """The address that the server at ``to`` saw, or what went wrong."""
    done = running.lab.exec(host, ["python3", "-c", CONNECT, to, str(TCP_PORT), source])
    return done.stdout.strip()


def refused(running: RunningExample) -> dict[str, str]:
    """Every connection of a host that did not go as without any policy."""
    outside, wrong = running.lab.topology.outside, {}
    for far, family in ((outside.far4[0], 0), (outside.far6[0], 1)):
        tries = [(node, addresses[family], "outside", far) for node, addresses in NODES.items()]
        tries += [("outside", far, node, addresses[family]) for node, addresses in NODES.items()]
        tries += [("worker1", VIPS[family], "outside", far), ("outside", far, "worker1", VIPS[family])]
        tries += [(node, BRIDGE[family], node, BRIDGE[family]) for node in NODES]
        tries += [(node, addresses[family], node, BRIDGE[family]) for node, addresses in NODES.items()]
        for host, source, _, to in tries:
            # Twice, as the first connection may leave something for the next one.
            for _again in range(2):
                seen = connect(running, host, source, to)
                if seen != source:
                    wrong[f"{host} {source} -> {to}"] = seen
    return wrong


def test_hosts_are_not_governed(running: RunningExample) -> None:
    assert refused(running) == {}


def test_pods_are(running: RunningExample) -> None:
    targets = [
        ProbeTarget("tcp", a) for a in (running.lab.topology.outside.far4[0], running.lab.topology.outside.far6[0])
    ]
    assert [r.seen for r in running.lab.probe(FREE_POD, targets)] == [
        running.decide(FREE_POD, target.address).sources[0] for target in targets
    ]


def test_with_the_table_gone_hosts_go_on_and_pods_of_the_subnet_stay_in(running: RunningExample) -> None:
    lab = running.lab
    for node in NODES:
        lab.exec(node, ["nft", "delete", "table", "inet", "egress_gateway"])
    try:
        assert refused(running) == {}
        targets = [ProbeTarget("tcp", a) for a in (lab.topology.outside.far4[0], lab.topology.outside.far6[0])]
        assert [r.seen for r in lab.probe(FREE_POD, targets)] == [None, None]
    finally:
        for node in NODES:
            lab.exec(node, ["nft", "-f", "/etc/egress-gateway/nftables.nft"])


def test_what_lets_hosts_pass_may_be_lost_and_the_nodes_known_addresses_pass(running: RunningExample) -> None:
    """Rules that a stranger takes away one by one: what remains of them still does no harm to the node."""
    lab, (four, six) = running.lab, NODES["worker1"]
    for family, source, far in (
        ("-4", four, lab.topology.outside.far4[0]),
        ("-6", six, lab.topology.outside.far6[0]),
    ):
        lab.exec("worker1", ["ip", family, "rule", "delete", "preference", "100", "iif", "lo"])
        try:
            assert connect(running, "worker1", source, far) == source
            assert connect(running, "outside", far, source) == far
        finally:
            lab.exec(
                "worker1", ["ip", family, "-batch", "-"], stdin="rule add preference 100 iif lo goto 102 protocol 213"
            )
