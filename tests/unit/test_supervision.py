"""The agent's care for its follower; in its place are small programs, and the clock is the test's."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.egress.gateway.plugins.module_utils.agent import supervision
from ansible_collections.egress.gateway.plugins.module_utils.agent.loop import Loop
from ansible_collections.egress.gateway.plugins.module_utils.agent.supervision import Supervisor
from ansible_collections.egress.gateway.plugins.module_utils.node import Paths

COLLECTIONS = Path(__file__).parents[2] / "collections"
FOLLOWED, COMPILED = '{"follow": {}}', '{"follow": null}'
BEATS = """
import os, pathlib, sys, time
with open(sys.argv[1], "a") as log:
    log.write("%d\\n" % os.getpid())
os.write(1, sys.argv[2].encode())
time.sleep(600)
"""
ENDS = "import sys; open(sys.argv[1], 'a').write('x\\n'); sys.exit(int(sys.argv[2]))"


class Watched:
    """Runs the loop step by step, as long as a test waits for something."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.paths = replace(Paths(), config=directory / "config", runtime=directory / "run", state=directory / "state")
        for path in (self.paths.config, self.paths.runtime):
            path.mkdir()
        self.log = directory / "started"
        self.log.touch()
        self.told: list[str] = []
        self.now = 1000.0
        self.loop = Loop()
        monkeypatch.setattr(supervision, "log", lambda _level, text: self.told.append(text))
        self.supervisor: Supervisor | None = None

    def plan(self, text: str | None) -> None:
        path = self.paths.config / "plan.json"
        if text is None:
            path.unlink()
        else:
            path.write_text(text)

    def begin(self, program: str, argument: str) -> None:
        command = [sys.executable, "-c", program, str(self.log), argument]
        self.supervisor = Supervisor(self.loop, self.paths, command, lambda: self.now)
        self.supervisor.look()

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        assert self.supervisor is not None
        self.supervisor.look()

    def until(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < end, (self.started(), self.told)
            self.loop.later(0.01, self.loop.stop)
            self.loop._running = True
            self.loop.run()

    def started(self) -> list[str]:
        return self.log.read_text().split()


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    found = Watched(tmp_path, monkeypatch)
    yield found
    (found.paths.config / "plan.json").unlink(missing_ok=True)
    child = found.supervisor._child if found.supervisor else None
    if found.supervisor is not None and child is not None:
        child.kill()
        found.until(lambda: found.supervisor is None or found.supervisor._child is None)
    found.loop.close()


def is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_one_runs_where_the_plan_says_so(watched: Watched) -> None:
    watched.plan(FOLLOWED)
    watched.begin(BEATS, ".")
    watched.until(lambda: len(watched.started()) == 1)
    watched.pass_time(1)
    assert len(watched.started()) == 1


@pytest.mark.parametrize("text", [COMPILED, "{}", "no plan", None])
def test_none_runs_where_it_does_not(watched: Watched, text: str | None) -> None:
    if text is not None:
        watched.plan(text)
    watched.begin(BEATS, ".")
    watched.pass_time(5)
    assert watched.started() == []


def test_a_plan_that_changes_is_noticed(watched: Watched) -> None:
    watched.plan(COMPILED)
    watched.begin(BEATS, ".")
    watched.plan(FOLLOWED)
    watched.pass_time(1)
    watched.until(lambda: len(watched.started()) == 1)
    (pid,) = map(int, watched.started())
    for path in (watched.paths.follow_status, watched.paths.follow_socket):
        path.touch()
    watched.plan(None)
    watched.pass_time(1)
    watched.until(lambda: not is_there(pid))
    assert list(watched.paths.runtime.iterdir()) == []
    watched.pass_time(60)
    assert len(watched.started()) == 1


def test_one_that_ends_is_started_again_more_and_more_slowly(watched: Watched) -> None:
    watched.plan(FOLLOWED)
    watched.begin(ENDS, "3")
    for number, pause in enumerate((0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0), 1):
        watched.until(lambda number=number: len(watched.told) == number)  # type: ignore[misc]  # mypy infers no default
        assert len(watched.started()) == number
        watched.pass_time(pause * 0.9)
        assert len(watched.started()) == number
        watched.pass_time(pause * 0.11)
    assert watched.told[0] == "the follower has ended with status 3; it is started anew"


def test_one_that_ends_in_order_is_started_again_at_once(watched: Watched) -> None:
    watched.plan(FOLLOWED)
    watched.begin(ENDS, "0")
    watched.until(lambda: len(watched.started()) > 2)
    watched.plan(COMPILED)
    assert watched.told == []


def test_one_that_falls_silent_is_killed_and_another_one_started(watched: Watched) -> None:
    watched.plan(FOLLOWED)
    watched.begin(BEATS, ".")
    watched.until(lambda: len(watched.started()) == 1)
    (pid,) = map(int, watched.started())
    watched.until(lambda: bool(watched.supervisor and watched.supervisor._silence == supervision.SILENT_SECONDS))
    os.kill(pid, signal.SIGSTOP)
    watched.pass_time(9.9)
    assert watched.told == []
    watched.pass_time(0.2)
    watched.until(lambda: not is_there(pid))
    assert "hangs" in watched.told[0]
    assert "signal 9" in watched.told[1]
    watched.pass_time(0.2)
    watched.until(lambda: len(watched.started()) == 2)


def test_one_that_says_it_is_busy_may_be_silent_for_longer(watched: Watched) -> None:
    watched.plan(FOLLOWED)
    watched.begin(BEATS, ".b")
    watched.until(lambda: len(watched.started()) == 1)
    watched.until(lambda: False if watched.supervisor is None else watched.supervisor._heard == watched.now)
    watched.pass_time(59)
    assert watched.told == []
    watched.pass_time(2)
    assert "hangs" in watched.told[0]


def test_what_the_follower_says_it_changes_is_expected_for_a_moment(watched: Watched) -> None:
    watched.plan(FOLLOWED)
    watched.begin(BEATS, ".c")
    found = watched.supervisor
    assert found is not None
    watched.until(found.is_changing)
    watched.pass_time(0.21)
    assert not found.is_changing()


def test_what_cannot_be_started_is_tried_again(watched: Watched) -> None:
    watched.plan(FOLLOWED)
    watched.supervisor = Supervisor(watched.loop, watched.paths, ["/nowhere/python"], lambda: watched.now)
    watched.supervisor.look()
    assert "does not start" in watched.told[0]
    watched.pass_time(0.2)
    assert len(watched.told) == 2


AGENT = """
import pathlib, sys
from dataclasses import replace
from ansible_collections.egress.gateway.plugins.module_utils.agent.loop import Loop
from ansible_collections.egress.gateway.plugins.module_utils.agent.supervision import Supervisor
from ansible_collections.egress.gateway.plugins.module_utils.node import Paths
loop = Loop()
Supervisor(loop, replace(Paths(), config=pathlib.Path(sys.argv[1])), [sys.executable, *sys.argv[2:]]).tick()
loop.run()
"""


def test_a_follower_ends_with_its_agent(tmp_path: Path) -> None:
    log = tmp_path / "started"
    (tmp_path / "plan.json").write_text(FOLLOWED)
    argv = [sys.executable, "-c", AGENT, str(tmp_path), "-c", BEATS, str(log), "."]
    with subprocess.Popen(argv, env={"PYTHONPATH": str(COLLECTIONS)}) as agent:
        until(lambda: log.exists() and bool(log.read_text().strip()))
        child = int(log.read_text())
        agent.kill()
    until(lambda: not is_there(child) or Path(f"/proc/{child}/stat").read_text().split()[2] == "Z")


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)
