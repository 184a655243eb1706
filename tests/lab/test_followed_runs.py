"""Whole runs on nodes that follow their pods: undone ones, the next boot, and the last one, which leaves no trace."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.ansible.conftest import Node, objects
from tests.ansible.test_boot import POWER_CUT, commands
from tests.ansible.test_confirm import STATE
from tests.lab.followed import EIPS, NODES, Cluster, Talker, cluster, files_of, until
from tests.lab.test_followed import MORE, in_force

pytestmark = pytest.mark.lab
NODE = "worker1"
PENDING = f"ls {STATE}/pending* 2>/dev/null || true"
DAMAGE = f"cd {STATE}; for file in *.json *.nft; do [ ! -e $file ] || echo damaged > $file; done"


@pytest.fixture(scope="module")
def unapplied(lab_means: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    directory = tmp_path_factory.mktemp("runs") / "example"
    with cluster(directory, f"test-{os.getpid()}-runs") as made:
        yield made


@pytest.fixture
def applied(unapplied: Cluster) -> Iterator[tuple[Cluster, Path]]:
    """On all nodes while the test runs, and synced."""
    out = unapplied.compiled("bundle")
    unapplied.apply(out)
    for node in NODES:
        unapplied.until_synced(node)
    yield unapplied, out
    for one in unapplied.nodes.values():
        assert not one.absent().get("failed")


@pytest.fixture
def governed(applied: tuple[Cluster, Path]) -> Iterator[Talker]:
    """A pod that is known."""
    followed, _ = applied
    pod = followed.start("drill/comer", NODE, 110)
    followed.tell(pod, {"app": "one"})
    followed.until_seen(pod, *EIPS["one"])
    yield pod
    followed.forget(pod)
    followed.stop(pod)


def test_absent_leaves_no_trace(unapplied: Cluster) -> None:
    before = {name: node.state() for name, node in unapplied.nodes.items()}
    unapplied.apply(unapplied.compiled("bundle"))
    for name in NODES:
        unapplied.until_synced(name)
    for node in unapplied.nodes.values():
        assert not node.absent().get("failed")
    assert {name: before[name].diff(node.state()) for name, node in unapplied.nodes.items()} == dict.fromkeys(NODES, "")


def test_a_second_run_changes_nothing_and_pods_are_no_drift(applied: tuple[Cluster, Path], governed: Talker) -> None:
    followed, out = applied
    again = followed.apply(out)
    assert [(result["changed"], objects(result["changes"])) for result in again] == [(False, [])] * len(NODES)
    assert {name: followed.nodes[name].verify(files_of(out, name)) for name in NODES} == {name: [] for name in NODES}


def test_a_run_that_is_undone_goes_back_with_all_pods(applied: tuple[Cluster, Path], governed: Talker) -> None:
    """Also those that came while it waited to be confirmed."""
    followed, out = applied
    node, late = followed.nodes[NODE], followed.start("drill/late", NODE, 111)
    followed.renote()
    try:
        done = followed.apply(followed.compiled("more", lambda text: text + MORE), NODE, confirm_timeout=4)
        assert done[0]["confirm_within"] > 0
        followed.tell(late, {"app": "two"})
        followed.until_seen(late, *EIPS["two"])
        until(lambda: not node.shell(PENDING), lambda: "it does not go back")
        until(lambda: node.verify(files_of(out, NODE)) == [], lambda: f"{node.verify(files_of(out, NODE))}")
        followed.until_synced()
        followed.until_only(late, *EIPS["two"])
        followed.until_only(governed, *EIPS["one"])
    finally:
        followed.forget(late)
        followed.stop(late)


def test_a_node_that_boots_without_an_api_has_the_pods_that_it_knew(
    applied: tuple[Cluster, Path], governed: Talker
) -> None:
    followed, out = applied
    node = followed.nodes[NODE]
    try:
        boot(node, lambda: followed.api.do("down"))
        assert in_force(followed, *governed.addresses), "the guard, which is there before the network, has them"
        followed.renote()
        restore(node)
        assert followed.seen(governed) == set(), "no way leads there before the agent has looked"
        node.shell(f"setsid --fork {sys.executable} -I {STATE}/agent.pyz direct > /dev/null 2>&1")
        followed.until_seen(governed, *EIPS["one"])
        assert followed.seen(governed) == set(EIPS["one"])
        until(lambda: node.verify(files_of(out, NODE)) == [], lambda: f"{node.verify(files_of(out, NODE))}")
        assert followed.status()["synced"] is False
    finally:
        followed.api.do("up")


def test_a_node_boots_with_what_cannot_be_read_of_its_pods_and_lets_none_out(
    applied: tuple[Cluster, Path], governed: Talker
) -> None:
    followed, out = applied
    node = followed.nodes[NODE]
    boot(node, lambda: node.shell(DAMAGE))
    followed.renote()
    restore(node)
    assert followed.seen(governed) == set(), "it is known no more, and refused"
    followed.apply(out, NODE)
    followed.until_seen(governed, *EIPS["one"])
    assert followed.seen(governed) == set(EIPS["one"])
    assert node.verify(files_of(out, NODE)) == []


def boot(node: Node, meanwhile: Callable[[], object]) -> None:
    """A power cut, and the guard's unit."""
    from ansible_collections.egress.gateway.plugins.module_utils.node import Paths
    from ansible_collections.egress.gateway.plugins.module_utils.resources.units import guard_unit

    rules_of_the_cni = node.run("nft", "list", "ruleset").partition("table inet egress_gateway")[0]
    node.shell(POWER_CUT)
    meanwhile()
    node.lab.exec(node.name, ["nft", "-f", "-"], stdin=rules_of_the_cni)
    node.shell("\n".join(commands(guard_unit(Paths()))))


def restore(node: Node) -> None:
    from ansible_collections.egress.gateway.plugins.module_utils.node import Paths
    from ansible_collections.egress.gateway.plugins.module_utils.resources.units import restore_unit

    node.shell("\n".join(commands(restore_unit(Paths()))))
