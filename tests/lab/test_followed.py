"""Nodes that follow their pods: these come, go, change and hand addresses on, and none leaves with another's EIP."""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import cycle

import pytest

from egress_compiler.lab.load import Flows, Load
from tests.lab.followed import EIPS, FOLLOWER_PIDS, PATIENCE, PCI, Cluster, Talker, cluster, until

pytestmark = pytest.mark.lab
NODE = "worker1"
OPEN_POD = "drill/one-worker1"
"""One of the example's pods, with connections that stay open."""
ADDRESSES = (101, 102, 103)
"""What pods that come and go have as the last part of their addresses, one after the other."""
ROUNDS = int(os.environ.get("EGRESS_FOLLOW_ROUNDS", "9"))
"""Pods that come and go beside each disturbance; more where somebody has the time."""

MORE = """---
apiVersion: egressgateway.spidernet.io/v1beta1
kind: EgressPolicy
metadata: {name: more, namespace: drill}
spec:
  egressIP: {ipv4: 10.6.1.64}
  appliedTo:
    podSelector: {matchLabels: {app: more}}
"""


@pytest.fixture(scope="module")
def followed(lab_means: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Applied to all nodes, and synced."""
    with cluster(tmp_path_factory.mktemp("followed") / "example", f"test-{os.getpid()}-followed") as made:
        made.apply(made.compiled("bundle"))
        for node in made.nodes:
            made.until_synced(node)
        yield made


@pytest.fixture
def started(followed: Cluster) -> Iterator[list[Talker]]:
    """Pods that a test adds here are gone after it, and the API is well again."""
    talkers: list[Talker] = []
    yield talkers
    followed.api.do("heal")
    for talker in talkers:
        followed.forget(talker)
        followed.stop(talker)
    followed.until_synced()
    for talker in talkers:
        until(partial(is_forgotten, followed, talker), partial("{} is still in force".format, talker.host))


@contextmanager
def open_connections(cluster: Cluster) -> Iterator[None]:
    """None of them ends, and none changes its address, while the block runs."""
    outside = cluster.lab.topology.outside
    targets = zip((outside.far4[0], outside.far6[0]), EIPS["one"], strict=True)
    flows = [Flows("both", 8, address, source) for address, source in targets]
    with Load(cluster.lab, {OPEN_POD: flows}) as load:
        yield
        tally = load.settle()
    assert tally.lost == {}
    assert tally.open == 16


def come_and_go(cluster: Cluster, rounds: int = ROUNDS, seconds: float = PATIENCE) -> dict[int, set[str]]:
    """Pods with addresses that others had before, each seen with all of its EIPs; by port what it may be seen with."""
    allowed: dict[int, set[str]] = {}
    for number, last, app in zip(range(rounds), cycle(ADDRESSES), cycle(("one", "two")), strict=False):
        pod = cluster.start(f"drill/comer-{number}", NODE, last)
        allowed[pod.port] = set(EIPS[app])
        try:
            cluster.tell(pod, {"app": app})
            cluster.until_seen(pod, *EIPS[app], seconds=seconds)
        finally:
            cluster.stop(pod)
            cluster.forget(pod)
        until(partial(is_forgotten, cluster, pod), partial("{} is still in force".format, pod.host), seconds)
    return allowed


def is_forgotten(cluster: Cluster, pod: Talker) -> bool:
    return not in_force(cluster, *pod.addresses)


def in_force(cluster: Cluster, *addresses: str) -> bool:
    """Whether the kernel knows a pod with one of these."""
    table = cluster.nodes[NODE].run("nft", "list", "table", "inet", "egress_gateway")
    return any(f"{white}{address} : goto" in table for address in addresses for white in " \t")


def leaks(cluster: Cluster, allowed: dict[int, set[str]]) -> dict[int, set[str]]:
    """By port, what a pod was seen with and must not have been."""
    notes = cluster.notes()
    assert notes.keys() >= allowed.keys(), "each was seen"
    return {port: wrong for port in allowed if (wrong := notes[port] - allowed[port])}


def test_a_pod_gets_its_eips_as_it_comes_and_others_as_its_labels_change(
    followed: Cluster, started: list[Talker]
) -> None:
    pod = followed.start("drill/comer", NODE, 90)
    started.append(pod)
    followed.tell(pod, {"app": "one"})
    followed.until_seen(pod, *EIPS["one"])
    assert followed.seen(pod) == set(EIPS["one"]), "refused until it was known"
    followed.tell(pod, {"app": "two"})
    followed.until_only(pod, *EIPS["two"])
    followed.tell(pod, {"app": "nobody"})
    followed.until_only(pod, *followed.lab.topology.node(NODE).addresses)
    followed.tell(pod, {"app": "one"})
    followed.until_only(pod, *EIPS["one"])
    assert followed.nodes[NODE].verify() == []


def test_labels_of_a_namespace_take_all_its_pods_along(followed: Cluster, started: list[Talker]) -> None:
    pod = followed.start("card/comer", NODE, 91)
    started.append(pod)
    followed.tell(pod, {"app": "card"})
    followed.until_seen(pod, PCI[0])
    followed.api.do("add_namespace", name="card", labels={})
    own4 = followed.lab.topology.node(NODE).addresses[0]
    try:
        until_ipv4(followed, pod, own4)
    finally:
        followed.api.do("add_namespace", name="card", labels={"pci": "true"})
    until_ipv4(followed, pod, PCI[0])


def until_ipv4(cluster: Cluster, pod: Talker, address: str) -> None:
    def settled() -> bool:
        cluster.renote()
        time.sleep(0.2)
        return {one for one in cluster.seen(pod) if ":" not in one} == {address}

    until(settled, lambda: f"{pod.host} is seen with {cluster.seen(pod)}, not {address}")


def test_open_connections_keep_their_address_when_labels_change(followed: Cluster, started: list[Talker]) -> None:
    namespace, _, name = OPEN_POD.partition("/")
    addresses = list(followed.lab.topology.pod(OPEN_POD).addresses)
    pod = {"namespace": namespace, "name": name, "node": NODE, "ips": addresses}
    other = followed.start("drill/witness", NODE, 92)
    started.append(other)
    try:
        with open_connections(followed):
            followed.api.do("add_pod", **pod, labels={"app": "two"})
            followed.tell(other, {"app": "two"})
            followed.until_seen(other, *EIPS["two"])  # which the API has told later
    finally:
        followed.api.do("add_pod", **pod, labels={"app": "one"})


def test_addresses_are_used_again_and_no_pod_has_anothers_eip(followed: Cluster) -> None:
    followed.renote()
    with open_connections(followed):
        allowed = come_and_go(followed, 2 * ROUNDS)
    assert leaks(followed, allowed) == {}
    assert followed.nodes[NODE].verify() == []


def test_what_the_gate_ends_is_out_at_once_though_the_api_still_has_it(
    followed: Cluster, started: list[Talker]
) -> None:
    first = followed.start("drill/first", NODE, 93)
    followed.tell(first, {"app": "one"})
    request = {"container": "c-first", "addresses": list(first.addresses)}
    uid = next(one["metadata"]["uid"] for one in pods_of_api(followed) if one["metadata"]["name"] == "first")
    added = followed.ask(NODE, do="add", namespace="drill", name="first", uid=uid, **request)
    assert added == {"ok": True}
    followed.until_seen(first, *EIPS["one"])
    followed.stop(first)
    assert followed.ask(NODE, do="delete", **request) == {"ok": True}
    second = followed.start("drill/second", NODE, 93)
    started.append(second)
    followed.api.do("cut")  # a new list and a new watch have the first one, too
    followed.until_synced()
    assert followed.seen(second) == set(), "nobody knows it, and the first one's EIP is not its own"
    followed.tell(second, {"app": "two"})
    followed.until_seen(second, *EIPS["two"])
    assert followed.seen(second) == set(EIPS["two"])
    followed.forget(first)


def pods_of_api(cluster: Cluster) -> list[dict[str, dict[str, str]]]:
    found: list[dict[str, dict[str, str]]] = cluster.api.do("objects", kind="Pod")
    return found


def test_a_follower_that_is_killed_is_started_again(followed: Cluster) -> None:
    followed.renote()
    node = followed.nodes[NODE]
    before = node.shell(FOLLOWER_PIDS)
    with open_connections(followed):
        followed.signal_follower("KILL")
        allowed = come_and_go(followed)
    assert node.shell(FOLLOWER_PIDS) not in ("", before)
    assert leaks(followed, allowed) == {}


def test_a_follower_that_hangs_is_replaced(followed: Cluster, started: list[Talker]) -> None:
    node = followed.nodes[NODE]
    before = node.shell(FOLLOWER_PIDS)
    with open_connections(followed):
        followed.signal_follower("STOP")
        pod = followed.start("drill/meanwhile", NODE, 94)
        started.append(pod)
        followed.tell(pod, {"app": "one"})
        replaced = f"{FOLLOWER_PIDS} || true"
        until(lambda: node.shell(replaced) not in ("", before), lambda: "it is not replaced", seconds=100)
        followed.until_seen(pod, *EIPS["one"])
    assert followed.seen(pod) == set(EIPS["one"])


def test_verify_asks_the_api_what_a_follower_has_not_heard(followed: Cluster, started: list[Talker]) -> None:
    node = followed.nodes[NODE]
    pod = followed.start("drill/unheard", NODE, 98)
    started.append(pod)
    until(lambda: node.verify() == [], lambda: "a batch is not at its end")  # nor stopped in the middle of one
    node.signal_agent("STOP")
    try:
        followed.tell(pod, {"app": "one"})
        assert [(one["object"], one["expected"], one["actual"]) for one in node.verify()] == [
            (f"pod drill/unheard {address}", "EgressPolicy drill/one", None) for address in pod.addresses
        ]
    finally:
        node.signal_agent("CONT")
    followed.until_seen(pod, *EIPS["one"])
    assert node.verify() == []
    assert node.module("info")["egress_info"]["following"]["synced"] is True


def test_without_an_api_what_is_known_stays_and_what_is_new_waits(followed: Cluster, started: list[Talker]) -> None:
    followed.renote()
    known, late = followed.start("drill/known", NODE, 95), followed.start("drill/late", NODE, 96)
    started += [known, late]
    followed.tell(known, {"app": "one"})
    followed.until_seen(known, *EIPS["one"])
    with open_connections(followed):
        followed.api.do("down")
        try:
            until(lambda: not followed.status()["synced"], lambda: "nobody notices")
            assert followed.status()["reason"]
            followed.tell(late, {"app": "two"})
            followed.signal_follower("KILL")
            followed.renote()
            followed.until_seen(known, *EIPS["one"])
            assert followed.seen(late) == set()
        finally:
            followed.api.do("up")
        followed.until_synced()
        followed.until_seen(late, *EIPS["two"])
    assert followed.seen(known) == set(EIPS["one"])
    assert followed.seen(late) == set(EIPS["two"])


def test_who_may_not_read_says_so_and_goes_on_when_it_may(followed: Cluster, started: list[Talker]) -> None:
    pod = followed.start("drill/forbidden", NODE, 97)
    started.append(pod)
    followed.api.do("misbehave", name="forbidden", times=-1)
    followed.api.do("cut")
    until(lambda: "forbidden" in followed.status()["reason"], lambda: f"it says {followed.status()}")
    followed.tell(pod, {"app": "one"})
    assert followed.seen(pod) == set()
    followed.api.do("heal")
    followed.until_seen(pod, *EIPS["one"])


def test_a_storm_of_expired_versions_moves_nobody(followed: Cluster) -> None:
    """The pauses between two lists get longer meanwhile: what is new is known later, and refused until then."""
    followed.renote()
    over = threading.Event()

    def storm() -> None:
        while not over.wait(0.5):
            followed.api.do("compact")
            followed.api.do("cut")

    thread = threading.Thread(target=storm)
    thread.start()
    try:
        with open_connections(followed):
            allowed = come_and_go(followed, 2, seconds=60)
    finally:
        over.set()
        thread.join()
    assert leaks(followed, allowed) == {}
    followed.until_synced(seconds=60)


def test_applies_while_pods_come_and_go_open_nothing_and_lose_nobody(followed: Cluster) -> None:
    """One bundle after the other, with a policy more and without it: the table is another one each time."""
    bundles = [followed.compiled("more", lambda text: text + MORE), followed.compiled("bundle")]
    followed.renote()
    over = threading.Event()
    problems: list[str] = []
    runs: list[bool] = []

    def applies() -> None:
        for out in cycle(bundles):
            if over.is_set():
                return
            try:
                runs.append(followed.apply(out, NODE)[0]["changed"])
            except AssertionError as error:
                problems.append(str(error))

    thread = threading.Thread(target=applies)
    thread.start()
    try:
        with open_connections(followed):
            allowed = come_and_go(followed, 2 * ROUNDS)
    finally:
        over.set()
        thread.join()
        followed.apply(bundles[1])
    assert problems == []
    assert True in runs
    assert leaks(followed, allowed) == {}
    assert followed.nodes[NODE].verify() == []
