# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
"""Who wins on a node."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

import pytest

from ansible_collections.egress.gateway.plugins.module_utils.classify import Classifier
from ansible_collections.egress.gateway.plugins.module_utils.contract.plan import (
    Both,
    PolicyAnswer,
    PolicyChain,
    PolicyOrder,
    Source,
    WorkerRole,
)

ONE = PolicyChain("one", "EgressPolicy a/one", Both(PolicyAnswer(("192.0.2.0/25", "192.0.2.200"), 1), None))
TWO = PolicyChain("two", "EgressPolicy a/two", Both(PolicyAnswer(("192.0.2.128-192.0.2.255",), None), None))
ALL = PolicyChain("all", "EgressPolicy a/all", Both(PolicyAnswer((), 3), PolicyAnswer((), None, direct=True)))


def plan() -> Any:
    worker = WorkerRole(
        pods=Both((Source("10.1.0.7", "one", "a/pod"),), (Source("fd00::7", "all", "a/pod"),)),
        subnets=Both((Source("10.1.0.0/24", "order", "net"), Source("10.1.2.4-10.1.2.6", "two", "net")), ()),
        policies=(ALL, ONE, TWO),
        orders=(PolicyOrder("order", ("one", "two", "all")),),
        answers=(),
        slots=(),
    )
    return Mock(worker=worker, inside=Both(("10.0.0.0/8",), ("fd00::/16",)))


@pytest.mark.parametrize(
    ("source", "destination", "winner"),
    [
        ("10.1.0.8", "192.0.2.5", ONE),
        ("10.1.0.8", "192.0.2.128", TWO),
        ("10.1.0.8", "192.0.2.200", ONE),
        ("10.1.0.8", "192.0.2.201", TWO),
        ("10.1.0.8", "198.51.100.1", ALL),
        ("10.1.0.8", "10.3.0.1", None),
        ("10.1.0.7", "192.0.2.5", ONE),
        ("10.1.0.7", "192.0.2.201", None),
        ("10.1.2.3", "192.0.2.201", None),
        ("10.1.2.6", "192.0.2.201", TWO),
        ("10.1.2.7", "192.0.2.201", None),
        ("10.1.0.1", "192.0.2.5", None),
        ("10.1.0.8", "192.0.2.1", None),
        ("fd00::7", "2001:db8::1", ALL),
        ("fd00::8", "2001:db8::1", None),
    ],
)
def test_the_first_policy_with_the_destination_wins(source: str, destination: str, winner: PolicyChain | None) -> None:
    win = Classifier(plan(), ["10.1.0.1", "192.0.2.1"]).win(source, destination)
    assert (win.policy if win else None) == winner
    if win is not None:
        assert win.answer is win.policy.answers.of(6 if ":" in destination else 4)


def test_a_pod_is_known_by_its_exact_address() -> None:
    classifier = Classifier(plan())
    assert (classifier.pod("10.1.0.7"), classifier.pod("10.1.0.8")) == ("a/pod", None)
    source = classifier.source("10.1.0.8")
    assert source is not None
    assert source.chain == "order"


def test_without_a_plan_nothing_is_governed() -> None:
    assert Classifier(None).win("10.1.0.7", "192.0.2.5") is None
