# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
"""What editors, package managers and administrators leave in our directories takes nothing from the node."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.egress.gateway.plugins.module_utils.bundle import installed
from ansible_collections.egress.gateway.plugins.module_utils.checks import facts
from ansible_collections.egress.gateway.plugins.module_utils.node import Paths
from ansible_collections.egress.gateway.plugins.module_utils.undo.confirm import Unconfirmed

LEFT = [
    "plan.json~",
    "#plan.json#",
    ".plan.json.swp",
    "keepalived.conf.dpkg-dist",
    "plan.json.bak",
    "sysctl.conf.rpmsave",
]


def test_what_the_node_holds_is_known_all_the_same(tmp_path: Path, plan_text: str) -> None:
    (tmp_path / "plan.json").write_text(plan_text, encoding="utf-8")
    (tmp_path / "watch").write_text("#!/bin/sh\n", encoding="utf-8")
    for name in LEFT:
        (tmp_path / name).write_bytes(b"\xff")
    (tmp_path / "of an editor").mkdir()
    found = installed(Paths(config=tmp_path))
    assert found is not None
    assert sorted(found.files) == ["plan.json", "watch"]


def test_a_directory_without_what_is_ours_waits_for_nothing(tmp_path: Path) -> None:
    paths = Paths(state=tmp_path / "state")
    assert not Unconfirmed(paths).difference()
    paths.state.mkdir()
    assert not Unconfirmed(paths).difference(), "such as a mount point"
    (paths.state / "lost+found").mkdir()
    assert not Unconfirmed(paths).difference()
    paths.pending.write_text("", encoding="utf-8")
    assert Unconfirmed(paths).difference()


@pytest.mark.parametrize(
    ("name", "found", "old"),
    [
        ("nftables", "1.0.1", True),
        ("nftables", "1.0.2", False),
        ("nftables", "1.1", False),
        ("iproute2", "5.9.0", True),
        ("iproute2", "6.1.0", False),
        ("kernel", "4.19.0-26-amd64", True),
        ("kernel", "6.1.0-18-amd64", False),
        ("keepalived", "2.0.20", True),
        ("keepalived", None, False),
        ("python", "3.8.10", True),
        ("python", "3.13.1", False),
    ],
)
def test_versions(name: str, found: str | None, old: bool) -> None:
    assert bool(facts.too_old(name, found)) == old
