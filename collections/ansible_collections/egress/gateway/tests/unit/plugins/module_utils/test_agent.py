# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
"""What the agent makes of the kernel's messages, and when it runs what."""

from __future__ import annotations

import struct
import time
from pathlib import Path

import pytest

from ansible_collections.egress.gateway.plugins.module_utils.agent import netlink, tasks
from ansible_collections.egress.gateway.plugins.module_utils.agent.loop import Loop
from ansible_collections.egress.gateway.plugins.module_utils.agent.tasks import Report, Schedule, Task
from ansible_collections.egress.gateway.plugins.module_utils.agent.xtables import LockWatch

NAMES = {4: "egress.vxlan", 5: "eth0", 6: "cali123"}


def message(kind: int, body: bytes) -> bytes:
    body += b"\0" * (-len(body) % 4)
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + body


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def route(table: int, protocol: int) -> bytes:
    body = struct.pack("=BBBBBBBBI", 2, 0, 0, 0, table if table < 256 else 252, protocol, 0, 1, 0)
    return body + attribute(1, b"\x0a\0\0\1") + attribute(15, struct.pack("=I", table))


def link(name: str) -> bytes:
    return struct.pack("=BxHiII", 0, 1, 9, 1, 1) + attribute(3, name.encode() + b"\0")


def neighbour(index: int, state: int, family: int = 2) -> bytes:
    return struct.pack("=BxxxiHBB", family, index, state, 0, 0)


CASES = (
    ("rule of anybody", message(33, b"\0" * 12), {netlink.RULES}),
    ("route of ours", message(25, route(254, 213)), {netlink.ROUTES}),
    ("route of others in our tables", message(24, route(3001, 4)), {netlink.ROUTES}),
    ("route of others", message(25, route(254, 12)), set()),
    ("route of others in a table of theirs", message(25, route(2004, 12)), set()),
    ("our device", message(17, link("egress.vxlan")), {netlink.LINKS}),
    ("uplink", message(16, link("eth0")), {netlink.LINKS}),
    ("a pod's device", message(16, link("cali123")), set()),
    ("address on our device", message(21, struct.pack("=BBBBI", 2, 32, 0, 0, 4)), {netlink.ADDRESSES}),
    ("address on a pod's device", message(21, struct.pack("=BBBBI", 2, 32, 0, 0, 6)), set()),
    ("lasting neighbour of ours", message(28, neighbour(4, 0x80)), {netlink.NEIGHBOURS}),
    ("neighbour that is asked for", message(28, neighbour(4, 0x02)), set()),
    ("forwarding entry of ours", message(29, neighbour(4, 0x02, 7)), {netlink.NEIGHBOURS}),
    ("neighbour on the uplink", message(29, neighbour(5, 0x80)), set()),
    ("forwarding switched", message(80, b"\2\0\0\0" + attribute(1, struct.pack("=i", -1))), {netlink.SYSCTLS}),
    ("filter of ours switched", message(80, b"\2\0\0\0" + attribute(1, struct.pack("=i", 4))), {netlink.SYSCTLS}),
    ("filter of a pod's device", message(80, b"\2\0\0\0" + attribute(1, struct.pack("=i", 6))), set()),
    (
        "two in one datagram",
        message(17, link("egress.worker")) + message(33, b"\0" * 12),
        {netlink.LINKS, netlink.RULES},
    ),
    ("cut off", message(25, route(254, 213))[:10], set()),
    ("nonsense", b"\xff" * 40, set()),
)


@pytest.mark.parametrize(("data", "kinds"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_kinds_of_network_messages(data: bytes, kinds: set[str]) -> None:
    assert netlink.network_kinds(data, ["egress.vxlan", "egress.worker", "eth0"], lambda i: NAMES.get(i, "")) == kinds


def test_kinds_of_nftables_messages() -> None:
    other = message(0xA06, b"\1\0\0\0" + attribute(1, b"kube-proxy\0"))
    table = message(0xA02, b"\1\0\0\0" + attribute(1, b"egress_gateway\0"))
    accept = message(0xA08, b"\1\0\0\0" + attribute(1, b"filter\0") + attribute(7, b"\0\x0fegress-gateway\0"))
    assert netlink.netfilter_kinds(other) == {netlink.FIREWALL}
    assert netlink.netfilter_kinds(other + table) == {netlink.FIREWALL, netlink.TABLE}
    assert netlink.netfilter_kinds(accept) == {netlink.FIREWALL, netlink.HOST_FIREWALL}


class Fake(Task):
    """Repairs one object each time, or what it is told to."""

    name = "fake"
    hears = frozenset(["x", "y"])
    urgent = frozenset(["x"])

    def __init__(self, report: Report | None = None, error: Exception | None = None) -> None:
        self.report, self.error = report or Report(), error

    def run(self, kinds: frozenset[str]) -> Report:
        if self.error is not None:
            raise self.error
        return Report((*self.report.repaired, *sorted(kinds)), self.report.problem, self.report.again)


def drive(loop: Loop, schedule: Schedule, seconds: float) -> list[Report]:
    loop.later(seconds, loop.stop)
    loop._running = True
    loop.run()
    return schedule.reported


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(tasks, "log", lambda _level, text: lines.append(text))
    return lines


def test_a_task_runs_with_what_it_heard_and_no_more(told: list[str]) -> None:
    loop = Loop()
    schedule = Schedule(loop, Fake())
    schedule.hear(frozenset(["z"]))
    assert drive(loop, schedule, 0.1) == []
    schedule.hear(frozenset(["x", "z"]))
    schedule.hear(frozenset(["y"]))
    assert [report.repaired for report in drive(loop, schedule, 0.5)] == [["x", "y"]]
    assert told == ["fake: x, y"]


def test_what_is_not_urgent_waits(told: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "_SELDOM", 30.0)
    loop = Loop()
    schedule = Schedule(loop, Fake())
    schedule.hear(frozenset(["y"]))
    assert drive(loop, schedule, 0.1) == []
    schedule.hear(frozenset(["x"]))
    assert [report.repaired for report in drive(loop, schedule, 0.5)] == [["x", "y"]]


def test_who_fights_is_answered_more_slowly_and_told_of_once(told: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "_LONGEST", 0.05)
    loop = Loop()
    schedule = Schedule(loop, Fake())
    for _round in range(12):
        schedule.hear(frozenset(["x"]))
        drive(loop, schedule, 0.2)
    assert [line for line in told if "again and again" in line] == told[tasks._FREE :]
    assert len(told) == tasks._FREE + 1


def test_a_run_that_fails_is_told_of_and_tried_again(told: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "_LONGEST", 0.1)
    loop = Loop()
    task = Fake(error=RuntimeError("no lock"))
    schedule = Schedule(loop, task)
    schedule.hear(frozenset(["x"]))
    reports = drive(loop, schedule, 0.5)
    assert [report.problem for report in reports] == ["RuntimeError: no lock"]
    task.error = None
    assert [report.repaired for report in drive(loop, schedule, 1.0)] == [["x", "y"]]
    assert told[0] == "fake: RuntimeError: no lock"


def test_a_run_that_hangs_is_ended(told: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "_PATIENCE", 0.2)
    loop = Loop()
    task = Fake()
    monkeypatch.setattr(task, "run", lambda _kinds: time.sleep(60))
    schedule = Schedule(loop, task)
    schedule.hear(frozenset(["x"]))
    assert [report.problem for report in drive(loop, schedule, 1.0)] == ["the run was ended"]


def test_uses_of_iptables_are_heard(tmp_path: Path) -> None:
    path = tmp_path / "xtables.lock"
    watch = LockWatch(path)
    assert watch.hear() == frozenset()
    (tmp_path / "another").touch()
    assert watch.hear() == frozenset()
    path.touch()
    assert watch.hear() == {netlink.FIREWALL}
    watch.hear()
    with path.open("rb"):
        pass
    assert watch.hear() == {netlink.FIREWALL}
    assert watch.hear() == frozenset()
