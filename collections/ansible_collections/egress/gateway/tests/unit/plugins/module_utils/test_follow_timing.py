# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
"""What the reflector asks, how long it waits, and what it makes of events, without a network or a clock."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from ansible_collections.egress.gateway.plugins.module_utils.follow.errors import (
    Forbidden,
    Gone,
    TooMany,
    Unreachable,
)
from ansible_collections.egress.gateway.plugins.module_utils.follow.pods import pods_of
from ansible_collections.egress.gateway.plugins.module_utils.follow.reflector import (
    Change,
    Reflector,
    State,
    Timing,
    _order,
)


def pod(name: str, version: str, uid: str = "", address: str = "10.0.0.1") -> dict[str, Any]:
    metadata = {"namespace": "a", "name": name, "uid": uid or "u-" + name, "resourceVersion": version}
    return {"metadata": metadata, "status": {"podIP": address}}


def event(kind: str, *arguments: str) -> dict[str, Any]:
    return {"type": kind, "object": pod(*arguments)}


def bookmark(version: str) -> dict[str, Any]:
    return {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": version}}}


class Script:
    """Answers in turn: a list of (version, pods), a watch of events, exceptions and lapses of time, or an exception."""

    def __init__(self, *steps: Any) -> None:
        self.steps = list(steps)
        self.asked: list[dict[str, str]] = []
        self.now = 100.0
        self.slept: list[float] = []
        self.told: list[State] = []
        self.emitted: list[list[tuple[str | None, str | None]]] = []
        self.reflector = Reflector(
            self,
            pods_of("n1"),
            self._emit,
            self.told.append,
            timing=Timing(watch=300, settled=5, first_pause=1, longest_pause=8),
            clock=lambda: self.now,
            wall=lambda: self.now,
            sleep=self._sleep,
            dice=lambda: 0.5,
        )

    def run(self) -> Script:
        self.reflector.run()
        return self

    def _emit(self, changes: Any) -> None:
        def shown(change: Change[Any]) -> tuple[str | None, str | None]:
            return (change.old.name if change.old else None, change.new.name if change.new else None)

        self.emitted.append([shown(change) for change in changes])

    def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def _next(self) -> Any:
        if not self.steps:
            self.reflector.stop()
            raise Unreachable("the end")
        step = self.steps.pop(0)
        if isinstance(step, Exception):
            raise step
        return step

    def page(self, _path: str, query: Mapping[str, str], item: Callable[[Any], None]) -> Mapping[str, Any]:
        self.asked.append({"verb": "list", **query})
        version, pods = self._next()
        for one in pods:
            item(one)
        return {"kind": "PodList", "metadata": {"resourceVersion": version}}

    def watch(self, _path: str, query: Mapping[str, str], patience: float) -> Iterator[Mapping[str, Any] | None]:
        assert patience == 150
        self.asked.append({"verb": "watch", **query})
        step = self._next()
        yield None
        for one in step:
            if isinstance(one, Exception):
                raise one
            if isinstance(one, float):
                self.now += one
            else:
                yield one

    def interrupt(self) -> None:
        """There is nothing to interrupt."""

    def versions(self) -> list[tuple[str, str | None]]:
        return [(query["verb"], query.get("resourceVersion")) for query in self.asked]


GONE = Gone("gone", 410)
AWAY = "GET /api/v1/pods: away"


def test_what_is_asked() -> None:
    script = Script(("5", [pod("x", "4")]), [bookmark("9"), 60.0]).run()
    selector = {"fieldSelector": "spec.nodeName=n1"}
    assert script.asked[0] == {"verb": "list", "limit": "100", "resourceVersion": "0", **selector}
    watch = {"verb": "watch", "watch": "1", "allowWatchBookmarks": "true", "timeoutSeconds": "450", **selector}
    assert script.asked[1:] == [{**watch, "resourceVersion": "5"}, {**watch, "resourceVersion": "9"}]
    assert not script.slept


def test_pauses_grow_to_a_limit_and_begin_anew_after_success() -> None:
    script = Script(*[Unreachable("away")] * 5, ("5", []), [bookmark("6")], Unreachable("away")).run()
    assert script.slept == [1, 2, 4, 8, 8, 1]
    assert [(state.synced, state.reason) for state in script.told] == [(False, AWAY), (True, ""), (False, AWAY)]


def test_pauses_are_spread() -> None:
    script = Script(Unreachable("away"))
    script.reflector._dice = iter([0.0, 0.999]).__next__
    script.run()
    assert script.slept == [0.5]


def test_a_server_is_left_alone_for_as_long_as_it_asks() -> None:
    script = Script(TooMany("busy", 429, 60.0), TooMany("busy", 429, 0.1)).run()
    assert script.slept == [60.5, 2]


def test_a_storm_of_410_does_not_reset_the_pauses() -> None:
    script = Script(*[("5", []), [GONE]] * 4).run()
    assert script.slept == [1, 2, 4, 8]
    assert script.versions()[2] == ("list", "5")


def test_a_list_that_is_gone_is_asked_of_the_storage() -> None:
    script = Script(("5", []), [GONE], GONE, ("3", [])).run()
    assert script.versions() == [("list", "0"), ("watch", "5"), ("list", "5"), ("list", None), ("watch", "3")]


def test_watches_that_end_at_once_are_no_success() -> None:
    script = Script(("5", []), [], [], [6.0], []).run()
    assert script.slept == [1, 2, 1]
    assert script.told[1].reason == "GET /api/v1/pods: the watch ends as soon as it begins"


def test_how_long_it_has_not_been_sure() -> None:
    script = Script(("5", []), [7.0, bookmark("6"), 9.0, Unreachable("x")], Forbidden("y", 403), Forbidden("y", 403))
    script.run()
    assert script.told == [
        State(True, 100, ""),
        State(False, 107, "GET /api/v1/pods: x"),
        State(False, 107, "GET /api/v1/pods: y"),
    ]


def test_deletions_come_first_and_together() -> None:
    before = ("5", [pod("x", "1"), pod("y", "2")])
    after = ("9", [pod("z", "8"), pod("y", "7", "u-2")])
    script = Script(before, [GONE], after).run()
    assert script.emitted == [[(None, "x"), (None, "y")], [("x", None), (None, "z"), ("y", "y")]]


LATE = [
    event("ADDED", "x", "6"),
    event("ADDED", "x", "9", "u2"),
    event("DELETED", "x", "10", "u2"),
    event("ADDED", "x", "8"),
]
EVENTS = [
    (LATE, [[(None, "x")], [("x", "x")], [("x", None)]], 1),
    ([event("ADDED", "x", "6"), event("ADDED", "x", "6")], [[(None, "x")]], 1),
    ([event("MODIFIED", "x", "6")], [[(None, "x")]], 0),
    ([event("ADDED", "x", "7"), event("MODIFIED", "x", "6", "", "10.0.0.2")], [[(None, "x")]], 1),
    ([event("ADDED", "x", "6"), event("DELETED", "x", "6")], [[(None, "x")], [("x", None)]], 0),
    (
        [event("ADDED", "x", "6"), event("DELETED", "x", "8"), event("MODIFIED", "x", "7")],
        [[(None, "x")], [("x", None)]],
        1,
    ),
    ([event("ADDED", "x", "7"), event("DELETED", "x", "6")], [[(None, "x")]], 1),
    ([event("DELETED", "x", "8"), event("ADDED", "x", "7")], [], 1),
    (
        [event("ADDED", "x", "6"), event("ADDED", "x", "9", "u2"), event("DELETED", "x", "8")],
        [[(None, "x")], [("x", "x")]],
        1,
    ),
    (
        [event("ADDED", "x", "6"), event("ADDED", "x", "9", "u2"), event("DELETED", "x", "10")],
        [[(None, "x")], [("x", "x")]],
        0,
    ),
    ([event("ADDED", "x", "9"), event("ADDED", "x", "10")], [[(None, "x")]], 0),
    ([event("ADDED", "x", "a"), event("MODIFIED", "x", "b", "", "10.0.0.2")], [[(None, "x")], [("x", "x")]], 0),
]


@pytest.mark.parametrize(("events", "emitted", "stale"), EVENTS)
def test_events(events: list[Any], emitted: list[Any], stale: int) -> None:
    script = Script(("5", []), events).run()
    assert script.emitted == emitted
    assert script.reflector.counters.stale == stale


def test_after_disorder_there_may_be_more_before_the_position() -> None:
    script = Script(("5", []), [event("ADDED", "x", "9"), event("ADDED", "y", "7")], ("9", [pod("w", "8")])).run()
    assert script.versions()[:3] == [("list", "0"), ("watch", "5"), ("list", "9")]
    assert script.emitted == [[(None, "x")], [(None, "y")], [("x", None), ("y", None), (None, "w")]]


def test_versions_that_go_back_are_another_history() -> None:
    script = Script(("500", []), [bookmark("7")], ("8", [pod("x", "6")]), [event("MODIFIED", "x", "9", "", "10.0.0.2")])
    script.run()
    assert script.told[1].reason == "GET /api/v1/pods: versions went back from 500 to 7"
    assert script.versions()[:4] == [("list", "0"), ("watch", "500"), ("list", None), ("watch", "8")]
    assert script.emitted == [[(None, "x")], [("x", "x")]]


def test_nothing_of_the_other_history_is_remembered() -> None:
    changed = event("MODIFIED", "x", "9", "", "10.0.0.2")
    deleted = Script(
        ("500", [pod("x", "400")]), [event("DELETED", "x", "600"), bookmark("7")], ("8", [pod("x", "6")]), [changed]
    )
    assert deleted.run().emitted == [[(None, "x")], [("x", None)], [(None, "x")], [("x", "x")]]
    unreadable = {**pod("x", "6"), "status": {"phase": 7}}
    kept = Script(("500", [pod("x", "400")]), [bookmark("7")], ("8", [unreadable]), [changed])
    assert kept.run().emitted == [[(None, "x")], [("x", "x")]]


def test_what_emit_raises_ends_it() -> None:
    script = Script(("5", [pod("x", "1")]))

    def emit(_changes: Any) -> None:
        raise RuntimeError("nft is away")

    script.reflector._emit = emit
    with pytest.raises(RuntimeError, match="nft is away"):
        script.run()


@pytest.mark.parametrize(
    ("one", "other", "order"),
    [
        ("9", "10", -1),
        ("10", "9", 1),
        ("10", "010", 0),
        ("a", "9", 1),
        ("a", "a", 0),
        ("", "5", 1),
        ("9" * 5000, "8", 1),
    ],
)
def test_the_order_of_versions(one: str, other: str, order: int) -> None:
    assert _order(one, other) == order
