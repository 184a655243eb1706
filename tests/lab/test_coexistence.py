"""Beside kube-proxy, Calico and a user's own rules: everybody's packets go their way, and nobody's rules change."""

import os
from collections.abc import Iterator

import pytest

from egress_compiler.lab import ProbeTarget, down
from egress_compiler.lab.drill import wait_for
from egress_compiler.lab.example import RunningExample, running_example, up_example
from tests.lab.by_hand import EXAMPLES, apply_by_hand, await_masters, wrong_rows
from tests.lab.neighbours import move_in, rules_of

pytestmark = pytest.mark.lab
NODES = ("gw1", "gw2", "worker1", "worker2")
POD, EIPS = "shop/web-5d8f7c9b6d-4kq2x", ["10.6.1.61", "fd00:10:6:1::61"]
GATEWAYS_POD, PEER, FREE_POD = "shop/web-5d8f7c9b6d-tn5rs", "shop/web-5d8f7c9b6d-9wz7m", "ops/batch-28c7q"


@pytest.fixture(scope="module")
def crowded() -> Iterator[RunningExample]:
    name = f"test-{os.getpid()}-crowded"
    up_example(EXAMPLES / "dual-stack-ha", name)
    try:
        running = running_example(name)
        move_in(running.lab)
        assert wrong_rows(running, applied=False) == []
        yield running
    finally:
        down(name)


def seen(running: RunningExample, pod: str) -> list[str | None]:
    outside = running.lab.topology.outside
    return [r.seen for r in running.lab.probe(pod, [ProbeTarget("tcp", a) for a in (outside.far4[0], outside.far6[0])])]


def test_every_pod_leaves_as_it_should_and_no_rule_of_anybody_changes(crowded: RunningExample) -> None:
    before = {node: rules_of(crowded.lab, node) for node in NODES}
    apply_by_hand(crowded.lab, crowded.compilation)
    assert wrong_rows(crowded, applied=True) == []
    assert {node: rules_of(crowded.lab, node) for node in NODES} == before


def test_inside_the_cluster_nothing_changes(crowded: RunningExample) -> None:
    lab = crowded.lab
    lab.start_echo(PEER)
    for own, address in zip(lab.topology.pod(POD).addresses, lab.topology.pod(PEER).addresses, strict=True):
        assert lab.probe(POD, [ProbeTarget("tcp", address)])[0].seen == own
    for backend in (POD, GATEWAYS_POD):
        lab.start_echo(backend)
    services = [ProbeTarget("tcp", "10.96.12.34", 80), ProbeTarget("tcp", "fd00:10:96::1234", 80)]
    assert all(result.seen for result in lab.probe(FREE_POD, services))


def test_a_failover_and_back(crowded: RunningExample) -> None:
    crowded.lab.cut("gw1")
    wait_for(lambda: seen(crowded, POD) == EIPS, "the other gateway to answer")
    crowded.lab.restore("gw1")
    await_masters(crowded.lab, crowded.compilation)
    for pod in (POD, GATEWAYS_POD):
        assert seen(crowded, pod) == EIPS
