# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
"""The veth pair between the two roles of a gateway node."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from ansible_collections.egress.gateway.plugins.module_utils.contract.plan import NodePlan
from ansible_collections.egress.gateway.plugins.module_utils.resources import veth_pair
from ansible_collections.egress.gateway.plugins.module_utils.resources.veth_pair import VethPair

MAC = "66:65:67:ff:ff:ff"


class FakeKernel:
    def __init__(self, **ends: Mapping[str, Any]) -> None:
        self._links = {"egress." + name: link for name, link in ends.items()}

    def links(self) -> Mapping[str, Mapping[str, Any]]:
        return self._links

    def forget(self) -> None:
        pass


def end(other: str, address: str, **changed: Any) -> dict[str, Any]:
    return {
        "flags": ["NOARP", "UP"],
        "link": other,
        "mtu": 1450,
        "address": MAC,
        "linkinfo": {"info_kind": "veth"},
        "addr_info": [
            {"family": "inet", "local": address, "prefixlen": 32},
            {"family": "inet6", "local": "fe80::1", "prefixlen": 64},
        ],
        **changed,
    }


WORKER, GATEWAY = end("egress.gateway", "169.254.38.37"), end("egress.worker", "169.254.38.38")


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []
    monkeypatch.setattr(veth_pair, "batch", lambda argv, lines: found.extend(lines))
    return found


def test_a_right_pair_is_left_alone(plan: NodePlan) -> None:
    assert VethPair(FakeKernel(worker=WORKER, gateway=GATEWAY), plan).difference() == ()


@pytest.mark.parametrize(
    "changed",
    [
        {"mtu": 1500},
        {"master": "br9"},
        {"flags": ["UP"]},
        {"flags": ["NOARP"]},
        {"address": "66:65:67:00:00:01"},
        {"addr_info": []},
    ],
)
def test_what_is_wrong_with_an_end_is_set_right_in_place(
    changed: dict[str, Any], lines: list[str], plan: NodePlan
) -> None:
    resource = VethPair(FakeKernel(worker={**WORKER, **changed}, gateway=GATEWAY), plan)
    (change,) = resource.difference()
    assert str(change.key) == "link egress.worker"
    resource.fix([change])
    assert not [line for line in lines if line.startswith(("link delete", "link add"))]
    assert "link set dev egress.worker arp off addrgenmode none address %s mtu 1450 nomaster" % MAC in lines


def test_an_end_without_its_other_one_is_made_anew(lines: list[str], plan: NodePlan) -> None:
    resource = VethPair(FakeKernel(worker={**WORKER, "link": "elsewhere"}), plan)
    resource.fix(resource.difference())
    both = "address %s mtu 1450" % MAC
    assert lines[:2] == [
        "link delete dev egress.worker",
        "link add egress.worker %s type veth peer name egress.gateway %s" % (both, both),
    ]


def test_a_foreign_address_on_an_end_goes(lines: list[str], plan: NodePlan) -> None:
    foreign = {"family": "inet", "local": "192.0.2.1", "prefixlen": 24}
    resource = VethPair(
        FakeKernel(worker={**WORKER, "addr_info": [foreign, *WORKER["addr_info"]]}, gateway=GATEWAY), plan
    )
    resource.fix(resource.difference())
    assert "address delete 192.0.2.1/24 dev egress.worker" in lines


def test_a_node_that_is_no_gateway_has_no_pair() -> None:
    changes = VethPair(FakeKernel(worker=WORKER, gateway=GATEWAY), None).difference()
    assert [(str(c.key), c.action) for c in changes] == [
        ("link egress.worker", "remove"),
        ("link egress.gateway", "remove"),
    ]
