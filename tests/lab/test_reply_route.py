"""Underlay pods, whom a gateway does not reach by itself: their replies go back by the tunnel (gatewayReplyRoute)."""

import json
import os
from collections.abc import Iterator

import pytest

from egress_compiler.lab import ProbeTarget, down
from egress_compiler.lab.drill import wait_for
from egress_compiler.lab.example import RunningExample, running_example, up_example
from tests.lab.by_hand import apply_by_hand, await_masters
from tests.lab.gateways import write_example

pytestmark = pytest.mark.lab
UNDERLAY = {
    "one-worker1": ["10.77.0.81", "fd00:10:77::81"],
    "two-worker1": ["10.77.0.82", "fd00:10:77::82"],
    "two-gw1": ["10.77.0.83", "fd00:10:77::83"],
}
"""Addresses of a network of their own, to which no node but the pod's has a way."""
EIPS = {"one": ["10.6.1.61", "fd00:10:6:1::61"], "two": ["10.6.1.62", "fd00:10:6:1::62"]}
OVERLAY = ("drill/one-worker2", "drill/one-gw1", "drill/two-gw2")


@pytest.fixture(scope="module")
def underlay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningExample]:
    directory = write_example(tmp_path_factory.mktemp("underlay") / "example")
    path = directory / "cluster.json"
    cluster = json.loads(path.read_text())
    for item in cluster["items"]:
        for address in UNDERLAY.get(item["metadata"]["name"], [])[:1]:
            ips = [{"ip": ip} for ip in UNDERLAY[item["metadata"]["name"]]]
            item["status"] |= {"podIP": address, "podIPs": ips}
    path.write_text(json.dumps(cluster))
    settings = directory / "settings.yaml"
    settings.write_text(settings.read_text() + "gatewayReplyRoute: true\n")
    name = f"test-{os.getpid()}-underlay"
    up_example(directory, name)
    try:
        running = running_example(name)
        _hide(running)
        yield running
    finally:
        down(name)


def _hide(running: RunningExample) -> None:
    """From all nodes but the pod's own: the lab's network would bring packets to any pod."""
    for pod in running.lab.topology.pods:
        for address in pod.addresses if pod.host.partition("/")[2] in UNDERLAY else ():
            for node in running.lab.topology.nodes:
                if node.name != pod.node:
                    running.lab.exec(node.name, ["ip", "route", "delete", address])


def seen(running: RunningExample, pod: str) -> list[str | None]:
    """With which addresses new connections arrive and are answered: IPv4 and IPv6, TCP and UDP."""
    outside = running.lab.topology.outside
    targets = [ProbeTarget(p, a) for a in (outside.far4[0], outside.far6[0]) for p in ("tcp", "udp")]
    return [result.seen for result in running.lab.probe(pod, targets, timeout=1)]


def eips_of(pod: str) -> list[str | None]:
    return [eip for eip in EIPS[pod.partition("/")[2].partition("-")[0]] for _ in range(2)]


def test_replies_reach_pods_that_only_their_node_reaches(underlay: RunningExample) -> None:
    """On a worker, and on a gateway while another one is master; and those of the overlay as before."""
    apply_by_hand(underlay.lab, underlay.compilation)
    pods = [*(f"drill/{name}" for name in UNDERLAY), *OVERLAY]
    assert {pod: seen(underlay, pod) for pod in pods} == {pod: eips_of(pod) for pod in pods}


def test_so_they_do_after_a_failover_and_back(underlay: RunningExample) -> None:
    lab, pod = underlay.lab, "drill/one-worker1"
    lab.cut("gw1")
    wait_for(lambda: seen(underlay, pod) == eips_of(pod), "the other gateway to answer")
    lab.restore("gw1")
    await_masters(lab, underlay.compilation)
    assert {pod: seen(underlay, pod) for pod in OVERLAY} == {pod: eips_of(pod) for pod in OVERLAY}
    assert seen(underlay, pod) == eips_of(pod)


def test_nobody_gets_into_the_cluster_by_the_way_of_replies(underlay: RunningExample) -> None:
    """Only what belongs to a connection of the pod's own comes by the tunnel."""
    lab = underlay.lab
    lab.start_echo("drill/two-gw1")
    lab.exec("worker2", ["ip", "route", "add", "10.77.0.83", "dev", "egress.vxlan", "via", "172.31.0.1"])
    try:
        (result,) = lab.probe("worker2", [ProbeTarget("tcp", "10.77.0.83")], timeout=1)
        assert result.seen is None
    finally:
        lab.exec("worker2", ["ip", "route", "delete", "10.77.0.83"])
