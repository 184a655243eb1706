# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
"""Rules and routes against a kernel that is two lists."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.egress.gateway.plugins.module_utils.kernel.reading import KernelRoute, KernelRule
from ansible_collections.egress.gateway.plugins.module_utils.plan import LastResort, Route, Rule
from ansible_collections.egress.gateway.plugins.module_utils.resources import steering
from ansible_collections.egress.gateway.plugins.module_utils.resources.steering import LastRoutes, Routes, Rules

MARK, MASK = 0x26000001, 0xFF003FFF


class FakeKernel:
    def __init__(self, rules: Any = (), routes: Any = (), addresses: Any = ()) -> None:
        self._rules, self._routes, self._addresses = rules, routes, frozenset(addresses)

    def rules(self) -> Any:
        return self._rules

    def routes(self) -> Any:
        return self._routes

    def addresses(self) -> Any:
        return self._addresses


class FakePlan:
    rules = (Rule(4, 99, MARK, MASK, 3001, "slot 1"), Rule(6, 99, MARK, MASK, 3001, "slot 1"))
    routes = (
        Route(4, 3001, "172.31.255.254", "egress.vxlan", None, "slot 1", False),
        Route(6, 3001, "fd11::fffe", "egress.vxlan", None, "slot 1", False),
        Route(4, 3001, None, None, 4278198272, "slot 1", False),
    )


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    monkeypatch.setattr(steering, "batch", lambda argv, lines: found.extend((argv[1], line) for line in lines))
    return found


def test_rules_are_added_in_the_form_that_each_family_takes(batches: list[tuple[str, str]]) -> None:
    rules = Rules(FakeKernel(), FakePlan)
    rules.fix(rules.difference())
    assert batches == [
        ("-4", "rule add preference 99 fwmark 0x26000001/0xff003fff table 3001 protocol 213"),
        ("-6", "rule add preference 99 from ::/0 fwmark 0x26000001/0xff003fff table 3001 protocol 213"),
    ]


def test_a_changed_rule_is_added_before_the_old_one_goes(batches: list[tuple[str, str]]) -> None:
    kernel = FakeKernel([KernelRule(4, 99, MARK, MASK, 254, 213), KernelRule(6, 99, MARK, MASK, 3001, 213)])
    rules = Rules(kernel, FakePlan)
    changes = rules.difference()
    assert [(c.action, c.before, c.after) for c in changes] == [("modify", "table 254", "table 3001")]
    rules.fix(changes)
    assert [line.split()[1] for _family, line in batches] == ["add", "delete"]


@pytest.mark.parametrize(
    ("rule", "ours"),
    [
        (KernelRule(4, 99, MARK, MASK, 3001, 3), True),
        (KernelRule(4, 500, 7, 0xFF, 9, 213), True),
        (KernelRule(4, 98, MARK, MASK, 254, 18), False),
        (KernelRule(4, 100, MARK, MASK, 3001, 3), False),
        (KernelRule(4, 99, MARK, 0xFFFFFFFF, 3001, 3), False),
        (KernelRule(4, 99, 0x25000001, MASK, 3001, 3), False),
    ],
)
def test_ownership_is_by_number(rule: KernelRule, ours: bool) -> None:
    assert bool(Rules(FakeKernel([rule]), None).difference()) is ours


def test_a_route_to_a_local_address_need_not_be_there() -> None:
    kernel = FakeKernel(addresses=["172.31.255.254"])
    assert [str(c.key) for c in Routes(kernel, FakePlan).difference()] == [
        "route ipv6 default table 3001 metric 1024",
        "route ipv4 unreachable default table 3001 metric 4278198272",
    ]


def test_a_route_to_a_local_address_may_still_be_there() -> None:
    there = KernelRoute(4, 3001, 0, "172.31.255.254", "egress.vxlan", "unicast default")
    kernel = FakeKernel(routes=[there], addresses=["172.31.255.254"])
    assert not [c for c in Routes(kernel, FakePlan).difference() if c.key.parts[2] == 0]


def test_a_wrong_route_in_the_place_of_one_that_cannot_be_goes() -> None:
    there = KernelRoute(4, 3001, 0, "172.31.255.200", "egress.vxlan", "unicast default")
    kernel = FakeKernel(routes=[there], addresses=["172.31.255.254"])
    changes = [
        c for c in Routes(kernel, FakePlan).difference() if str(c.key) == "route ipv4 default table 3001 metric 0"
    ]
    assert [c.action for c in changes] == ["remove"]


def test_routes_of_our_protocol_in_low_tables_are_not_ours() -> None:
    assert (
        Routes(FakeKernel(routes=[KernelRoute(4, 254, 0, "10.0.0.1", "eth0", "unicast default")]), None).difference()
        == ()
    )


class FakeLast:
    last_resort = LastResort(
        "169.254.38.39",
        "eth0",
        {4: ("10.0.0.0/8",), 6: ("fd00::/8",)},
        (
            Rule(4, 102, 0, 0, 0, "what hosts send", action="nop"),
            Rule(4, 100, 0, 0, 0, "what this node itself sends", interface="lo", action="goto 102"),
            Rule(4, 101, 0, 0xFF000000, 19999, "shop/web", source="10.0.0.7"),
            Rule(6, 101, 0, 0xFF000000, 19999, "the gateway side", interface="egress.vxlan"),
        ),
    )


def test_rules_of_the_last_resort_are_told_from_the_others(batches: list[tuple[str, str]]) -> None:
    kernel = FakeKernel(
        [
            KernelRule(4, 99, MARK, MASK, 3001, 213),
            KernelRule(4, 100, 0, 0, 0, 213, "", "lo", "goto 102"),
            KernelRule(4, 101, 0, 0xFF000000, 19999, 213, "10.0.0.8"),
        ]
    )
    rules = Rules(kernel, FakeLast, last=True)
    changes = rules.difference()
    assert [(c.action, str(c.key)) for c in changes] == [
        ("create", "rule ipv4 preference 102 from all"),
        ("create", "rule ipv4 preference 101 from 10.0.0.7 fwmark 0x00000000/0xff000000"),
        ("create", "rule ipv6 preference 101 iif egress.vxlan fwmark 0x00000000/0xff000000"),
        ("remove", "rule ipv4 preference 101 from 10.0.0.8 fwmark 0x00000000/0xff000000"),
    ]
    rules.fix(changes)
    assert batches == [
        ("-4", "rule add preference 102 nop protocol 213"),
        ("-4", "rule add preference 101 from 10.0.0.7 fwmark 0x00000000/0xff000000 table 19999 protocol 213"),
        ("-4", "rule delete preference 101 from 10.0.0.8 fwmark 0x00000000/0xff000000 table 19999 protocol 213"),
        (
            "-6",
            "rule add preference 101 from ::/0 iif egress.vxlan fwmark 0x00000000/0xff000000 table 19999 protocol 213",
        ),
    ]


def test_what_lets_hosts_pass_comes_first_and_goes_last(batches: list[tuple[str, str]]) -> None:
    """At no moment does the last resort refuse what the node itself sends."""
    nothing = Rules(FakeKernel(), FakeLast, last=True)
    nothing.fix([c for c in nothing.difference() if c.key.family == 4])
    words = [line.split()[3] for _family, line in batches]
    assert words == ["102", "100", "101"]
    batches.clear()
    there = Rules(
        FakeKernel(
            [
                KernelRule(4, 100, 0, 0, 0, 213, "", "lo", "goto 102"),
                KernelRule(4, 101, 0, 0xFF000000, 19999, 213, "10.0.0.8"),
                KernelRule(4, 102, 0, 0, 0, 213, action="nop"),
            ]
        ),
        None,
        last=True,
    )
    there.fix(there.difference())
    assert [line for _family, line in batches] == [
        "rule delete preference 101 from 10.0.0.8 fwmark 0x00000000/0xff000000 table 19999 protocol 213",
        "rule delete preference 100 iif lo goto 102 protocol 213",
        "rule delete preference 102 nop protocol 213",
    ]


def test_the_last_resort_has_its_table_to_itself(batches: list[tuple[str, str]]) -> None:
    kernel = FakeKernel(
        routes=[
            KernelRoute(4, 19999, 0, None, None, "throw 10.0.0.0/8"),
            KernelRoute(4, 19999, 0, "10.6.1.1", "eth0", "unicast default"),
            KernelRoute(6, 19999, 1024, None, None, "throw fd00::/8"),
            KernelRoute(6, 19999, 4278198272, None, None, "unreachable default"),
        ]
    )
    assert not [c for c in Routes(kernel, None).difference() if 19999 in c.key.parts]
    last = LastRoutes(kernel, FakeLast)
    last.fix(last.difference())
    assert batches == [
        ("-4", "route delete default via 10.6.1.1 dev eth0 table 19999 onlink protocol 213"),
        ("-4", "route replace default via 169.254.38.39 dev eth0 table 19999 onlink protocol 213"),
    ]
