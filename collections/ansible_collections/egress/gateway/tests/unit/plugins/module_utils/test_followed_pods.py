# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
"""What verify finds where a node follows its pods: a follower that is gone, silent or behind, and pods it has wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ansible_collections.egress.gateway.plugins.module_utils.bundle import NodeBundle
from ansible_collections.egress.gateway.plugins.module_utils.checks.followed_pods import followed
from ansible_collections.egress.gateway.plugins.module_utils.contract.membership import Known, KnownPod
from ansible_collections.egress.gateway.plugins.module_utils.contract.plan import Follow, NodePlan
from ansible_collections.egress.gateway.plugins.module_utils.follow.errors import FollowError
from ansible_collections.egress.gateway.plugins.module_utils.node import Paths

NOW = 1_800_000_000.0
WEB = KnownPod("shop", "web-0", "u1", {}, ("10.244.1.10",))
DB = KnownPod("shop", "db-0", "u2", {}, ("10.244.1.11",))


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    found = Paths(runtime=tmp_path)
    tell(found)
    return found


@pytest.fixture
def bundle(plan: NodePlan) -> Callable[[Known], NodeBundle]:
    following = replace(plan, follow=Follow())
    return lambda known: NodeBundle({}, following, following, known=known)


def tell(paths: Paths, **values: object) -> None:
    status = {"synced": True, "since": NOW, "reason": "", "heartbeat": NOW - 1, **values}
    paths.follow_status.write_text(json.dumps(status), encoding="utf-8")


def look(paths: Paths, held: list[NodeBundle], told: list[Known]) -> tuple[list[str], tuple[str, ...]]:
    """The last of each list stays."""
    found = followed(
        paths,
        lambda: held.pop(0) if len(held) > 1 else held[0],
        lambda _paths, _bundle: told.pop(0) if len(told) > 1 else told[0],
        lambda _seconds: None,
        lambda: NOW,
    )
    changes = ["%s %s: %s -> %s" % (c.action, c.key, c.before, c.after) for c in found.differences]
    return changes, found.warnings


def test_a_node_that_is_compiled_is_not_asked(paths: Paths, plan: NodePlan) -> None:
    paths.follow_status.unlink()
    assert look(paths, [NodeBundle({}, plan, plan)], []) == ([], ())


def test_a_follower_that_knows_what_the_api_says(paths: Paths, bundle: Callable[[Known], NodeBundle]) -> None:
    assert look(paths, [bundle(Known((WEB,)))], [Known((WEB,))]) == ([], ())


def test_one_that_is_on_its_way(paths: Paths, bundle: Callable[[Known], NodeBundle]) -> None:
    held = [bundle(Known()), bundle(Known((WEB, DB)))]
    assert look(paths, held, [Known((WEB,)), Known((WEB, DB))]) == ([], ())


def test_pods_that_it_lacks_has_too_many_or_takes_for_others(
    paths: Paths, bundle: Callable[[Known], NodeBundle]
) -> None:
    other = replace(DB, addresses=WEB.addresses)
    assert look(paths, [bundle(Known((WEB,)))], [Known((DB,))])[0] == [
        "remove pod address 10.244.1.10: shop/web-0 -> None",
        "create pod address 10.244.1.11: None -> shop/db-0",
    ]
    assert look(paths, [bundle(Known((WEB,)))], [Known((other,))])[0] == [
        "modify pod address 10.244.1.10: shop/web-0 -> shop/db-0"
    ]


@pytest.mark.parametrize("text", [None, "", "[]", '{"heartbeat": "x"}'])
def test_a_follower_that_does_not_run(paths: Paths, bundle: Callable[[Known], NodeBundle], text: str | None) -> None:
    paths.follow_status.unlink()
    if text is not None:
        paths.follow_status.write_text(text, encoding="utf-8")
    assert look(paths, [bundle(Known())], [Known()])[0] == ["create follower: None -> running"]


def test_a_follower_that_hangs(paths: Paths, bundle: Callable[[Known], NodeBundle]) -> None:
    tell(paths, heartbeat=NOW - 60)
    assert look(paths, [bundle(Known())], [Known()])[0] == ["modify follower: silent for 60 s -> running"]


def test_an_api_that_is_away_is_told_and_no_drift(paths: Paths, bundle: Callable[[Known], NodeBundle]) -> None:
    tell(paths, synced=False, since=NOW - 60, reason="connection refused")

    def refused(_paths: Paths, _bundle: NodeBundle) -> Known:
        raise FollowError("GET /api/v1/pods: connection refused")

    found = followed(paths, lambda: bundle(Known((WEB,))), refused, lambda _seconds: None, lambda: NOW)
    assert found.differences == ()
    assert found.warnings == (
        "the follower does not hear from the cluster's API since 2027-01-15 07:59:00 UTC: connection refused",
        "the cluster's API cannot be asked which pods the node has: GET /api/v1/pods: connection refused",
    )
