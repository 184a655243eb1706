# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
"""Two listings of the same table compared, as nft 1.0.6 prints them."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from ansible_collections.egress.gateway.plugins.module_utils.kernel.reading import parse_table
from ansible_collections.egress.gateway.plugins.module_utils.resources import nftables
from ansible_collections.egress.gateway.plugins.module_utils.resources.key import Key
from ansible_collections.egress.gateway.plugins.module_utils.resources.nftables import Table
from ansible_collections.egress.gateway.plugins.module_utils.resources.nftables_listing import items

RULE = {"family": "inet", "table": "egress_gateway", "chain": "classify"}
LISTING: list[dict[str, Any]] = [
    {"table": {"family": "inet", "name": "egress_gateway", "handle": 2}},
    {
        "counter": {
            "family": "inet",
            "name": "dropped",
            "table": "egress_gateway",
            "handle": 4,
            "packets": 7,
            "bytes": 9,
        }
    },
    {
        "map": {
            "family": "inet",
            "name": "steer_pods4",
            "table": "egress_gateway",
            "type": "ipv4_addr",
            "handle": 7,
            "map": "verdict",
            "elem": [
                [{"elem": {"val": "10.0.0.1", "comment": "pod default/a"}}, {"goto": {"target": "steer.a"}}],
                ["10.0.0.2", {"jump": {"target": "steer.b"}}],
            ],
        }
    },
    {
        "set": {
            "family": "inet",
            "name": "inside4",
            "table": "egress_gateway",
            "type": "ipv4_addr",
            "handle": 5,
            "flags": ["interval"],
            "elem": [{"prefix": {"addr": "10.0.0.0", "len": 8}}, {"range": ["10.6.0.60", "10.6.0.65"]}],
        }
    },
    {"chain": {"family": "inet", "table": "egress_gateway", "name": "classify", "handle": 1}},
    {
        "rule": {
            **RULE,
            "handle": 10,
            "comment": "EgressPolicy default/test",
            "expr": [{"match": {"op": "==", "left": "x", "right": {"set": ["1.2.3.4", "5.6.7.8"]}}}, {"accept": None}],
        }
    },
    {"rule": {**RULE, "handle": 11, "expr": [{"counter": {"packets": 5, "bytes": 6}}, {"drop": None}]}},
    {"rule": {**RULE, "handle": 12, "expr": [{"return": None}]}},
]
TEXT = "\n".join(
    [
        "table inet egress_gateway { # handle 2",
        "\tchain classify { # handle 1",
        '\t\tip daddr { 1.2.3.4, 5.6.7.8 } accept comment "EgressPolicy default/test" # handle 10',
        "\t\tcounter drop # handle 11",
        "\t\treturn # handle 12",
        "\t}",
        "}",
    ]
)


class FakeKernel:
    def __init__(self, listing: list[dict[str, Any]]) -> None:
        self.listing = listing

    def table(self) -> list[dict[str, Any]]:
        return self.listing

    def table_text(self) -> str:
        return "\t\tmeta mark 7 # handle 99"


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> Any:
    """How the kernel's listing differs from LISTING."""
    nftables._listing.cache_clear()
    monkeypatch.setattr(nftables, "parse_table", lambda text: copy.deepcopy(LISTING))
    monkeypatch.setattr(nftables, "_isolated", lambda script, ruleset: TEXT)
    origins = {"classify": "EgressGateway a", "10.0.0.2": "pod default/b"}
    return lambda listing: Table(FakeKernel(listing), "a ruleset", origins).difference()


def test_names_and_values_are_those_that_people_write() -> None:
    found = items(LISTING, {"10.0.0.2": "pod default/b"})
    assert {str(key): item.value for key, item in found.items() if key.kind == "element"} == {
        "element 10.0.0.1 of map steer_pods4": 'goto steer.a comment "pod default/a"',
        "element 10.0.0.2 of map steer_pods4": "jump steer.b",
        "element 10.0.0.0/8 of set inside4": "present",
        "element 10.6.0.60-10.6.0.65 of set inside4": "present",
    }
    assert found[Key.of("element", "10.0.0.1", "map", "steer_pods4")].origin == "pod default/a"
    assert found[Key.of("element", "10.0.0.2", "map", "steer_pods4")].origin == "pod default/b"


def test_handles_counters_and_the_order_of_sets_do_not_count(compared: Any) -> None:
    other = copy.deepcopy(LISTING)
    other[1]["counter"].update(packets=1000, bytes=1000, handle=40)
    other[2]["map"]["elem"].reverse()
    other[5]["rule"]["expr"][0]["match"]["right"]["set"].reverse()
    other[6]["rule"].update(handle=77)
    other[6]["rule"]["expr"][0]["counter"].update(packets=6)
    assert compared(other) == ()


def test_a_deleted_rule_is_one_change(compared: Any) -> None:
    changes = compared(LISTING[:5] + LISTING[6:])
    assert [(str(c.key), c.action, c.origin) for c in changes] == [
        ("rule 1 of chain classify", "create", "EgressPolicy default/test")
    ]
    assert changes[0].after == 'ip daddr { 1.2.3.4, 5.6.7.8 } accept comment "EgressPolicy default/test"'


def test_a_rule_without_comment_belongs_to_its_chain(compared: Any) -> None:
    changes = compared(LISTING[:6] + LISTING[7:])
    assert [(str(c.key), c.after, c.origin) for c in changes] == [
        ("rule 2 of chain classify", "counter drop", "EgressGateway a")
    ]


def test_an_added_rule_is_told_in_the_kernels_words(compared: Any) -> None:
    foreign = {"rule": {**RULE, "handle": 99, "expr": [{"accept": None}]}}
    changes = compared([*LISTING[:6], foreign, *LISTING[6:]])
    assert [(str(c.key), c.action, c.before, c.origin) for c in changes] == [
        ("rule 2 of chain classify", "remove", "meta mark 7", "not in the plan")
    ]


def test_two_rules_that_changed_places_differ(compared: Any) -> None:
    assert compared([*LISTING[:6], LISTING[7], LISTING[6]])


def test_no_table_at_all_is_one_object(compared: Any) -> None:
    changes = compared([])
    assert [(str(c.key), c.action, c.after) for c in changes] == [
        ("table inet egress_gateway", "create", "1 chains, 3 rules, 2 sets and maps, 4 elements")
    ]


def test_what_packets_put_into_a_set_is_no_part_of_it() -> None:
    both = [
        {"set": {"name": "without_gateway", "type": "mark", "flags": ["timeout", "dynamic"], "elem": [1]}},
        {"set": {"name": "inside4", "type": "ipv4_addr", "flags": ["interval"], "elem": ["10.0.0.1"]}},
    ]
    listed = parse_table(json.dumps({"nftables": [{"metainfo": {}}, *both]}))
    assert [entry["set"].get("elem") for entry in listed] == [None, ["10.0.0.1"]]
