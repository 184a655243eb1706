# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
"""What is said of a node's uplink, by the routes that it has."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.egress.gateway.plugins.module_utils.checks import eip_owners, facts
from ansible_collections.egress.gateway.plugins.module_utils.contract.plan import Both, NodePlan

ELSEWHERE = {"dst": "default", "gateway": "192.168.99.1", "dev": "eth1", "metric": 100}
WORSE = {"dst": "default", "gateway": "10.6.1.1", "dev": "eth0", "metric": 200}
SUBNET = {"dst": "10.6.1.0/24", "dev": "eth0", "protocol": "2"}
OURS = {"dst": "default", "gateway": "10.6.1.9", "dev": "eth0", "protocol": "213"}
ONE_WAY = {"dst": "172.16.0.0/12", "gateway": "10.6.1.3", "dev": "eth0", "protocol": "4"}
OTHER_WAY = {"dst": "192.168.0.0/16", "gateway": "10.6.1.4", "dev": "eth0", "protocol": "4"}
FAR = {"dst": "default", "gateway": "10.7.1.1", "dev": "eth0", "protocol": "4"}


@pytest.fixture
def routes(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The IPv4 routes of a node; it has none of IPv6."""
    found: list[dict[str, Any]] = []

    def read(argv: list[str]) -> list[dict[str, Any]]:
        if "-6" in argv:
            return []
        if "default" in argv:
            return [r for r in found if r["dst"] == "default" and r.get("table") is None]
        return [r for r in found if r.get("dev") == argv[-1]]

    monkeypatch.setattr(facts, "read_json", read)
    return found


def test_the_default_route_that_counts(routes: list[dict[str, Any]]) -> None:
    assert facts.default_devices(4) == []
    routes += [WORSE, ELSEWHERE]
    assert facts.default_devices(4) == ["eth1"]
    routes[:] = [{"dst": "default", "nexthops": [{"dev": "eth0"}, {"dev": "eth1"}]}]
    assert facts.default_devices(4) == ["eth0", "eth1"]


@pytest.mark.parametrize(
    ("there", "hop"),
    [
        ([ELSEWHERE, SUBNET], ""),
        ([ELSEWHERE, WORSE], "10.6.1.1"),
        ([ELSEWHERE, {**WORSE, "table": "100"}, ONE_WAY], "10.6.1.1"),
        ([ELSEWHERE, ONE_WAY], "10.6.1.3"),
        ([ELSEWHERE, ONE_WAY, OTHER_WAY], ""),
        ([ELSEWHERE, OURS, ONE_WAY], "10.6.1.3"),
        ([ELSEWHERE, FAR], ""),
    ],
)
def test_the_next_hop_of_a_device_that_the_default_route_does_not_take(
    routes: list[dict[str, Any]], there: list[dict[str, Any]], hop: str
) -> None:
    routes += there
    assert facts._next_hop(4, "eth0", ["10.6.1.0/24"]) == hop


def test_an_eip_that_would_leave_by_another_device(routes: list[dict[str, Any]], plan: NodePlan) -> None:
    routes += [ELSEWHERE]
    astray = eip_owners.astray(plan)
    assert [(c.address, c.seen) for c in astray if ":" not in c.address] == [("192.0.2.68", ("eth1",))]
    assert plan.gateway is not None
    own = replace(plan.gateway.uplinks[0], interface="eth0", cidrs=Both(("192.0.2.0/24",), ()))
    with_table = replace(plan, gateway=replace(plan.gateway, uplinks=(own,)))
    assert not [c for c in eip_owners.astray(with_table) if ":" not in c.address]
