# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
"""Scalars and collections of the YAML that kubeconfigs are written in."""

from __future__ import annotations

import contextlib
import json
import random
from typing import Any

import pytest
import yaml

from ansible_collections.egress.gateway.plugins.module_utils.follow.errors import KubeconfigError
from ansible_collections.egress.gateway.plugins.module_utils.follow.yaml_subset import Node, parse


def plain(node: Node) -> Any:
    if isinstance(node.value, dict):
        return {key: plain(value) for key, value in node.value.items()}
    return [plain(one) for one in node.value] if isinstance(node.value, list) else node.value


READ = [
    ("a: b # c\n", {"a": "b"}),
    ("a: b#c\n", {"a": "b#c"}),
    ("a: 'b # c'\n", {"a": "b # c"}),
    ("a:\nb: ~\nc: null\nd: ''\n", {"a": None, "b": None, "c": None, "d": ""}),
    ("a:\n- b\n-\n  c: d\n  e: f\n- - g\n  - h\n", {"a": ["b", {"c": "d", "e": "f"}, ["g", "h"]]}),
    ("a: https://h:6443/p\n", {"a": "https://h:6443/p"}),
    ("'a b': c\n\"d\\te\": f\n", {"a b": "c", "d\te": "f"}),
    ("a: |\n  b\n   c\n\n  d\n\ne: f\n", {"a": "b\n c\n\nd\n", "e": "f"}),
    ("a: |-\n  b\ne: f\n", {"a": "b", "e": "f"}),
    ("a: >-\n  b\n  c\n\n  d\n", {"a": "b c\nd"}),
    ("a: [b, [], {}, 'c, d', {e: f}]\n", {"a": ["b", [], {}, "c, d", {"e": "f"}]}),
    ("a: {\n  b: c,   # d\n  e: [f,\n  g]}\nh: i\n", {"a": {"b": "c", "e": ["f", "g"]}, "h": "i"}),
    ('{"a":"\\ud83d\\ude00","b":[1,true,null]}', {"a": "\U0001f600", "b": ["1", "true", None]}),
    ("--- # start\na: b\n...\n", {"a": "b"}),
    ("\ufeffa: b\r\nc: d\r\n", {"a": "b", "c": "d"}),
    ("...\n", None),
    ("a: |+\n  b\n\n", {"a": "b\n\n"}),
    ("args:\n- -c\n- |\n  one\n  two\n- three\n", {"args": ["-c", "one\ntwo\n", "three"]}),
]


@pytest.mark.parametrize(("text", "value"), READ)
def test_what_is_read(text: str, value: Any) -> None:
    assert plain(parse(text, "f")) == value


WORDS = (
    *("a", "b-c", "https://1.2.3.4:6443", "abc==", "don't", "a#b", "x: y", "", "true", "  lead", "trail ", "null", "~"),
    *(
        "multi\nline\n",
        "multi\n\nx",
        "two\n\n",
        "\n",
        "\u00fcn\u00ef",
        "- a",
        "{}",
        "[x",
        "#c",
        "a:",
        "*x",
        "&y",
        "\U0001f600",
        "%d",
    ),
    *("tab\there", "> x", "| y", "long " * 40, "\\", '"', "'", "\x1b[0m"),
)


def made(dice: random.Random, depth: int = 0) -> Any:
    kind = dice.random()
    if depth > 3 or kind < 0.5:
        return dice.choice(WORDS)
    if kind < 0.75:
        return [made(dice, depth + 1) for dummy in range(dice.randrange(3))]
    keys = ("k", "key two", "a/b", "x.y", "q'")
    return {"%s%d" % (dice.choice(keys), index): made(dice, depth + 1) for index in range(dice.randrange(3))}


@pytest.mark.parametrize("seed", range(300))
def test_whatever_is_read_is_what_a_whole_reader_reads(seed: int) -> None:
    """Or it is refused; never another value. JSON is never refused."""
    dice = random.Random(seed)
    value = {"k": made(dice), "l": made(dice)}
    style = dice.choice([None, "|", ">", "'", '"'])
    text = yaml.dump(value, width=10**9, default_style=style, default_flow_style=dice.choice([None, True, False]))
    with contextlib.suppress(KubeconfigError):
        assert plain(parse(text, "f")) == value
    assert plain(parse(json.dumps(value, indent=dice.choice([None, 2, "\t"])), "f")) == value
