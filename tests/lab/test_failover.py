"""Each way in which a gateway fails, and its return, under load: how long pods notice it, and that nothing is lost."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import pytest

from egress_compiler.lab.drill import (
    FAILURES,
    Failure,
    Measured,
    Slots,
    fail,
    governed_addresses,
    load,
    measure,
    repair,
    run_failure,
    run_repair,
    wait_for,
)
from egress_compiler.lab.example import RunningExample
from egress_compiler.lab.load import Load, Tally
from tests.lab.by_hand import applied, apply_node, await_masters
from tests.lab.gateways import FAILING, FAILING_POD, OTHER, OTHER_POD, WORKER_PODS, write_example

pytestmark = pytest.mark.lab
OTHERS = (*WORKER_PODS, OTHER_POD)
EACH = 48
"""Connections of a pod: of all kinds, in both families."""
EIPS = ("10.6.1.61", "fd00:10:6:1::61")
OUTAGE_MS = 3000.0
"""Three times what is promised of a gateway that is gone without a word."""
HANDOVER_MS = 400.0
"""Of one that hands over: some 10 ms where the machine is idle."""


@dataclass(frozen=True, slots=True)
class Drill:
    """A running example with many open connections; those of the failing gateway's own pods are counted apart."""

    running: RunningExample
    others: Load
    own: Load

    def fail(self, failure: Failure) -> Measured:
        return run_failure(self.running, FAILING, failure, WORKER_PODS[0])

    def come_back(self, failure: Failure) -> Measured:
        if failure != "poweroff":
            return run_repair(self.running, FAILING, failure, WORKER_PODS[0])
        lab, compilation = self.running.lab, self.running.compilation
        repair(lab, FAILING, failure)
        plan = next(plan for plan in compilation.plans if plan.node == FAILING)
        addresses = governed_addresses(self.running, WORKER_PODS[0])
        apply = partial(apply_node, lab, compilation, plan)
        return measure(lab, WORKER_PODS[0], addresses, apply, Slots(self.running).at_home)


@pytest.fixture(scope="module")
def drill(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drill]:
    with (
        applied(write_example(tmp_path_factory.mktemp("failover") / "example"), "failover") as running,
        load(running, dict.fromkeys(OTHERS, EACH)) as others,
        load(running, {FAILING_POD: EACH}) as own,
    ):
        yield Drill(running, others, own)


@pytest.mark.parametrize("failure", [f for f in FAILURES if f != "poweroff"])
def test_nothing_is_lost_when_a_gateway_fails_and_comes_back(drill: Drill, failure: Failure) -> None:
    away = drill.fail(failure)
    longest_ms = OUTAGE_MS if failure == "cut" else HANDOVER_MS
    assert_unnoticed(away, longest_ms)
    assert drill.others.settle() == Tally(3 * EACH, {})
    back = drill.come_back(failure)
    assert_unnoticed(back, longest_ms)
    assert drill.others.settle() == Tally(3 * EACH, {})
    # While the cable is out these have no way, but they go on.
    assert drill.own.settle(20) == Tally(EACH, {})


@pytest.mark.parametrize("failure", ["hang", "kill"])
def test_a_gateway_that_nobody_repairs_lets_go_of_its_addresses(drill: Drill, failure: Failure) -> None:
    """It holds them still when the other one has taken over; what watches keepalived ends that, and starts it anew."""
    slots, lab = Slots(drill.running), drill.running.lab
    addresses = governed_addresses(drill.running, WORKER_PODS[0])

    def leave_addresses() -> None:
        fail(lab, FAILING, failure)
        assert slots.held(FAILING), "or there is nothing to heal"

    measured = measure(lab, WORKER_PODS[0], addresses, leave_addresses, partial(slots.elsewhere, FAILING))
    assert_unnoticed(measured, HANDOVER_MS)
    assert_unnoticed(measure(lab, WORKER_PODS[0], addresses, lambda: None, slots.at_home), HANDOVER_MS)
    assert drill.others.settle() == Tally(3 * EACH, {})
    assert drill.own.settle() == Tally(EACH, {})


def test_gateways_that_do_not_hear_each_other_agree_again(drill: Drill) -> None:
    """Both own everything meanwhile, and each translates what reaches it in the same way."""
    slots, lab = Slots(drill.running), drill.running.lab
    everything = slots.held(FAILING) | slots.held(OTHER)
    rules = "table inet split { chain input { type filter hook input priority -200; ip protocol vrrp drop\n}\n}"
    for node in slots.gateways:
        lab.exec(node, ["nft", "-f", "-"], stdin=rules)
    wait_for(lambda: all(slots.held(node) == everything for node in slots.gateways), "both to be master")
    assert drill.others.settle() == Tally(3 * EACH, {})
    for node in slots.gateways:
        lab.exec(node, ["nft", "delete table inet split"])
    addresses = governed_addresses(drill.running, WORKER_PODS[0])
    assert_unnoticed(measure(lab, WORKER_PODS[0], addresses, lambda: None, slots.at_home), HANDOVER_MS)
    assert drill.others.settle() == Tally(3 * EACH, {})
    assert drill.own.settle() == Tally(EACH, {})


def test_a_wrong_neighbour_entry_heals_by_itself(drill: Drill) -> None:
    """As a gratuitous announcement that got lost leaves it: the next one comes within five seconds."""
    lab = drill.running.lab
    wrong = "02:00:00:00:00:99"
    entries = {"outside": ("eth0", *EIPS), "worker1": ("egress.vxlan", "172.31.255.254", "fd11::fffe")}

    def mislead() -> None:
        for host, (device, *addresses) in entries.items():
            for address in addresses:
                words = ["ip", "neighbour", "replace", address, "lladdr", wrong, "nud", "reachable", "dev", device]
                lab.exec(host, words)

    def healed() -> bool:
        return not any(wrong in lab.exec(host, ["ip", "neighbour"]).stdout for host in entries)

    assert_unnoticed(
        measure(lab, WORKER_PODS[0], governed_addresses(drill.running, WORKER_PODS[0]), mislead, healed), 9000
    )
    assert drill.others.settle(20) == Tally(3 * EACH, {})


def test_a_gateway_that_lost_its_power_comes_back_to_open_connections(drill: Drill) -> None:
    """It knows nothing of them at first, and must not be master before it does."""
    drill.own.close()
    assert_unnoticed(drill.fail("poweroff"), OUTAGE_MS)
    assert drill.others.settle() == Tally(3 * EACH, {})
    assert_unnoticed(drill.come_back("poweroff"), OUTAGE_MS)
    assert drill.others.settle() == Tally(3 * EACH, {})
    await_masters(drill.running.lab, drill.running.compilation)


def assert_unnoticed(measured: Measured, longest_ms: float) -> None:
    """All but for a short while, and with one address: nobody ever sees another one."""
    assert [outage.seen for outage in measured.outages.values()] == [(eip,) for eip in EIPS]
    assert measured.longest_ms < longest_ms
