# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
"""Who has a slot's addresses, by what keepalived said last."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.egress.gateway.plugins.module_utils.contract.plan import NodePlan
from ansible_collections.egress.gateway.plugins.module_utils.node import Paths
from ansible_collections.egress.gateway.plugins.module_utils.resources import floating
from ansible_collections.egress.gateway.plugins.module_utils.resources.floating import Floating


@pytest.fixture
def plan(plan: NodePlan) -> NodePlan:
    """Two slots with one address each."""
    assert plan.gateway is not None
    one, other = plan.gateway.memberships
    one = replace(one, tunnel_vips=(), eips=one.eips[:1])
    return replace(plan, gateway=replace(plan.gateway, memberships=(one, other)))


class FakeKernel:
    def __init__(self, *held: tuple[str, int]) -> None:
        self.held = held

    def forget(self) -> None:
        pass

    def links(self) -> Any:
        return {"eth0": {"addr_info": [{"local": address, "prefixlen": length} for address, length in self.held]}}


def made(tmp_path: Path, plan: NodePlan, kernel: FakeKernel, settled: bool = True, **states: str) -> Floating:
    for slot, state in states.items():
        (tmp_path / (slot + ".state")).write_text("%s 4711 12\n" % state, encoding="ascii")
    return Floating(kernel, Paths(runtime=tmp_path), plan, lambda: settled, 0.0)


def test_a_master_has_all_and_nobody_else_any(tmp_path: Path, plan: NodePlan) -> None:
    wrong = made(tmp_path, plan, FakeKernel(("192.0.2.1", 24), ("2001:db8::65", 128)), vrid_1="MASTER", vrid_2="BACKUP")
    assert [(c.action, str(c.key), c.origin) for c in wrong.difference()] == [
        ("create", "address 192.0.2.68/32 on eth0", "EgressPolicy shop/web"),
        ("remove", "address 2001:db8::65/128 on eth0", "EgressClusterPolicy everybody"),
    ]
    right = made(tmp_path, plan, FakeKernel(("192.0.2.1", 24), ("192.0.2.68", 32)), vrid_1="MASTER", vrid_2="FAULT")
    assert right.difference() == ()


def test_with_a_subnet_it_is_another_address(tmp_path: Path, plan: NodePlan) -> None:
    found = made(tmp_path, plan, FakeKernel(("192.0.2.68", 24)), vrid_1="MASTER").difference()
    assert [(c.action, str(c.key)) for c in found] == [
        ("create", "address 192.0.2.68/32 on eth0"),
        ("remove", "address 192.0.2.68/24 on eth0"),
    ]


def test_what_keepalived_has_not_said_is_not_judged(tmp_path: Path, plan: NodePlan) -> None:
    assert made(tmp_path, plan, FakeKernel(("192.0.2.68", 32), ("2001:db8::65", 128))).difference() == ()
    assert made(tmp_path, plan, FakeKernel(), settled=False, vrid_1="MASTER").difference() == ()


def test_addresses_are_put_and_taken_as_ip_takes_it(
    tmp_path: Path, plan: NodePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    monkeypatch.setattr(floating, "batch", lambda argv, batch: lines.extend(batch))
    one = made(tmp_path, plan, FakeKernel(("192.0.2.68", 32)), vrid_1="BACKUP", vrid_2="MASTER")
    one.fix(one.difference())
    assert lines == [
        "address replace 2001:db8::65/128 dev eth0 preferred_lft 0 nodad",
        "address delete 192.0.2.68/32 dev eth0",
    ]
