"""Slots of two EgressGateways that share VRIDs, as there are too few: they come and go together, and lose nothing."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from egress_compiler.lab.drill import Failure, load, run_failure, run_repair
from egress_compiler.lab.example import RunningExample
from egress_compiler.lab.load import Load, Tally
from tests.lab.by_hand import applied
from tests.lab.gateways import FAILING, POLICIES, add_pods, write_example

pytestmark = pytest.mark.lab
PODS = tuple(f"drill/{app}-{node}" for app in ("one", "two", "three", "four") for node in ("worker1", "gw2"))
EACH = 12


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningExample]:
    with applied(write_two_gateways(tmp_path_factory.mktemp("vrid") / "example"), "vrid") as found:
        yield found


@pytest.fixture(scope="module")
def opened(running: RunningExample) -> Iterator[Load]:
    with load(running, dict.fromkeys(PODS, EACH)) as found:
        yield found


def write_two_gateways(directory: Path) -> Path:
    """The second one has the policies ``three`` and ``four``; of both EgressGateways each node has a slot."""
    write_example(directory)
    add_pods(directory / "cluster.json", {"three": 30, "four": 40})
    replaced = {
        "name: internet": "name: partner",
        "  clusterDefault: true\n": "",
        "10.6.1.6": "10.6.1.7",
        "10:6:1::6": "10:6:1::7",
        "name: one": "name: three",
        "app: one": "app: three",
        "name: two": "name: four",
        "app: two": "app: four",
        "spec:\n  egressIP": "spec:\n  egressGatewayName: partner\n  egressIP",
    }
    second = POLICIES
    for old, new in replaced.items():
        second = second.replace(old, new)
    (directory / "policies" / "partner.yaml").write_text(second, encoding="utf-8")
    settings = directory / "settings.yaml"
    settings.write_text(settings.read_text(encoding="utf-8") + "  firstVRID: 254\n", encoding="utf-8")
    return directory


def test_two_instances_announce_four_slots(running: RunningExample) -> None:
    assert len(running.compilation.allocation.slots) == 4
    for node in ("gw1", "gw2"):
        conf = running.compilation.files[f"nodes/{node}/keepalived.conf"]
        assert [line for line in conf.splitlines() if line.startswith("vrrp_instance")] == [
            "vrrp_instance vrid_254 {",
            "vrrp_instance vrid_255 {",
        ]


@pytest.mark.parametrize("failure", ["kill", "drain"])
def test_they_fail_and_come_back_together(running: RunningExample, opened: Load, failure: Failure) -> None:
    seen = {"drill/one-worker1": "10.6.1.61", "drill/three-worker1": "10.6.1.71"}
    for pod, eip in seen.items():
        away = run_failure(running, FAILING, failure, pod)
        assert eip in {address for outage in away.outages.values() for address in outage.seen}
        assert all(len(outage.seen) == 1 for outage in away.outages.values())
        assert opened.settle() == Tally(len(PODS) * EACH, {})
        back = run_repair(running, FAILING, failure, pod)
        assert all(len(outage.seen) == 1 for outage in back.outages.values())
        assert opened.settle() == Tally(len(PODS) * EACH, {})
