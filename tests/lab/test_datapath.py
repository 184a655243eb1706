"""Packets through compiled bundles, put on the nodes by plain tools: the datapath without the collection."""

import json
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from egress_compiler.lab import ProbeTarget, down
from egress_compiler.lab.example import RunningExample, example_inputs, running_example, up_example
from egress_compiler.pipeline import compile_bundle
from tests.lab.by_hand import (
    EXAMPLES,
    apply_by_hand,
    await_masters,
    holds,
    start_keepalived,
    stop_keepalived,
    wait_for,
    wrong_rows,
)
from tests.lab.open_connection import OpenConnection

pytestmark = pytest.mark.lab


def example(name: str) -> Iterator[RunningExample]:
    lab = f"test-{os.getpid()}-{name}"
    up_example(EXAMPLES / name, lab)
    try:
        yield running_example(lab)
    finally:
        down(lab)


@pytest.fixture(scope="module")
def quickstart() -> Iterator[RunningExample]:
    yield from example("quickstart")


@pytest.fixture(scope="module")
def ha() -> Iterator[RunningExample]:
    yield from example("dual-stack-ha")


VISITOR = "default/visitor-6764bb48cc-29vq9"
WORKER_POD, GATEWAY_POD = "shop/web-5d8f7c9b6d-4kq2x", "shop/web-5d8f7c9b6d-tn5rs"
FREE_POD = "ops/batch-28c7q"
OTHER_WORKER_POD = "shop/web-5d8f7c9b6d-9wz7m"


def test_the_guides_policy_gives_the_visitor_its_address(quickstart: RunningExample) -> None:
    assert wrong_rows(quickstart, applied=False) == []
    apply_by_hand(quickstart.lab, quickstart.compilation)
    (result,) = quickstart.lab.probe(VISITOR, [ProbeTarget("http", "203.0.113.10")])
    assert result.seen == "172.22.0.110"
    assert wrong_rows(quickstart, applied=True) == []


def test_connections_open_before_apply_survive_and_all_pods_leave_as_expected(ha: RunningExample) -> None:
    open_before = [OpenConnection(ha.lab, pod, a) for pod in (WORKER_POD, GATEWAY_POD) for a in far(ha)]
    before = [connection.seen for connection in open_before]
    apply_by_hand(ha.lab, ha.compilation)
    assert [connection.says("still here") for connection in open_before] == ["still here"] * len(open_before)
    assert before == ["10.6.1.21", "fd00:10:6:1::21", "10.6.1.11", "fd00:10:6:1::11"]
    for connection in open_before:
        connection.close()
    assert wrong_rows(ha, applied=True) == []


def far(running: RunningExample) -> list[str]:
    outside = running.lab.topology.outside
    return [outside.far4[0], outside.far6[0]]


def test_in_cluster_traffic_is_untouched(ha: RunningExample) -> None:
    pod = ha.lab.topology.pod(OTHER_WORKER_POD)
    ha.lab.start_echo(pod.host)
    ha.lab.start_echo("worker2")
    own = ha.lab.topology.pod(WORKER_POD).addresses
    for target, source in ((0, own[0]), (1, own[1])):
        (seen,) = ha.lab.probe(WORKER_POD, [ProbeTarget("tcp", pod.addresses[target])])
        assert seen.seen == source
    results = ha.lab.probe(WORKER_POD, [ProbeTarget("tcp", "10.6.1.22"), ProbeTarget("tcp", "fd00:10:6:1::22")])
    assert all(result.seen in (*own, "10.6.1.21", "fd00:10:6:1::21") for result in results)
    for backend in ("shop/web-5d8f7c9b6d-4kq2x", "shop/web-5d8f7c9b6d-tn5rs"):
        ha.lab.start_echo(backend)
    services = [ProbeTarget("tcp", "10.96.12.34", 80), ProbeTarget("tcp", "fd00:10:96::1234", 80)]
    for result in ha.lab.probe(FREE_POD, services):
        assert result.seen in ("10.244.3.40", "fd00:10:244:3::28"), result


def test_an_eip_exposes_nothing_of_its_node(ha: RunningExample) -> None:
    eips = ("10.6.1.61", "fd00:10:6:1::61")
    for node in ("gw1", "gw2"):
        ha.lab.start_echo(node)
    reachable = ha.lab.probe("outside", [ProbeTarget("tcp", "10.6.1.11"), ProbeTarget("tcp", "fd00:10:6:1::11")])
    assert all(result.seen for result in reachable)
    for result in ha.lab.probe("outside", [ProbeTarget(p, eip) for eip in eips for p in ("tcp", "udp")], timeout=1):
        assert (result.seen, result.error) == (None, "timeout")


def test_vxlan_from_strangers_is_dropped(ha: RunningExample) -> None:
    script = (
        "import socket; s=socket.socket(socket.AF_INET, socket.SOCK_DGRAM);"
        "[s.sendto(bytes(64), ('10.6.1.11', 7789)) for _ in range(3)]"
    )
    ha.lab.exec("outside", ["python3", "-c", script])
    listing = ha.lab.exec("gw1", ["nft", "list", "chain", "inet", "egress_gateway", "input"]).stdout
    assert "udp dport 7789 ip saddr != @tunnel_peers counter packets 3 " in listing


def test_packets_that_conntrack_calls_invalid_do_not_leak(ha: RunningExample) -> None:
    """They are never translated: from a governed pod, on a worker or a gateway, they must not leave at all."""
    script = (
        "import socket, struct, sys; s=socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP);"
        "[s.sendto(struct.pack('!HHIIBBHHH', 4000 + flags, 7001, 1, 1, 80, flags, 1000, 0, 0), (sys.argv[1], 0))"
        " for flags in (0, 3, 4, 17, 63)]"
    )
    capture = ha.lab.popen("outside", ["timeout", "3", "tcpdump", "-lnni", "any", "tcp and dst port 7001"])
    time.sleep(1)
    for pod in (WORKER_POD, GATEWAY_POD, FREE_POD):
        ha.lab.exec(pod, ["python3", "-c", script, far(ha)[0]])
    seen, _ = capture.communicate(timeout=10)
    assert " 10.244.3.40." in seen, "the pod without a policy shows that such packets would be seen"
    assert [line for line in seen.splitlines() if " 10.244.3.10." in line or " 10.244.1.10." in line] == []


@pytest.mark.parametrize("family", [0, 1], ids=["ipv4", "ipv6"])
def test_addresses_stay_when_a_gateway_loses_its_uplink(ha: RunningExample, family: int) -> None:
    target = ProbeTarget("udp", far(ha)[family])
    connection = OpenConnection(ha.lab, WORKER_POD, far(ha)[family])
    with ha.lab.outage(WORKER_POD, target, 6) as meter:
        time.sleep(1)
        ha.lab.cut("gw1")
        outage = meter.result()
    assert outage.seen == (("10.6.1.61", "fd00:10:6:1::61")[family],)
    assert outage.longest_gap_ms < 4000
    assert connection.says("after the cut") == "after the cut"
    connection.close()
    ha.lab.restore("gw1")
    await_masters(ha.lab, ha.compilation)
    assert wrong_rows(ha, applied=True) == []


def test_a_gateways_own_pod_follows_the_master(ha: RunningExample) -> None:
    """Where its own node is backup, a gateway's pod goes through the tunnel; what it has open stays open."""
    kept = [OpenConnection(ha.lab, GATEWAY_POD, address) for address in far(ha)]
    stop_keepalived(ha.lab, "gw1")
    wait_for(lambda: holds(ha.lab, "gw2", "172.31.255.254"), "gw2 to take over")
    for result in ha.lab.probe(GATEWAY_POD, [ProbeTarget("udp", a) for a in far(ha)]):
        assert result.seen in ("10.6.1.61", "fd00:10:6:1::61"), result
    assert [connection.says("by the tunnel") for connection in kept] == ["by the tunnel"] * 2
    start_keepalived(ha.lab, "gw1")
    await_masters(ha.lab, ha.compilation)
    assert [connection.says("over the wire") for connection in kept] == ["over the wire"] * 2
    for connection in kept:
        connection.close()
    for result in ha.lab.probe(GATEWAY_POD, [ProbeTarget("udp", a) for a in far(ha)]):
        assert result.seen in ("10.6.1.61", "fd00:10:6:1::61"), result


def test_without_any_gateway_governed_traffic_leaves_with_its_eip_or_stops(ha: RunningExample) -> None:
    for node in ("gw1", "gw2"):
        stop_keepalived(ha.lab, node)
    wait_for(lambda: not any(holds(ha.lab, n, "172.31.255.254") for n in ("gw1", "gw2")), "both to stop")
    targets = [ProbeTarget(p, a) for a in far(ha) for p in ("tcp", "udp")]
    # Until neighbour entries age, the old master may still be reached: then with the EIP, or not at all.
    for pod in (WORKER_POD, GATEWAY_POD):
        assert {r.seen for r in ha.lab.probe(pod, targets, timeout=1)} <= {None, "10.6.1.61", "fd00:10:6:1::61"}
    for node in ("worker1", "outside"):
        ha.lab.exec(node, ["ip", "neighbour", "flush", "nud", "reachable", "nud", "stale", "nud", "delay"])
        ha.lab.exec(node, ["ip", "-6", "neighbour", "flush", "nud", "reachable", "nud", "stale", "nud", "delay"])
    for pod in (WORKER_POD, GATEWAY_POD):
        assert [result.seen for result in ha.lab.probe(pod, targets, timeout=1)] == [None] * 4
    free = ha.lab.probe(FREE_POD, targets)
    assert [result.seen for result in free] == ["10.6.1.21", "10.6.1.21", "fd00:10:6:1::21", "fd00:10:6:1::21"]
    for node in ("gw1", "gw2"):
        start_keepalived(ha.lab, node)
    await_masters(ha.lab, ha.compilation)


def test_a_pod_that_nobody_knows_yet_reaches_nothing_outside_where_settings_say_so(
    ha: RunningExample, tmp_path: Path
) -> None:
    example = EXAMPLES / "dual-stack-ha"
    cluster = json.loads((example / "cluster.json").read_text())
    cluster["items"] = [i for i in cluster["items"] if i["metadata"]["name"] != FREE_POD.partition("/")[2]]
    (tmp_path / "cluster.json").write_text(json.dumps(cluster))
    settings = (example / "settings.yaml").read_text() + "unknownPods: {blockedNodes: [worker1]}\n"
    (tmp_path / "settings.yaml").write_text(settings)
    inputs = replace(example_inputs(example), cluster=(tmp_path / "cluster.json",), settings=tmp_path / "settings.yaml")
    text = compile_bundle(inputs).files["nodes/worker1/nftables.nft"]
    targets = [ProbeTarget("tcp", address) for address in far(ha)]
    inside = [ProbeTarget("tcp", ha.lab.topology.pod(OTHER_WORKER_POD).addresses[0])]
    ha.lab.exec("worker1", ["nft", "-f", "-"], stdin=text)
    try:
        refused = ha.lab.probe(FREE_POD, targets)
        assert [r.seen for r in refused] == [None, None]
        assert "timeout" not in [r.error for r in refused], "refused at once"
        assert ha.lab.probe(FREE_POD, inside)[0].seen is not None
        assert all(result.seen for result in ha.lab.probe(WORKER_POD, targets))
    finally:
        ha.lab.exec("worker1", ["nft", "-f", "/etc/egress-gateway/nftables.nft"])
    assert all(result.seen for result in ha.lab.probe(FREE_POD, targets))


def test_without_our_table_governed_traffic_stops_and_all_else_goes_on(ha: RunningExample) -> None:
    """A stranger flushed the ruleset (here: our table alone): routing refuses what nobody has looked at."""
    targets = [ProbeTarget(p, a) for a in far(ha) for p in ("tcp", "udp")]
    other = ha.lab.topology.pod("payments/api-7b6c54d9f8-v8c3d")
    ha.lab.start_echo(other.host)
    inside = [ProbeTarget("tcp", address) for address in other.addresses]
    for node, pod in (("worker1", WORKER_POD), ("gw1", GATEWAY_POD), ("gw1", WORKER_POD)):
        ha.lab.exec(node, ["nft", "delete", "table", "inet", "egress_gateway"])
        refused = ha.lab.probe(pod, targets)
        assert [result.seen for result in refused] == [None] * 4, (node, pod)
        assert all(result.seen for result in ha.lab.probe(pod, inside)), (node, pod)
        ha.lab.exec(node, ["nft", "-f", "/etc/egress-gateway/nftables.nft"])
        assert all(result.seen for result in ha.lab.probe(pod, targets)), (node, pod)
    ha.lab.exec("worker1", ["nft", "delete", "table", "inet", "egress_gateway"])
    assert ha.lab.probe(FREE_POD, targets[:1])[0].seen is not None
    ha.lab.exec("worker1", ["nft", "-f", "/etc/egress-gateway/nftables.nft"])


def test_without_the_tunnel_device_governed_traffic_stops(ha: RunningExample) -> None:
    ha.lab.exec("worker1", ["ip", "link", "delete", "egress.vxlan"])
    targets = [ProbeTarget(p, a) for a in far(ha) for p in ("tcp", "udp")]
    assert [result.seen for result in ha.lab.probe(WORKER_POD, targets, timeout=1)] == [None] * 4
