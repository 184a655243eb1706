# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
"""Who has a slot's addresses, by what keepalived said last."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.egress.gateway.plugins.module_utils.node import Paths
from ansible_collections.egress.gateway.plugins.module_utils.plan import FloatingAddress
from ansible_collections.egress.gateway.plugins.module_utils.resources import floating
from ansible_collections.egress.gateway.plugins.module_utils.resources.floating import Floating


class FakePlan:
    floating = (
        FloatingAddress("10.6.1.61", "eth0", "EgressPolicy shop/web", "slot_1"),
        FloatingAddress("fd00::62", "eth0", "EgressPolicy pay/api", "slot_2"),
    )


class FakeKernel:
    def __init__(self, *held: tuple[str, int]) -> None:
        self.held = held

    def forget(self) -> None:
        pass

    def links(self) -> Any:
        return {"eth0": {"addr_info": [{"local": address, "prefixlen": length} for address, length in self.held]}}


def made(tmp_path: Path, kernel: FakeKernel, settled: bool = True, **states: str) -> Floating:
    for slot, state in states.items():
        (tmp_path / (slot + ".state")).write_text("%s 4711 12\n" % state, encoding="ascii")
    return Floating(kernel, Paths(runtime=tmp_path), FakePlan(), lambda: settled, 0.0)


def test_a_master_has_all_and_nobody_else_any(tmp_path: Path) -> None:
    wrong = made(tmp_path, FakeKernel(("10.6.1.11", 24), ("fd00::62", 128)), slot_1="MASTER", slot_2="BACKUP")
    assert [(c.action, str(c.key), c.origin) for c in wrong.difference()] == [
        ("create", "address 10.6.1.61/32 on eth0", "EgressPolicy shop/web"),
        ("remove", "address fd00::62/128 on eth0", "EgressPolicy pay/api"),
    ]
    right = made(tmp_path, FakeKernel(("10.6.1.11", 24), ("10.6.1.61", 32)), slot_1="MASTER", slot_2="FAULT")
    assert right.difference() == ()


def test_with_a_subnet_it_is_another_address(tmp_path: Path) -> None:
    found = made(tmp_path, FakeKernel(("10.6.1.61", 24)), slot_1="MASTER").difference()
    assert [(c.action, str(c.key)) for c in found] == [
        ("create", "address 10.6.1.61/32 on eth0"),
        ("remove", "address 10.6.1.61/24 on eth0"),
    ]


def test_what_keepalived_has_not_said_is_not_judged(tmp_path: Path) -> None:
    assert made(tmp_path, FakeKernel(("10.6.1.61", 32), ("fd00::62", 128))).difference() == ()
    assert made(tmp_path, FakeKernel(), settled=False, slot_1="MASTER").difference() == ()


def test_addresses_are_put_and_taken_as_ip_takes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    monkeypatch.setattr(floating, "batch", lambda argv, batch: lines.extend(batch))
    one = made(tmp_path, FakeKernel(("10.6.1.61", 32)), slot_1="BACKUP", slot_2="MASTER")
    one.fix(one.difference())
    assert lines == [
        "address replace fd00::62/128 dev eth0 preferred_lft 0 nodad",
        "address delete 10.6.1.61/32 dev eth0",
    ]
