"""Pods that come and go while a lab runs."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from egress_compiler.lab import Lab, LabError, ProbeTarget, build_topology, down, open_lab, state, up
from tests.lab.conftest import CLUSTER, GATEWAYS

pytestmark = pytest.mark.lab
ROOT = Path(__file__).parents[2]
NODE = "worker1"


@pytest.fixture(scope="module")
def own_lab(lab_means: None) -> Iterator[Lab]:
    name = f"test-{os.getpid()}-pods"
    yield up(build_topology([CLUSTER]), name=name, gateways=GATEWAYS)
    down(name)


@pytest.fixture
def free(own_lab: Lab) -> tuple[str, ...]:
    """An address of each family in the node's pod CIDRs that no pod has."""
    cidrs = own_lab.topology.node(NODE).pod_cidrs
    return tuple(cidr.partition("/")[0].rstrip("0") + "77" for cidr in cidrs)


def seen(lab: Lab, pod: str, *addresses: str) -> list[str | None]:
    return [result.seen for result in lab.probe(pod, [ProbeTarget("tcp", address) for address in addresses])]


def test_a_new_pod_has_a_network_as_the_others_have(own_lab: Lab, free: tuple[str, ...]) -> None:
    before, outside = own_lab.snapshot_node(NODE), own_lab.topology.outside
    lab = own_lab.add_pod("late", "comer", NODE, free)
    assert lab.topology == open_lab(own_lab.name).topology
    far = [outside.far4[0], outside.far6[0]]
    assert seen(lab, "late/comer", *far) == list(lab.topology.node(NODE).addresses)
    lab.start_echo("late/comer")
    other = next(pod.host for pod in own_lab.topology.pods if pod.node != NODE)
    assert None not in seen(lab, other, *free), "pods of other nodes reach it"
    gone = lab.delete_pod("late/comer")
    assert gone.topology == own_lab.topology
    assert before.diff(own_lab.snapshot_node(NODE)) == ""
    assert not [name for name in state.namespaces(lab.name) if "comer" in name], "with what ran in it"
    with pytest.raises(LabError, match="no host 'late/comer'"):
        gone.exec("late/comer", ["true"])


def test_an_address_is_the_next_pods_at_once(own_lab: Lab, free: tuple[str, ...]) -> None:
    lab, far = own_lab, own_lab.topology.outside.far4[0]
    for number in range(3):
        lab = lab.add_pod("late", f"comer{number}", NODE, free)
        assert seen(lab, f"late/comer{number}", far) == [lab.topology.node(NODE).addresses[0]]
        lab = lab.delete_pod(f"late/comer{number}")


def test_a_pod_that_does_not_fit_is_refused_and_leaves_nothing(own_lab: Lab, free: tuple[str, ...]) -> None:
    before, taken = own_lab.snapshot_node(NODE), own_lab.topology.pods[0]
    for namespace, name, node, addresses, message in (
        ("late", "comer", "nowhere", free, "no node 'nowhere'"),
        ("late", "Comer", NODE, free, "cannot use this name"),
        ("late", "comer", NODE, (), "it has no address"),
        ("late", "comer", NODE, ("192.0.2.7",), "in no pod CIDR of node worker1"),
        ("late", "comer", taken.node, taken.addresses, "have the same address"),
        (taken.namespace, taken.name, NODE, free, "has one of this name"),
    ):
        with pytest.raises(LabError, match=message):
            own_lab.add_pod(namespace, name, node, addresses)
    with pytest.raises(LabError, match="no pod 'late/comer'"):
        own_lab.delete_pod("late/comer")
    assert open_lab(own_lab.name).topology == own_lab.topology
    assert before.diff(own_lab.snapshot_node(NODE)) == ""


def test_the_command_line_starts_and_ends_one(own_lab: Lab, free: tuple[str, ...]) -> None:
    def pod(*arguments: str) -> "subprocess.CompletedProcess[str]":
        argv = [sys.executable, "-m", "egress_compiler", "lab", "pod", *arguments, "--name", own_lab.name]
        return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)

    addresses = [word for address in free for word in ("--address", address)]
    added = pod("add", "late/typed", "--node", NODE, *addresses)
    assert added.returncode == 0, added.stderr
    assert open_lab(own_lab.name).topology.pod("late/typed").addresses == free
    again = pod("add", "late/typed", "--node", NODE, *addresses)
    assert (again.returncode, "has one of this name" in again.stderr) == (1, True)
    assert pod("delete", "late/typed").returncode == 0
    assert open_lab(own_lab.name).topology == own_lab.topology
