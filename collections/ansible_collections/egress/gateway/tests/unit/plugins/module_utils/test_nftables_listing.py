# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""The quick ways past a large table find what differs, and nothing that does not."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from ansible_collections.egress.gateway.plugins.module_utils.kernel import reading
from ansible_collections.egress.gateway.plugins.module_utils.kernel.nft_generation import number
from ansible_collections.egress.gateway.plugins.module_utils.resources.nftables_listing import apart, unequal

ONE, TWO = ["10.0.0.1", {"goto": {"target": "a"}}], ["10.0.0.2", {"goto": {"target": "a"}}]
MOVED = ["10.0.0.1", {"goto": {"target": "b"}}]


@pytest.mark.parametrize(
    ("there", "wanted", "left"),
    [
        ([ONE, TWO], [ONE, TWO], ([], [])),
        ([ONE, TWO], [TWO, ONE], ([], [])),
        ([ONE, TWO], [TWO], ([ONE], [])),
        ([], [TWO], ([], [TWO])),
        ([ONE, TWO], [MOVED, TWO], ([ONE], [MOVED])),
    ],
)
def test_what_two_sets_do_not_have_in_common(there: list[Any], wanted: list[Any], left: Any) -> None:
    assert tuple(map(list, apart(there, wanted))) == left


def test_a_set_that_only_one_side_has_keeps_its_elements() -> None:
    def entry(name: str, *elements: Any) -> dict[str, Any]:
        return {"map": {"name": name, "elem": list(elements)}}

    rule = {"rule": {"chain": "c", "expr": []}}
    assert unequal([entry("m", ONE, TWO), rule], [entry("m", TWO), entry("n", ONE), rule]) == (
        [entry("m", ONE), rule],
        [entry("m"), entry("n", ONE), rule],
    )


def test_the_generation_is_an_attribute_among_others() -> None:
    attributes = struct.pack("=HHI", 8, 2, 99) + struct.pack("=HH", 8, 1) + struct.pack(">I", 7)
    kind = 10 << 8 | 15
    assert number(struct.pack("=IHHII4x", 20 + len(attributes), kind, 0, 1, 0) + attributes) == 7
    refused = struct.pack("=IHHIIi", 20, 2, 0, 1, 0, -1)
    assert number(refused) is None


@pytest.mark.parametrize(
    ("generations", "reads"),
    [
        ([5, 5, 5, 6, 6], 2),  # asked three times; a transaction came before the third
        ([5, 6, 6, 6, 6], 2),  # one came while it was read: what was read is not kept
        ([None, None, None, None, None, None], 3),  # the kernel does not say
    ],
)
def test_a_table_is_read_again_only_after_a_transaction(
    monkeypatch: pytest.MonkeyPatch, generations: list[int | None], reads: int
) -> None:
    told, listings = iter(generations), []
    monkeypatch.setattr(reading, "nft_generation", lambda: next(told))
    monkeypatch.setattr(reading, "_read_table", lambda: listings.append([{"n": len(listings)}]) or listings[-1])
    monkeypatch.setattr(reading._LastTable, "generation", None)
    found = [reading.Kernel().table() for dummy in range(3)]
    assert len(listings) == reads
    assert found[-1] == listings[-1]
