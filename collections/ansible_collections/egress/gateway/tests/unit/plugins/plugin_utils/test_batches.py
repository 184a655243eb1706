# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
"""Batches of gateways: the first alone, and never a whole team."""

from __future__ import annotations

import itertools
import random

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.egress.gateway.plugins.filter.batches import of_groups
from ansible_collections.egress.gateway.plugins.plugin_utils.batches import batches

A, B = ("a1", "a2"), ("b1", "b2")


@pytest.mark.parametrize(
    ("hosts", "teams", "largest", "expected"),
    [
        ((), (), "50%", []),
        (A, (A,), "50%", [1, 1]),
        ((*A, *B), (A, B), "100%", [1, 2, 1]),
        ((*A, *B), (A, B), 1, [1, 1, 1, 1]),
        (("a1", "b1", "c1", "d1"), (("a1",), ("b1",)), "100%", [1, 3]),
        (("a1", "a2", "a3", "a4", "a5", "a6"), (("a1", "a2", "a3", "a4", "a5", "a6"),), "50%", [1, 3, 2]),
    ],
)
def test_sizes(
    hosts: tuple[str, ...], teams: tuple[tuple[str, ...], ...], largest: str | int, expected: list[int]
) -> None:
    assert batches(hosts, teams, largest) == expected
    assert batches(reversed(hosts), teams, largest) == expected


def test_no_batch_holds_a_whole_team() -> None:
    dice = random.Random(26)  # seeded: the same cases every time
    for _round in range(300):
        hosts = ["h%02d" % number for number in range(dice.randint(1, 20))]
        teams = [dice.sample(hosts, dice.randint(1, len(hosts))) for _team in range(dice.randint(0, 5))]
        sizes = batches(hosts, teams, "%d%%" % dice.randint(1, 100))
        assert sum(sizes) == len(hosts)
        ends = list(itertools.accumulate(sizes))
        for start, end in zip([0, *ends], ends):
            together = set(hosts[start:end])
            assert not any(len(set(team)) > 1 and together >= set(team) for team in teams), (hosts, teams, sizes)


def test_groups_of_the_inventory() -> None:
    assert of_groups(["a", "b", "c"], {"egress_gateways": ["a", "b", "c"]}, "100%") == [1, 2]
    assert of_groups(["a", "b", "c"], {"egw_x": ["a"], "egw_y": ["b", "c"], "egress_gateways": ["a", "b", "c"]}) == [
        1,
        1,
        1,
    ]


@pytest.mark.parametrize("largest", ["", "0", "-1", "50 percent", "0%"])
def test_what_is_no_number_of_hosts(largest: str) -> None:
    with pytest.raises(AnsibleFilterError, match="neither a number"):
        batches(["a"], [], largest)
