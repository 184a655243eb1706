# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""What ``nft -j list table`` and ``nft -a list table`` print, taken apart into objects that can be compared."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

from ansible_collections.egress.gateway.plugins.module_utils.contract.names import NFT_TABLE
from ansible_collections.egress.gateway.plugins.module_utils.resources.key import Key
from ansible_collections.egress.gateway.plugins.module_utils.resources.resource import Item

TABLE = "table inet " + NFT_TABLE
TABLE_KEY = Key.of("table", "inet", NFT_TABLE)

Entries = Sequence[Mapping[str, Any]]

_VOLATILE = frozenset(("handle", "packets", "bytes", "used"))
_RULE_TEXT = re.compile(r"^\t\t(.*) # handle (\d+)$", re.MULTILINE)
_BLOCK = re.compile(r"^\t(set|map|chain) (\S+) \{.*?^\t\}$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Element:
    """An element of a set or map, as nft writes it; ``value`` is empty in a set."""

    key: str
    value: str
    comment: str

    @property
    def shown(self) -> str:
        return (self.value or "present") + (' comment "%s"' % self.comment if self.comment else "")


@dataclass(frozen=True)
class Stretch:
    """Rules of one chain that are there and are not wanted, and those that are wanted in their place.

    Both with their positions, counted from one; ``before`` is the handle of the rule that follows and stays.
    """

    chain: str
    there: tuple[tuple[int, Mapping[str, Any]], ...]
    wanted: tuple[tuple[int, Mapping[str, Any]], ...]
    before: int | None


def items(entries: Entries, origins: Mapping[str, str]) -> dict[Key, Item]:
    """Everything of a listing but the rules, whose order counts: table, chains, sets and each of their elements."""
    found: dict[Key, Item] = {}
    for entry in entries:
        kind, body = next(iter(entry.items()))
        if kind == "rule":
            continue
        key = object_key(kind, body)
        found[key] = Item(canonical(head(body)), origins.get(body["name"], ""))
        for element in elements(body):
            origin = element.comment or origins.get(element.key, "")
            found[Key.of("element", element.key, kind, str(body["name"]))] = Item(element.shown, origin)
    return found


def unequal(one: Entries, other: Entries) -> tuple[Entries, Entries]:
    """Both without the elements that are in both, word for word: the quick way past 150,000 of them."""
    bodies: list[dict[Key, Mapping[str, Any]]] = [
        {object_key(kind, body): body for entry in entries for kind, body in entry.items() if "elem" in body}
        for entries in (one, other)
    ]
    left = {key: apart(bodies[0][key]["elem"], bodies[1][key]["elem"]) for key in bodies[0].keys() & bodies[1].keys()}

    def without(entries: Entries, which: int) -> Entries:
        return [
            {kind: {**body, "elem": left[key][which]}} if (key := object_key(kind, body)) in left else entry
            for entry in entries
            for kind, body in entry.items()
        ]

    return without(one, 0), without(other, 1)


def apart(one: Sequence[Any], other: Sequence[Any]) -> tuple[Sequence[Any], Sequence[Any]]:
    """Of the elements of two sets, as in nft's JSON, those that are not in the other, word for word.

    What is left may still be the same element, written in another way.
    """
    if one == other:
        return (), ()
    words = [list(map(repr, elements)) for elements in (one, other)]
    common = set(words[0]).intersection(words[1])
    left = [
        [element for element, word in zip(elements, known) if word not in common]
        for elements, known in zip((one, other), words)
    ]
    return left[0], left[1]


def object_key(kind: str, body: Mapping[str, Any]) -> Key:
    return TABLE_KEY if kind == "table" else Key.of(kind, str(body.get("name", "")))


def head(body: Mapping[str, Any]) -> dict[str, Any]:
    """What an object is apart from its name, its elements and what traffic changes."""
    return {k: v for k, v in body.items() if k not in ("elem", "family", "name", "table") and k not in _VOLATILE}


def elements(body: Mapping[str, Any]) -> list[Element]:
    """Of a set or map; marks in the form in which nft's text and ours have them."""
    words = _mark if body.get("type") == "mark" else _words
    return [_element(element, words) for element in body.get("elem", ())]


def summary(entries: Entries) -> str:
    kinds = [next(iter(entry)) for entry in entries]
    count = sum(len(body.get("elem", ())) for entry in entries for body in entry.values())
    chains, sets, rules = kinds.count("chain"), kinds.count("set") + kinds.count("map"), kinds.count("rule")
    return "%d chains, %d rules, %d sets and maps, %d elements" % (chains, rules, sets, count)


def stretches(wanted: Entries, found: Entries) -> Iterator[Stretch]:
    """Where the rules of two listings differ, chain by chain in order."""
    wanted_rules, found_rules = _rules(wanted), _rules(found)
    for chain in sorted(wanted_rules.keys() | found_rules.keys()):
        want, have = wanted_rules.get(chain, []), found_rules.get(chain, [])
        if _words_of(want) == _words_of(have):
            continue
        a, b = [rule_value(r) for r in want], [rule_value(r) for r in have]
        if a == b:
            continue
        for tag, a0, a1, b0, b1 in SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
            if tag != "equal":
                yield Stretch(
                    chain,
                    there=tuple((n + 1, have[n]) for n in range(b0, b1)),
                    wanted=tuple((n + 1, want[n]) for n in range(a0, a1)),
                    before=have[b1]["handle"] if b1 < len(have) else None,
                )


def _words_of(rules: Sequence[Mapping[str, Any]]) -> list[tuple[Any, Any]]:
    """What nft printed of rules but their handles: the quick way past those that are the same word for word."""
    return [(rule.get("expr"), rule.get("comment")) for rule in rules]


def rule_value(rule: Mapping[str, Any]) -> str:
    return canonical({"expr": rule.get("expr", []), "comment": rule.get("comment", "")})


def canonical(value: Any) -> str:
    """JSON without what traffic and chance change: counters, handles, and the order within anonymous sets."""
    return json.dumps(_stable(value), sort_keys=True, separators=(",", ":"))


def rule_texts(listing: str) -> dict[int, str]:
    """Rules by handle, from ``nft -a``."""
    return {int(handle): text for text, handle in _RULE_TEXT.findall(listing)}


def block_texts(listing: str) -> dict[Key, str]:
    """Sets, maps and chains, each with all that is in it, from ``nft -a``."""
    return {Key.of(match.group(1), match.group(2)): match.group(0) for match in _BLOCK.finditer(listing)}


def _rules(entries: Entries) -> dict[str, list[Mapping[str, Any]]]:
    """Rules by chain, in order."""
    chains: dict[str, list[Mapping[str, Any]]] = {}
    for entry in entries:
        if "rule" in entry:
            chains.setdefault(entry["rule"]["chain"], []).append(entry["rule"])
    return chains


def _stable(value: Any) -> Any:
    if isinstance(value, dict):
        kept = {k: _stable(v) for k, v in value.items() if k not in _VOLATILE}
        if isinstance(kept.get("set"), list):
            kept["set"] = sorted(kept["set"], key=lambda v: json.dumps(v, sort_keys=True))
        return kept
    if isinstance(value, list):
        return [_stable(v) for v in value]
    return value


def _element(element: Any, words: Callable[[Any], str]) -> Element:
    key, value = element if isinstance(element, list) else (element, None)
    comment = ""
    if isinstance(key, dict) and "elem" in key:
        comment = str(key["elem"].get("comment", ""))
        key = key["elem"]["val"]
    return Element(words(key), "" if value is None else _words(value), comment)


def _mark(value: Any) -> str:
    return "0x%08x" % value if isinstance(value, int) else _words(value)


def _words(value: Any) -> str:
    """A set element's key or value as nft writes it."""
    if not isinstance(value, dict) or len(value) != 1:
        return str(value)
    kind, body = next(iter(value.items()))
    if kind == "prefix":
        return "%s/%s" % (_words(body["addr"]), body["len"])
    if kind == "range":
        return "-".join(_words(v) for v in body)
    if kind == "concat":
        return " . ".join(_words(v) for v in body)
    if kind in ("goto", "jump"):
        return "%s %s" % (kind, body["target"])
    return kind if body is None else canonical(value)
