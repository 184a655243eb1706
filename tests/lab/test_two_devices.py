"""Gateways whose default route is by a management network: EIPs leave by the device and next hop of their subnet."""

import os
from collections.abc import Iterator

import pytest

from egress_compiler.contract.numbers import PREFIX_MASK, uplink_mark, uplink_table
from egress_compiler.lab import ProbeTarget, down
from egress_compiler.lab.example import RunningExample, running_example, up_example
from tests.lab.by_hand import apply_by_hand
from tests.lab.gateways import FAILING_POD, OTHER_POD, WORKER_PODS, write_example
from tests.lab.test_uplinks import STRICT

pytestmark = pytest.mark.lab

EIPS = ("10.6.1.61", "fd00:10:6:1::61")
SETTINGS = """
uplinkCIDRs: [10.6.1.0/24, "fd00:10:6:1::/64"]
uplinkGateways: {ipv4: 10.6.1.254, ipv6: "fd00:10:6:1::fffe"}
# The management network; the lab makes a device of it.
uplinks:
  - interface: eth1
    cidrs: [192.168.99.0/24, "fd00:99::/64"]
    ipv4Gateway: 192.168.99.1
    ipv6Gateway: fd00:99::1
"""
MANAGED = """
ip address add 192.168.99.{n}/24 dev eth1
ip address add fd00:99::{n}/64 dev eth1 nodad
ip route replace default via 192.168.99.1 dev eth1
ip -6 route replace default via fd00:99::1 dev eth1
sysctl -qw net.ipv4.conf.eth0.rp_filter=1 net.ipv4.conf.eth1.rp_filter=1
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningExample]:
    name = f"test-{os.getpid()}-two-devices"
    directory = write_example(tmp_path_factory.mktemp("two-devices") / "example")
    with (directory / "settings.yaml").open("a") as settings:
        settings.write(SETTINGS)
    up_example(directory, name)
    try:
        found = running_example(name)
        for number, node in enumerate(("gw1", "gw2"), 11):
            found.lab.exec(node, ["sh", "-ec", MANAGED.format(n=number)])
        found.lab.exec("outside", ["nft", "-f", "-"], stdin=STRICT)
        apply_by_hand(found.lab, found.compilation)
        yield found
    finally:
        down(name)


def seen(running: RunningExample, pod: str) -> list[str | None]:
    outside = running.lab.topology.outside
    targets = [ProbeTarget(p, address) for address in (outside.far4[0], outside.far6[0]) for p in ("tcp", "udp")]
    return [result.seen for result in running.lab.probe(pod, targets)]


@pytest.mark.parametrize("pod", [*WORKER_PODS, FAILING_POD, OTHER_POD])
def test_an_eip_leaves_by_its_own_device(running: RunningExample, pod: str) -> None:
    assert seen(running, pod) == [EIPS[0], EIPS[0], EIPS[1], EIPS[1]]
    listing = running.lab.exec("outside", ["nft", "list", "table", "inet", "strict"]).stdout
    assert "counter packets 0 " in listing


def test_without_its_rule_it_would_leave_by_the_default_route(running: RunningExample) -> None:
    """What shows that the lab would notice."""
    rule = ["fwmark", f"{uplink_mark(2):#x}/{PREFIX_MASK:#x}"]
    running.lab.exec("gw1", ["ip", "rule", "delete", *rule])
    try:
        assert seen(running, WORKER_PODS[0])[:2] == [None, None]
    finally:
        running.lab.exec(
            "gw1", ["ip", "rule", "add", "preference", "99", *rule, "lookup", str(uplink_table(2)), "protocol", "213"]
        )
    assert seen(running, WORKER_PODS[0])[0] == EIPS[0]
