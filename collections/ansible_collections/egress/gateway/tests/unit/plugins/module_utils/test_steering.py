# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
"""Rules and routes against a kernel that is two lists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.egress.gateway.plugins.module_utils.contract import routing
from ansible_collections.egress.gateway.plugins.module_utils.contract.plan import IpRoute, IpRule, NodePlan
from ansible_collections.egress.gateway.plugins.module_utils.kernel.reading import (
    KernelRoute,
    KernelRule,
    parse_route,
    parse_rule,
)
from ansible_collections.egress.gateway.plugins.module_utils.resources import steering
from ansible_collections.egress.gateway.plugins.module_utils.resources.steering import Routes, Rules

MARK, MASK = 0x26000001, 0xFF003FFF
VIP = IpRoute(4, 3001, via="172.31.255.254", device="egress.vxlan")


class FakeKernel:
    def __init__(self, rules: Any = (), routes: Any = (), addresses: Any = ()) -> None:
        self._rules, self._routes, self._addresses = rules, routes, frozenset(addresses)

    def rules(self) -> Any:
        return self._rules

    def routes(self) -> Any:
        return self._routes

    def addresses(self) -> Any:
        return self._addresses


def held(rules: Sequence[IpRule]) -> list[KernelRule]:
    return [KernelRule(replace(rule, origin=""), 213) for rule in rules]


def asked(mark: int, table: int, preference: int = 99, mask: int = MASK) -> IpRule:
    return IpRule(4, preference, mark=mark, mask=mask, table=table)


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    monkeypatch.setattr(steering, "batch", lambda argv, lines: found.extend((argv[1], line) for line in lines))
    return found


def test_rules_of_slots_own_pods_and_uplinks(plan: NodePlan, batches: list[tuple[str, str]]) -> None:
    rules = Rules(FakeKernel(), plan)
    rules.fix(rules.difference())
    for family in ("-4", "-6"):
        assert (family, "rule add preference 99 fwmark 0x26000001/0xff003fff lookup 3001 protocol 213") in batches
        assert (family, "rule add preference 99 fwmark 0x26003fff/0xff003fff lookup 3000 protocol 213") in batches
        assert (family, "rule add preference 99 fwmark 0x28000000/0xff003fff lookup 20000 protocol 213") in batches
    uplinks = [line for line in batches if "0x31000000" in line[1]]
    assert uplinks == [("-4", "rule add preference 99 fwmark 0x31000000/0xff000000 lookup 40001 protocol 213")]
    assert Rules(FakeKernel(held(list(routing.rules(plan)))), plan).difference() == ()


def test_a_changed_rule_is_added_before_the_old_one_goes(plan: NodePlan, batches: list[tuple[str, str]]) -> None:
    there = [
        rule if rule.mark != MARK or rule.family == 6 else replace(rule, table=254) for rule in routing.rules(plan)
    ]
    rules = Rules(FakeKernel(held(there)), plan)
    changes = rules.difference()
    assert [(c.action, c.before, c.after) for c in changes] == [("modify", "lookup 254", "lookup 3001")]
    rules.fix(changes)
    assert [line.split()[1] for _family, line in batches] == ["add", "delete"]


def test_a_rule_that_asks_for_more_goes_before_ours_comes(plan: NodePlan, batches: list[tuple[str, str]]) -> None:
    narrower = KernelRule(asked(MARK, 3001), 213, "uidrange 7-7")
    others = [rule for rule in routing.rules(plan) if rule.mark != MARK or rule.family == 6]
    rules = Rules(FakeKernel([narrower, *held(others)]), plan)
    rules.fix([change for change in rules.difference() if change.action == "create"])
    assert [line for _family, line in batches] == [
        "rule delete preference 99 fwmark 0x26000001/0xff003fff lookup 3001 protocol 213 uidrange 7-7",
        "rule add preference 99 fwmark 0x26000001/0xff003fff lookup 3001 protocol 213",
    ]


@pytest.mark.parametrize(
    ("rule", "protocol", "ours"),
    [
        (asked(MARK, 3001), 3, True),
        (asked(0x28000001, 20001), 3, True),
        (asked(0x31000000, 40001, mask=0xFF000000), 3, True),
        (asked(7, 9, 500, 0xFF), 213, True),
        (asked(MARK, 254, 98), 18, False),
        (asked(MARK, 3001, 100), 3, False),
        (asked(MARK, 3001, mask=0xFFFFFFFF), 3, False),
        (asked(0x25000001, 3001), 3, False),
        (asked(0x30000000, 40000, mask=0xFF000000), 3, False),
        (asked(0x40000000, 40016, mask=0xFF000000), 3, False),
    ],
)
def test_ownership_is_by_number(rule: IpRule, protocol: int, ours: bool) -> None:
    assert bool(Rules(FakeKernel([KernelRule(rule, protocol)]), None).difference()) is ours


def test_what_ip_shows_of_rules_and_routes() -> None:
    """As ip -N -j of iproute2 6.1 prints them."""
    source = {"priority": 101, "src": "10.1.0.0", "srclen": 16, "goto": 103, "protocol": "213"}
    assert parse_rule(4, source) == KernelRule(IpRule(4, 101, source="10.1.0.0/16", goto=103), 213)
    end = {"priority": 104, "src": "all", "nop": None, "protocol": "213"}
    assert parse_rule(6, end) == KernelRule(IpRule(6, 104), 213)
    last = {"priority": 103, "src": "fd00::a", "fwmark": "0", "fwmask": "0xff000000", "table": "19999"}
    assert parse_rule(6, last) == KernelRule(IpRule(6, 103, mark=0, mask=0xFF000000, source="fd00::a", table=19999), 0)
    closed = {"priority": 99, "src": "all", "iif": "egress.vxlan", "action": "6"}
    assert parse_rule(4, closed) == KernelRule(IpRule(4, 99, interface="egress.vxlan"), 0, "type blackhole")
    thrown = {"type": "9", "dst": "fd00::/64", "dev": "lo", "table": "19999", "metric": 1024}
    assert parse_route(6, thrown) == KernelRoute(IpRoute(6, 19999, kind="throw", destination="fd00::/64", metric=1024))
    shown = {"dst": "default", "gateway": "172.31.255.254", "dev": "egress.vxlan", "table": "3001", "flags": []}
    assert parse_route(4, shown) == KernelRoute(VIP)


def test_a_route_to_a_local_address_need_not_be_there(plan: NodePlan) -> None:
    def missing(*local: str) -> set[str]:
        return {str(change.key) for change in Routes(FakeKernel(addresses=local), plan).difference()}

    assert missing() - missing("172.31.255.254") == {"route ipv4 default table 3001 metric 0"}
    assert "route ipv4 default table 3001 metric 4278198272" in missing("172.31.255.254")
    assert "route ipv4 default table 3000 metric 0" in missing("169.254.38.39"), "nobody is asked for that one"


def test_a_route_to_a_local_address_may_still_be_there(plan: NodePlan) -> None:
    kernel = FakeKernel(routes=[KernelRoute(VIP)], addresses=["172.31.255.254"])
    assert not [c for c in Routes(kernel, plan).difference() if str(c.key) == "route ipv4 default table 3001 metric 0"]


def test_a_wrong_route_in_the_place_of_one_that_cannot_be_goes(plan: NodePlan, batches: list[tuple[str, str]]) -> None:
    there = KernelRoute(replace(VIP, via="172.31.255.200"))
    routes = Routes(FakeKernel(routes=[there], addresses=["172.31.255.254"]), plan)
    changes = [c for c in routes.difference() if str(c.key) == "route ipv4 default table 3001 metric 0"]
    assert [c.action for c in changes] == ["remove"]
    routes.fix(changes)
    assert batches == [
        ("-4", "route delete default via 172.31.255.200 dev egress.vxlan table 3001 protocol 213"),
    ]


def test_routes_of_our_protocol_in_low_tables_are_not_ours() -> None:
    there = KernelRoute(IpRoute(4, 254, via="10.0.0.1", device="eth0"))
    assert Routes(FakeKernel(routes=[there]), None).difference() == ()
    assert Routes(FakeKernel(routes=[there]), None, last=True).difference() == ()


def test_rules_of_the_last_resort_are_told_from_the_others(plan: NodePlan) -> None:
    steering_rules, last_rules = list(routing.rules(plan)), list(routing.last_rules(plan))
    kernel = FakeKernel(held([*steering_rules, *last_rules]))
    assert (Rules(kernel, plan).difference(), Rules(kernel, plan, last=True).difference()) == ((), ())
    assert {str(c.key).split()[3] for c in Rules(kernel, None, last=True).difference()} == {
        "100",
        "101",
        "102",
        "103",
        "104",
    }
    assert {str(c.key).split()[3] for c in Rules(kernel, None).difference()} == {"99"}


def test_at_no_moment_does_the_last_resort_refuse_what_hosts_send(
    plan: NodePlan, batches: list[tuple[str, str]]
) -> None:
    """Neither while it comes nor while it goes: its entrance is there only while all past it leads to the end."""
    coming = Rules(FakeKernel(), plan, last=True)
    coming.fix(coming.difference())
    order = [line.split()[3] for family, line in batches if family == "-4"]
    assert order == sorted(order, key=("104", "100", "102", "101", "103").index)
    assert ("-4", "rule add preference 100 iif lo goto 104 protocol 213") in batches
    assert ("-4", "rule add preference 101 from 10.1.0.0/16 goto 103 protocol 213") in batches
    batches.clear()
    going = Rules(FakeKernel(held(list(routing.last_rules(plan)))), None, last=True)
    going.fix(going.difference())
    order = [line.split()[3] for family, line in batches if family == "-4"]
    assert order == sorted(order, key=("101", "103", "102", "100", "104").index)
    assert batches[len(order) - 1] == ("-4", "rule delete preference 104 nop protocol 213")


def test_the_last_resort_has_its_table_to_itself(plan: NodePlan, batches: list[tuple[str, str]]) -> None:
    wanted = [KernelRoute(replace(route, origin="", onlink=False)) for route in routing.last_routes(plan)]
    wrong = [
        replace(found, route=replace(found.route, via="10.6.1.1")) if found.route.via is not None else found
        for found in wanted
    ]
    wrong.append(KernelRoute(IpRoute(4, 19999, kind="throw", destination="203.0.113.0/24")))
    kernel = FakeKernel(routes=wrong)
    assert not [c for c in Routes(kernel, None).difference() if "19999" in str(c.key)]
    last = Routes(kernel, plan, last=True)
    last.fix(last.difference())
    assert batches == [
        ("-4", "route replace default via 169.254.38.39 dev eth0 table 19999 onlink protocol 213"),
        ("-4", "route delete throw 203.0.113.0/24 table 19999 protocol 213"),
    ]
