# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
"""Which changes a delta makes, in which order, and when the whole table is the better or the only way."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.egress.gateway.plugins.module_utils.kernel.command import CommandFailed, Finished
from ansible_collections.egress.gateway.plugins.module_utils.resources import nftables, nftables_delta
from ansible_collections.egress.gateway.plugins.module_utils.resources.nftables import Table
from ansible_collections.egress.gateway.plugins.module_utils.resources.nftables_listing import Entries

HEAD: dict[str, Any] = {"table": {"family": "inet", "name": "egress_gateway", "handle": 1}}


def chain(name: str, **more: Any) -> dict[str, Any]:
    return {"chain": {"family": "inet", "table": "egress_gateway", "name": name, "handle": 2, **more}}


def rule(of: str, handle: int, verdict: str) -> dict[str, Any]:
    return {"rule": {"chain": of, "handle": handle, "expr": [{verdict: None}]}}


def addresses(*elements: Any, name: str = "s", flags: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"set": {"name": name, "type": "ipv4_addr", "flags": list(flags), "elem": list(elements)}}


def script(wanted: Entries, found: Entries, text: str = "") -> list[str] | None:
    done = nftables_delta.script([HEAD, *wanted], lambda: text, [HEAD, *found])
    return None if done is None else done.splitlines()


def test_elements_come_and_go_by_themselves() -> None:
    assert script([addresses("10.0.0.2", "10.0.0.3")], [addresses("10.0.0.1", "10.0.0.2")]) == [
        "delete element inet egress_gateway s { 10.0.0.1 }",
        "add element inet egress_gateway s { 10.0.0.3 }",
    ]


def test_intervals_that_may_overlap_are_given_anew() -> None:
    there = {"range": ["10.0.0.1", "10.0.0.9"]}
    wanted = {"range": ["10.0.0.1", "10.0.0.7"]}
    assert script([addresses(wanted, flags=("interval",))], [addresses(there, flags=("interval",))]) == [
        "flush set inet egress_gateway s",
        "add element inet egress_gateway s { 10.0.0.1-10.0.0.7 }",
    ]


def test_a_map_keeps_its_comments() -> None:
    element = [{"elem": {"val": "10.0.0.1", "comment": "pod a/b"}}, {"goto": {"target": "c"}}]
    wanted = {"map": {"name": "m", "type": "ipv4_addr", "map": "verdict", "elem": [element]}}
    there = {"map": {"name": "m", "type": "ipv4_addr", "map": "verdict"}}
    assert script([wanted], [there]) == ['add element inet egress_gateway m { 10.0.0.1 comment "pod a/b" : goto c }']


def test_a_rule_comes_before_the_one_that_stays() -> None:
    text = "\t\tdrop # handle 5\n\t\taccept # handle 6\n\t\tcontinue # handle 7\n"
    wanted = [chain("c"), rule("c", 5, "drop"), rule("c", 6, "accept"), rule("c", 7, "continue")]
    found = [chain("c"), rule("c", 31, "return"), rule("c", 32, "accept")]
    assert script(wanted, found, text) == [
        "insert rule inet egress_gateway c handle 32 drop",
        "delete rule inet egress_gateway c handle 31",
        "add rule inet egress_gateway c continue",
    ]


def test_new_comes_first_and_old_goes_last() -> None:
    text = "\tchain new { # handle 3\n\t\tdrop # handle 8\n\t}\n"
    wanted = [chain("new"), rule("new", 8, "drop"), addresses("10.0.0.1")]
    found = [chain("old"), rule("old", 9, "drop"), addresses(), addresses(name="gone")]
    assert script(wanted, found, text) == [
        "table inet egress_gateway {",
        "\tchain new { # handle 3",
        "\t\tdrop # handle 8",
        "\t}",
        "}",
        "add element inet egress_gateway s { 10.0.0.1 }",
        "flush chain inet egress_gateway old",
        "delete set inet egress_gateway gone",
        "delete chain inet egress_gateway old",
    ]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ([chain("c", hook="forward", prio=1)], [chain("c", hook="forward", prio=2)]),
        ([addresses(flags=("interval",))], [addresses()]),
        ([{"counter": {"name": "x"}}], []),
        ([], [chain("c } ; flush ruleset")]),
        ([addresses()], [addresses("10.0.0.1 } ; flush ruleset")]),
        ([chain("new")], []),  # and no text of it
        ([addresses(*("10.%d.%d.1" % (n >> 8, n & 255) for n in range(1500)))], [addresses()]),
    ],
)
def test_what_only_the_whole_table_can_say(wanted: Entries, found: Entries) -> None:
    assert script(wanted, found) is None


def test_a_delta_that_fails_is_followed_by_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[str] = []

    def run(argv: list[str], stdin: str = "") -> Finished:
        given.append(stdin)
        raise CommandFailed(argv, 1, "no")

    class Kernel:
        def table(self) -> Entries:
            return [HEAD, addresses("10.0.0.1")]

    monkeypatch.setattr(nftables, "run", run)
    monkeypatch.setattr(nftables, "_isolated", lambda kind, ruleset: "")
    monkeypatch.setattr(nftables, "_listing", lambda ruleset: [HEAD, addresses()])
    table = Table(Kernel(), "the whole", {})  # type: ignore[arg-type]  # a fake
    for _attempt in range(table.attempts):
        table.fix(table.difference())
    assert given == ["delete element inet egress_gateway s { 10.0.0.1 }\n", "the whole"]
