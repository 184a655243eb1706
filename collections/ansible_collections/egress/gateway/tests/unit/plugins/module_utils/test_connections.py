# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
"""Which open connections end when a plan changes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.egress.gateway.plugins.module_utils import connections
from ansible_collections.egress.gateway.plugins.module_utils.connections import end_connections, may_end, parse, to_end
from ansible_collections.egress.gateway.plugins.module_utils.kernel.command import Finished, NodeError

POD, OTHER = "10.244.3.10", "10.244.3.20"
FAR, NEAR = "203.0.113.10", "198.51.100.10"


def listed(source: str, destination: str, mark: int, answers: str = "", zone: int = 0) -> str:
    where = " zone=%d" % zone if zone else ""
    return "tcp      6 300 ESTABLISHED src=%s dst=%s sport=4000 dport=443 src=%s dst=%s sport=443 dport=4000 " % (
        source,
        destination,
        destination,
        answers or source,
    ) + "[ASSURED] mark=%d%s use=1\n" % (mark, where)


def plan(slot: int | None = 1, eip: str = "10.6.1.61", owner: str = "shop/web-1", cut: Any = ()) -> str:
    sources = {"pods4": [{"source": POD, "traffic_class": "c", "owner": owner}], "pods6": []}
    near = {"destinations": ["198.51.100.0/24"], "slot": 2, "address": "10.6.1.62", "origin": "EgressPolicy shop/near"}
    rest = {"destinations": [], "slot": slot, "address": eip, "origin": "EgressPolicy shop/web"}
    classes = [{"name": "c", "policies": [], "ipv4": [near, rest], "ipv6": []}]
    return json.dumps(
        {
            "steer_sources": sources,
            "snat_sources": sources,
            "steer_classes": classes,
            "snat_classes": classes,
            "inside4": ["10.244.0.0/16"],
            "inside6": [],
            "cut": list(cut),
        }
    )


STEERED = listed(POD, FAR, 0x26000001) + listed(POD, NEAR, 0x26000002) + listed(POD, OTHER, 0)
TRANSLATED = listed(POD, FAR, 0x27000003, "10.6.1.61", 9767) + listed(POD, NEAR, 0x27000003, "10.6.1.62", 9767)
STRANGERS = listed(OTHER, FAR, 0) + listed(FAR, POD, 0) + "icmp 1 29 src=%s dst=%s type=8 code=0 id=7\n" % (OTHER, FAR)


def ended(before: str, after: str, everything: bool, text: str = STEERED + TRANSLATED + STRANGERS) -> list[Any]:
    return [(e.source, e.destination, e.at_gateway) for e, _why in to_end(before, after, parse(text), everything)]


def test_what_leaves_as_before_stays() -> None:
    assert ended(plan(), plan(), everything=True) == []
    assert not may_end(plan(), plan(), everything=False)


def test_another_slot_ends_what_was_steered_to_the_old_one_and_only_when_told_so() -> None:
    assert ended(plan(), plan(slot=3), everything=True) == [(POD, FAR, False)]
    assert ended(plan(), plan(slot=3), everything=False) == []
    assert ended(plan(), plan(slot=3, cut=["EgressPolicy shop/web"]), everything=False) == [(POD, FAR, False)]
    assert ended(plan(cut=["EgressPolicy shop/web"]), plan(slot=3), everything=False) == [(POD, FAR, False)]
    assert ended(plan(), plan(slot=3, cut=["EgressPolicy shop/near"]), everything=False) == []


def test_another_eip_ends_what_was_translated_to_the_old_one() -> None:
    assert ended(plan(), plan(eip="10.6.1.63"), everything=True) == [(POD, FAR, True)]


def test_what_was_open_before_the_first_policy_ends_only_in_a_run_that_cuts() -> None:
    unsteered = listed(POD, FAR, 0) + listed(POD, OTHER, 0)
    assert ended("", plan(), everything=True, text=unsteered) == [(POD, FAR, False)]
    assert ended("", plan(), everything=False, text=unsteered) == []


def test_what_no_policy_governs_any_more_ends_with_everything() -> None:
    assert len(ended(plan(), "", everything=True)) == 4


def test_a_pod_does_not_inherit_what_another_one_had_open() -> None:
    again = plan(owner="shop/web-2")
    assert may_end(plan(), again, everything=False)
    assert len(ended(plan(), again, everything=False)) == 5


def test_entries_are_deleted_one_by_one_in_their_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[list[str]] = []

    def run(argv: list[str], check: bool = True) -> Finished:
        ran.append(argv)
        return Finished(0, TRANSLATED if argv[1:] == ["-L", "-f", "ipv4"] else "", "")

    monkeypatch.setattr(connections, "run", run)
    monkeypatch.setattr(connections, "find", lambda tool: "/usr/sbin/" + tool)
    told = end_connections(plan(), plan(eip="10.6.1.63"), True, check_only=True)
    assert [(t.source, t.connections, t.reason) for t in told] == [(POD, 1, "cut, as this run says")]
    assert [argv for argv in ran if "-D" in argv] == []
    end_connections(plan(), plan(eip="10.6.1.63"), True, check_only=False)
    ports = ["--sport", "4000", "--dport", "443", "--zone", "9767"]
    assert ran[-1] == ["conntrack", "-D", "-f", "ipv4", "-p", "tcp", "-s", POD, "-d", FAR, *ports]


def test_without_conntrack_nothing_is_said_unless_something_is_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "find", lambda tool: None)
    assert end_connections(plan(), plan(slot=3), False, check_only=False) == []
    with pytest.raises(NodeError, match="not installed"):
        end_connections(plan(), plan(slot=3), True, check_only=False)
