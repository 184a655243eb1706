# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
"""The tunnel device, as ip -d -j shows it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.egress.gateway.plugins.module_utils.contract.plan import NodePlan
from ansible_collections.egress.gateway.plugins.module_utils.node import Paths
from ansible_collections.egress.gateway.plugins.module_utils.resources import link
from ansible_collections.egress.gateway.plugins.module_utils.resources.link import Link

VXLAN: dict[str, Any] = {
    "id": 100,
    "local": "192.0.2.1",
    "port": 7789,
    "learning": False,
    "ttl": 0,
    "df": "unset",
    "gbp": True,
}
ANEW = [
    "link delete dev egress.vxlan",
    "link add egress.vxlan address 66:65:67:00:00:01 mtu 1450 type vxlan id 100 local 192.0.2.1 dstport 7789 "
    "nolearning gbp",
    "link set dev egress.vxlan up",
]


class FakeKernel:
    def __init__(self, **data: Any) -> None:
        info = {"info_kind": "vxlan", "info_data": {**VXLAN, **data}}
        self._link = {"flags": ["UP"], "mtu": 1450, "address": "66:65:67:00:00:01", "linkinfo": info}

    def links(self) -> dict[str, Any]:
        return {"egress.vxlan": self._link}

    def forget(self) -> None:
        pass


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []
    monkeypatch.setattr(link, "batch", lambda argv, lines: found.extend(lines))
    return found


@pytest.mark.parametrize("shown", [True, None], ids=["iproute2 6.1", "later"])
def test_the_device_of_the_plan_is_left_alone(plan: NodePlan, tmp_path: Path, shown: object) -> None:
    one = Link(FakeKernel(gbp=shown), Paths(runtime=tmp_path), plan)
    assert (one.difference(), one.is_to_be_made()) == ((), False)


@pytest.mark.parametrize(
    ("data", "commands"),
    [
        ({"gbp": False}, ANEW),
        ({"id": 7}, ANEW),
        ({"link": "eth0"}, ANEW),
        ({"ttl": 5}, ["link set dev egress.vxlan type vxlan ttl auto"]),
        ({"learning": True}, ["link set dev egress.vxlan type vxlan nolearning"]),
    ],
)
def test_options_go_back_in_place_where_the_kernel_lets_them(
    plan: NodePlan, tmp_path: Path, lines: list[str], data: dict[str, Any], commands: list[str]
) -> None:
    one = Link(FakeKernel(**data), Paths(runtime=tmp_path), plan)
    assert one.is_to_be_made() is (commands == ANEW)
    one.fix(one.difference())
    assert lines == commands
