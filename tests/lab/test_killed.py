"""keepalived killed at bad moments, under load: no state that it leaves cuts anybody off, nor takes an address."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import pytest

from egress_compiler.lab import Lab, ProbeTarget
from egress_compiler.lab import kill as end
from egress_compiler.lab.drill import START_DAEMONS, Slots, governed_addresses, load, wait_for
from egress_compiler.lab.example import RunningExample
from egress_compiler.lab.load import Load, Tally
from tests.lab.by_hand import applied
from tests.lab.gateways import FAILING, FAILING_POD, OTHER, OTHER_POD, WORKER_PODS, write_example

pytestmark = pytest.mark.lab
PODS = (WORKER_PODS[0], FAILING_POD, OTHER_POD)
EACH = 48
"""Connections of a pod: of all kinds, in both families."""
EIPS = ("10.6.1.61", "fd00:10:6:1::61")
OUTAGE_MS = 3000.0
"""Three times what is promised of a gateway that is gone without a word."""
KILL_ROUNDS = int(os.environ.get("EGRESS_KILL_ROUNDS", "2"))
"""More where somebody has the time, as for the next one."""
SPLIT_SECONDS = float(os.environ.get("EGRESS_SPLIT_SECONDS", "12"))

MASTER = ":"
START = f"(pkill -TERM -x -o keepalived; while pgrep -x keepalived; do sleep 0.02; done; {START_DAEMONS}) >/dev/null &"
STOP = "pkill -TERM -x -o keepalived"


@dataclass(frozen=True)
class Kill:
    """After so many seconds in a stage: the one process, and the other so much later."""

    stage: str
    after: float
    first: str
    gap: float

    @property
    def script(self) -> str:
        order = ("-o", "-n") if self.first == "parent" else ("-n", "-o")
        kills = [f"pkill -KILL {option} -x keepalived" for option in order]
        return f"{self.stage}\nsleep {self.after}\n{kills[0]}\nsleep {self.gap}\n{kills[1]}; true"


KILLS = {
    "master, parent first": Kill(MASTER, 0, "parent", 0),
    "master, parent first, child while it says goodbye": Kill(MASTER, 0, "parent", 0.004),
    "master, parent first, child a bit later": Kill(MASTER, 0, "parent", 0.01),
    "master, child first": Kill(MASTER, 0, "child", 0),
    "master, child first, parent while it starts another": Kill(MASTER, 0, "child", 0.02),
    "stopping": Kill(STOP, 0.003, "parent", 0),
    "stopping, child first": Kill(STOP, 0.006, "child", 0),
    "starting": Kill(START, 0.3, "child", 0),
    "becoming master": Kill(START, 0.95, "parent", 0.002),
}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningExample]:
    with applied(write_example(tmp_path_factory.mktemp("killed") / "example"), "killed") as found:
        yield found


@pytest.fixture(scope="module")
def busy(running: RunningExample) -> Iterator[Load]:
    with load(running, dict.fromkeys(PODS, EACH)) as found:
        yield found


def outages(running: RunningExample, event: Callable[[], None], settled: Callable[[], bool]) -> dict[str, float]:
    """The longest silence in milliseconds of each pod and family, and no other address than the EIP seen."""
    with ExitStack() as stack:
        meters = {
            f"{pod} {address}": stack.enter_context(running.lab.outage(pod, ProbeTarget("udp", address), 60))
            for pod in PODS
            for address in governed_addresses(running, pod)
        }
        time.sleep(0.3)
        event()
        wait_for(settled, "the addresses to settle")
        time.sleep(1)
        found = {name: meter.stop() for name, meter in meters.items()}
    assert {seen for outage in found.values() for seen in outage.seen} == set(EIPS)
    return {name: outage.longest_gap_ms for name, outage in found.items()}


def one_owner_each(slots: Slots) -> Callable[[], bool]:
    """Whether each floating address is on one gateway, as it is now, and on one alone."""
    everything = slots.held(FAILING) | slots.held(OTHER)

    def condition() -> bool:
        held = slots.held(FAILING), slots.held(OTHER)
        return not held[0] & held[1] and held[0] | held[1] == everything

    return condition


def kill(lab: Lab, what: Kill) -> None:
    lab.exec(FAILING, ["sh", "-c", what.script], check=False)


@pytest.mark.parametrize("name", KILLS)
def test_a_kill_is_a_failover_and_no_more(running: RunningExample, busy: Load, name: str) -> None:
    slots, lab = Slots(running), running.lab
    silent = outages(running, lambda: kill(lab, KILLS[name]), one_owner_each(slots))
    assert max(silent.values()) < OUTAGE_MS, silent
    assert busy.settle() == Tally(len(PODS) * EACH, {})
    lab.exec(FAILING, ["sh", "-ec", START_DAEMONS])
    wait_for(slots.at_home, "the addresses to come home")
    assert busy.settle() == Tally(len(PODS) * EACH, {})


def test_many_kills_on_a_busy_machine(running: RunningExample, busy: Load) -> None:
    slots, lab = Slots(running), running.lab
    loops = [lab.popen(node, ["sh", "-c", "while :; do :; done"]) for node in (FAILING, OTHER)]
    try:
        for number in range(KILL_ROUNDS):
            what = Kill(MASTER, 0, "parent", (number % 8) / 500)
            silent = outages(running, partial(kill, lab, what), one_owner_each(slots))
            assert max(silent.values()) < OUTAGE_MS, (what, silent)
            lab.exec(FAILING, ["sh", "-ec", START_DAEMONS])
            wait_for(slots.at_home, "the addresses to come home")
        assert busy.settle(20) == Tally(len(PODS) * EACH, {})
    finally:
        for loop in loops:
            end(loop)


def test_gateways_that_do_not_hear_each_other_cut_nobody(running: RunningExample, busy: Load) -> None:
    """Nor their own pods, whose packets leave by the one while the answers come by the other."""
    slots, lab = Slots(running), running.lab
    rules = "table inet split { chain input { type filter hook input priority -200; ip protocol vrrp drop\n}\n}"

    def split() -> None:
        for node in slots.gateways:
            lab.exec(node, ["nft", "-f", "-"], stdin=rules)
        time.sleep(SPLIT_SECONDS)
        assert slots.held(FAILING) == slots.held(OTHER), "or nothing was split"
        for node in slots.gateways:
            lab.exec(node, ["nft", "delete table inet split"])

    silent = outages(running, split, slots.at_home)
    assert max(silent.values()) < OUTAGE_MS, silent
    assert busy.settle() == Tally(len(PODS) * EACH, {})


def test_who_has_an_eip_left_over_takes_it_from_nobody(running: RunningExample) -> None:
    """Not by asking for the next hop of packets that leave with it, which the kernel does from the packet's source."""
    slots, lab = Slots(running), running.lab
    master = lab.exec(OTHER, ["cat", "/sys/class/net/eth0/address"]).stdout.strip()

    def owners() -> set[str]:
        return {lab.exec("outside", ["ip", "neighbour", "show", eip]).stdout.split()[4] for eip in EIPS}

    lab.exec(FAILING, ["sh", "-c", "pkill -STOP -f [e]gress-gateway/watch$; pkill -STOP -x keepalived"])
    try:
        lab.exec(FAILING, ["pkill", "-KILL", "-x", "keepalived"])
        wait_for(partial(slots.elsewhere, FAILING), "the other gateway to take over")
        wait_for(lambda: owners() == {master}, "the outside to know it")
        assert set(EIPS) <= slots.held(FAILING), "or nothing is left over"
        for _round in range(5):
            lab.exec(FAILING, ["sh", "-c", "ip neighbour flush dev eth0; ip -6 neighbour flush dev eth0"])
            targets = [ProbeTarget("udp", address) for address in governed_addresses(running, FAILING_POD)]
            assert [result.seen for result in lab.probe(FAILING_POD, targets)] == list(EIPS)
            assert owners() == {master}
    finally:
        lab.exec(FAILING, ["pkill", "-CONT", "-f", "[e]gress-gateway/watch$"])
    wait_for(slots.at_home, "it to let go, and to become master again")
