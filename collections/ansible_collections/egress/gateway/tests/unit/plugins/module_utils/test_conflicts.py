# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
"""Others' ip rules on a node: those that take our packets, and those that tell the tunnel's apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from ansible_collections.egress.gateway.plugins.module_utils.checks import conflicts
from ansible_collections.egress.gateway.plugins.module_utils.contract.plan import NodePlan

MAIN = {"priority": 32766, "src": "all", "table": "254"}
CILIUM = {"priority": 9, "src": "all", "fwmark": "0x2", "fwmask": "0xf", "table": "2004"}


class FakeKernel:
    def __init__(self, **links: dict[str, Any]) -> None:
        self._links = links

    def links(self) -> dict[str, Any]:
        return self._links


@pytest.fixture
def rules(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    everywhere = [{"dst": "default", "dev": "lo"}]
    monkeypatch.setattr(conflicts, "has_ipv6", lambda: True)
    monkeypatch.setattr(conflicts, "read_json", lambda argv: found if "-4" in argv else [])
    monkeypatch.setattr(conflicts, "_table", lambda family, table: everywhere if table in (254, 2004) else [])
    return found


def taken(plan: NodePlan, rules: list[dict[str, Any]], *there: dict[str, Any]) -> Sequence[str]:
    rules[:] = [*there, MAIN]
    return conflicts.taken_numbers(plan)


def test_a_rule_that_knows_an_answer_number_is_named(plan: NodePlan, rules: list[dict[str, Any]]) -> None:
    (warning,) = taken(plan, rules, CILIUM)
    assert "preference 9, fwmark 0x2/0xf to table 2004" in warning
    assert "answer number 2 (EgressClusterPolicy monitoring):" in warning
    (warning,) = taken(plan, rules, {**CILIUM, "fwmark": "0", "fwmask": "0x2"})
    assert "answer number 2 (EgressClusterPolicy monitoring), 3 (" in warning, "what has no number is led there"


@pytest.mark.parametrize(
    "other",
    [
        {**CILIUM, "fwmark": "0x200", "fwmask": "0xf00"},
        {**CILIUM, "priority": 32767},
        {**CILIUM, "iif": "cilium_host"},
        {**CILIUM, "oif": "eth1"},
        {**CILIUM, "src": "10.1.0.0", "srclen": 16},
        {**CILIUM, "dst": "198.51.100.0", "dstlen": 24},
        {**CILIUM, "protocol": "213"},
        {"priority": 9, "src": "all", "table": "2004"},
        {"priority": 9, "src": "all", "not": None, "fwmark": "0xca6c", "table": "51820"},
    ],
)
def test_a_rule_that_treats_all_alike_is_not(
    plan: NodePlan, rules: list[dict[str, Any]], other: dict[str, Any]
) -> None:
    assert taken(plan, rules, other) == ()


def test_a_rule_about_the_tunnels_ends_is(plan: NodePlan, rules: list[dict[str, Any]]) -> None:
    ends = {"iif": "lo", "src": "192.0.2.1", "dst": "192.0.2.0", "dstlen": 24}
    assert taken(plan, rules, {**CILIUM, **ends})


@pytest.mark.parametrize(
    ("mark", "mask", "taken_mark"),
    [
        ("0x26000001", "0xffffffff", "0x26000001/0xff003fff"),
        ("0x28000000", "0xff000000", "0x28000000/0xff003fff"),
        ("0x31000005", "0xff003fff", "0x31000000/0xff000000"),
        ("0x4000", "0x4000", "0x26000001/0xff003fff"),
        ("0x32000000", "0xff000000", ""),
        ("0x27000000", "0xff000000", ""),
    ],
)
def test_a_rule_that_takes_our_marks_is_a_conflict(
    plan: NodePlan, rules: list[dict[str, Any]], mark: str, mask: str, taken_mark: str
) -> None:
    rules[:] = [{"priority": 9, "src": "all", "fwmark": mark, "fwmask": mask, "table": "2004"}, MAIN]
    found = [conflict.text for conflict in conflicts.conflicts(plan, FakeKernel(), installed=True)]
    assert len(found) == bool(taken_mark)
    assert all("mark %s (" % taken_mark in text for text in found)


@pytest.mark.parametrize(
    ("data", "up", "forbids"),
    [
        ({"id": 100, "gbp": True}, False, True),
        ({"id": 100, "gbp": True, "local6": "::1"}, False, None),
        ({"id": 100}, False, None),
        ({"id": 5, "gbp": True}, False, None),
        ({"id": 5, "gbp": True}, True, False),
        ({"id": 5}, True, True),
        ({"id": 5, "local6": "::1"}, True, False),
        ({"id": 0, "external": True}, True, True),
        ({"id": 5, "port": 4789}, True, None),
    ],
)
def test_a_device_on_the_tunnels_port(
    plan: NodePlan, rules: list[dict[str, Any]], data: dict[str, Any], up: bool, forbids: bool | None
) -> None:
    """As tried on Linux 6.18: the kernel gives a port to devices with group policy, or to those without."""
    info = {"info_kind": "vxlan", "info_data": {"port": 7789, **data}}
    kernel = FakeKernel(other={"flags": ["UP"] if up else [], "linkinfo": info})
    found = [conflict.forbids is not None for conflict in conflicts.conflicts(plan, kernel, installed=True)]
    assert found == ([] if forbids is None else [forbids])
