"""Pods that start behind real CNI plugins and the gate, on a node that follows a scripted API server.

Their clients connect in the moment in which the runtime would start their processes.
"""

import json
from collections.abc import Iterator

import pytest

from tests.gate.cluster import EIP4, EIP6, GatedCluster, gated_cluster, until
from tests.gate.node import FEW
from tests.gate.starter import Pod

pytestmark = pytest.mark.lab

BANK = "10.6.1.62"
"""What payments leaves with towards the example's bank."""
NODE = "10.6.1.21"
REFUSED = {"ConnectionRefusedError", "PermissionError", "OSError", "TimeoutError"}
"""What a client makes of our ICMP errors, and of a handshake that ends with what the kernel knew of the address."""


@pytest.fixture(scope="module")
def failing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatedCluster]:
    with gated_cluster(tmp_path_factory.mktemp("fail"), "{timeoutSeconds: 4}", ranges=FEW) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def blocking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatedCluster]:
    with gated_cluster(tmp_path_factory.mktemp("block"), "{timeoutSeconds: 2, onTimeout: block}") as cluster:
        yield cluster


def test_the_first_packet_has_the_eip(failing: GatedCluster) -> None:
    four = failing.pod("four")
    six = Pod("shop", "six", "uid-six", "2001:db8:ffff::10:7001", EIP6)
    for pod, eip in ((four, EIP4), (six, EIP6)):
        started = failing.start(pod)
        assert started["heard"] == [eip]
        assert "egress-gate" in started["times"]
        assert failing.node.check(pod) == {"pod": pod.name}
        failing.stop(pod)
        failing.delete(pod)
    assert failing.host.verify(failing.files) == []


def test_addresses_that_are_used_again_have_no_earlier_eip(failing: GatedCluster) -> None:
    """The API has the old pod, with its address, until some time after the new one has started."""
    kinds = [("shop", {"app": "web"}, EIP4), ("payments", {"app": "api"}, BANK), ("ops", {"app": "batch"}, NODE)]
    late: list[Pod] = []
    addresses: list[str] = []
    for number in range(12):
        namespace, labels, wanted = kinds[number % 3]
        pod = failing.pod(f"again-{number}", namespace, wanted)
        failing.announce(pod, labels=labels)
        started = failing.node.start(pod)
        assert started["heard"] == [wanted]
        addresses.append(started["addresses"][0])
        failing.announce(pod, *started["addresses"], labels=labels)
        failing.stop(pod)
        late.append(pod)
        if len(late) > 4:
            failing.delete(late.pop(0))
    for pod in late:
        failing.delete(pod)
    assert len(set(addresses)) < len(addresses)
    until(lambda: failing.host.verify(failing.files) == [])


def test_a_pod_that_the_api_does_not_have_does_not_start(failing: GatedCluster) -> None:
    pod = failing.pod("stranger")
    assert '"code": 11' in failing.node.start(pod)["error"]
    assert failing.start_at_last(pod)["heard"] == [EIP4]
    failing.stop(pod)
    failing.delete(pod)


def test_nobody_waits_where_no_policy_can_select(failing: GatedCluster) -> None:
    """Nor in kube-system; whether or not the API has the pod, and whether or not there is a follower."""
    failing.follower("STOP")
    try:
        started = failing.node.start(failing.pod("idle", "kube-system", NODE))
        assert started["heard"] == [NODE]
    finally:
        failing.follower("CONT")
    failing.stop(failing.pod("idle", "kube-system"))


def test_a_follower_that_is_killed_is_waited_for(failing: GatedCluster) -> None:
    for number in range(3):
        pod = failing.pod(f"killed-{number}", seconds=20)
        failing.announce(pod)
        failing.follower("KILL")
        started = failing.start_at_last(pod)
        assert started.get("heard") == [EIP4], started
        failing.follower("KILL")
        failing.stop(pod)
        assert started["addresses"][0] not in failing.governed()
        failing.delete(pod)
    until(lambda: failing.host.verify(failing.files) == [])


def test_a_follower_that_hangs(failing: GatedCluster) -> None:
    """Pods do not start, and their end takes their addresses out of the kernel all the same, for good."""
    old, new = failing.pod("old"), failing.pod("new")
    first = failing.start(old)
    assert first["addresses"][0] in failing.governed()
    failing.follower("STOP")
    try:
        failing.announce(new)
        assert "the follower does not answer" in failing.node.start(new)["error"]
        failing.stop(old)
        assert first["addresses"][0] not in failing.governed()
    finally:
        failing.follower("CONT")
    assert failing.start_at_last(new)["heard"] == [EIP4]
    assert first["addresses"][0] not in failing.governed()
    for pod in (old, new):
        failing.stop(pod)
        failing.delete(pod)
    until(lambda: failing.host.verify(failing.files) == [])


def test_without_the_api_what_is_known_starts(failing: GatedCluster) -> None:
    known, unknown = failing.pod("known"), failing.pod("unknown")
    failing.announce(known)
    until(lambda: failing.node.shell("cat /run/egress-gateway/follow.status"))
    first = failing.pod("before", "ops", NODE)
    failing.announce(first, labels={})
    failing.node.start(first)  # what the API had before this one is known now
    failing.api.do("down")
    try:
        assert failing.node.start(known)["heard"] == [EIP4]
        assert "the pod is not known yet" in failing.node.start(unknown)["error"]
    finally:
        failing.api.do("up")
    for pod in (known, first):
        failing.stop(pod)
        failing.delete(pod)


def test_a_pod_that_is_blocked_leaves_when_it_is_known(blocking: GatedCluster) -> None:
    pod = blocking.pod("late", seconds=30)
    with blocking.node.begin(pod) as starting:
        until(lambda: "goto blocked" in blocking.governed())
        blocking.announce(pod)
        assert starting.wait(60) == 0
        assert starting.stdout is not None
        heard = json.loads(starting.stdout.read())["heard"]
    assert heard[0] in REFUSED
    assert set(heard[:-1]) <= REFUSED
    assert heard[-1] == EIP4
    blocking.stop(pod)
    blocking.delete(pod)


def test_without_a_follower_a_pod_starts_blocked(blocking: GatedCluster) -> None:
    pod = blocking.pod("early", seconds=30)
    blocking.announce(pod)
    blocking.follower("STOP")
    with blocking.node.begin(pod) as starting:
        try:
            until(lambda: "goto blocked" in blocking.governed())
        finally:
            blocking.follower("CONT")
        assert starting.wait(60) == 0
        assert starting.stdout is not None
        heard = json.loads(starting.stdout.read())["heard"]
    assert set(heard[:-1]) <= REFUSED
    assert heard[-1] == EIP4
    blocking.stop(pod)
    blocking.delete(pod)
    until(lambda: blocking.host.verify(blocking.files) == [])
