# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
"""The loop, on resources that are dictionaries."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from ansible_collections.egress.gateway.plugins.module_utils.kernel.command import NodeError
from ansible_collections.egress.gateway.plugins.module_utils.resources.key import Key
from ansible_collections.egress.gateway.plugins.module_utils.resources.resource import (
    Change,
    Item,
    Items,
    NotConverged,
    Resource,
    bring,
    clear,
    difference,
)


class Table(Resource):
    """A kernel that is a dictionary, and that can refuse."""

    def __init__(
        self, name: str, wanted: dict[str, str], there: dict[str, str], log: list[str], refuses: str = ""
    ) -> None:
        self.name, self.wanted, self.there, self.log, self.refuses = name, wanted, there, log, refuses

    def desired(self) -> Items:
        return {Key(key): Item(value, "policy " + key) for key, value in self.wanted.items()}

    def actual(self) -> Items:
        return {Key(key): Item(value) for key, value in self.there.items()}

    def fix(self, changes: Sequence[Change]) -> NodeError | None:
        for change in changes:
            self.log.append("%s %s %s" % (self.name, change.action, change.key))
            if change.key.kind == self.refuses:
                return NodeError("refused")
            if change.after is None:
                del self.there[change.key.kind]
            else:
                self.there[change.key.kind] = change.after
        return None


def test_difference_is_exact_and_names_the_origin() -> None:
    a, b, c, d = map(Key, "abcd")
    desired = {a: Item("1", "policy a"), b: Item("2", "policy b"), c: Item("3", "policy c")}
    actual = {a: Item("1"), b: Item("9"), d: Item("4")}
    assert difference(desired, actual) == (
        Change(b, "modify", "9", "2", "policy b"),
        Change(c, "create", None, "3", "policy c"),
        Change(d, "remove", "4", None, "not in the plan"),
    )


def test_a_change_knows_the_fields_that_differ() -> None:
    key = Key.of("file", "/etc/motd")
    wanted = Item("text 1, mode 0644", fields={"text": "1", "mode": 0o644})
    found = Item("text 1, mode 0666, owner 7", fields={"text": "1", "mode": 0o666, "owner": 7})
    assert [change.fields for change in difference({key: wanted}, {key: found})] == [{"mode", "owner"}]
    assert [change.fields for change in difference({key: wanted}, {})] == [frozenset()]


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (Key("keepalived"), "keepalived"),
        (Key.of("file", "/etc/motd"), "file /etc/motd"),
        (Key.of("unit", "a.service", "at boot"), "unit a.service at boot"),
        (Key.of("address", "10.0.0.1/32", "eth0"), "address 10.0.0.1/32 on eth0"),
        (Key.of("element", "10.0.0.1", "map", "steer4"), "element 10.0.0.1 of map steer4"),
        (Key.of("nft rule", 3, "forward"), "rule 3 of chain forward"),
        (Key("rule", 6, (99, "from all")), "rule ipv6 preference 99 from all"),
        (Key("route", 4, ("default", 3001, 0)), "route ipv4 default table 3001 metric 0"),
    ],
)
def test_a_key_is_shown_as_one_text(key: Key, text: str) -> None:
    assert str(key) == text


def test_nothing_goes_before_all_that_replaces_it_is_there() -> None:
    log: list[str] = []
    first = Table("first", {"new": "1"}, {"old": "1"}, log)
    second = Table("second", {"new": "1"}, {"old": "1"}, log)
    assert bring([first, second])
    assert log == ["first create new", "second create new", "second remove old", "first remove old"]
    assert first.there == second.there == {"new": "1"}


def test_a_run_without_difference_fixes_nothing() -> None:
    log: list[str] = []
    assert not bring([Table("only", {"a": "1"}, {"a": "1"}, log)])
    assert log == []


def test_clearing_goes_backwards() -> None:
    log: list[str] = []
    assert clear([Table("first", {}, {"a": "1"}, log), Table("second", {}, {"b": "1"}, log)])
    assert log == ["second remove b", "first remove a"]


def test_what_is_not_as_wanted_afterwards_is_a_failure_with_its_cause() -> None:
    resource = Table("only", {"a": "1", "b": "2"}, {}, [], refuses="b")
    with pytest.raises(NotConverged, match="could not create b: refused"):
        bring([resource])


def test_an_error_does_not_count_when_all_is_as_wanted() -> None:
    class Stubborn(Table):
        def fix(self, changes: Sequence[Change]) -> NodeError | None:
            super().fix(changes)
            return NodeError("File exists")

    assert bring([Stubborn("only", {"a": "1"}, {}, [])])


def test_an_atomic_resource_removes_with_what_it_creates() -> None:
    log: list[str] = []
    resource = Table("only", {"new": "1"}, {"old": "1"}, log)
    resource.atomic = True
    bring([resource])
    assert log == ["only create new", "only remove old"]
