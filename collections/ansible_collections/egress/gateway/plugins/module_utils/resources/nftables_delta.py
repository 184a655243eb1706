# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""A small change to our table as one nft transaction that leaves everything else, counters too, as it is.

docs/decisions/ says when it is taken and what it costs; whatever it cannot say, the whole table says.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from ansible_collections.egress.gateway.plugins.module_utils.contract.names import NFT_TABLE
from ansible_collections.egress.gateway.plugins.module_utils.resources.key import Key
from ansible_collections.egress.gateway.plugins.module_utils.resources.nftables_listing import (
    TABLE,
    TABLE_KEY,
    Element,
    Entries,
    apart,
    block_texts,
    canonical,
    elements,
    head,
    object_key,
    rule_texts,
    stretches,
)

ALWAYS = 1000
"""So many lines take less time than nft takes to start; beyond, half the table is the limit."""

_IN = "inet " + NFT_TABLE
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./-]*")
_ELEMENT = re.compile(r"[A-Za-z0-9_:][A-Za-z0-9_.:/ -]*")
_COMMENT = re.compile(r'[^"\\\n]*')

Objects = Mapping[Key, Mapping[str, Any]]


class _Whole(Exception):
    """The change is none that this module makes."""


def script(wanted: Entries, wanted_text: Callable[[], str], found: Entries) -> str | None:
    """Commands that make ``wanted`` of ``found``; None where the whole table is cheaper or the only way.

    ``wanted_text`` gives ``nft -a``'s listing of the wanted table, with the handles of ``wanted``; elements do without.
    """
    try:
        lines = list(_lines(_objects(wanted), _objects(found), wanted, wanted_text, found))
    except _Whole:
        return None
    count = sum(line.count(",") + 1 for line in lines)
    size = len(wanted) + sum(len(body.get("elem", ())) for entry in wanted for body in entry.values())
    return "".join(line + "\n" for line in lines) if count <= max(ALWAYS, size // 2) else None


def _lines(want: Objects, have: Objects, wanted: Entries, text: Callable[[], str], found: Entries) -> Iterator[str]:
    """What is new comes first and what goes comes last, as nothing may refer to what is not there."""
    new, gone = sorted(want.keys() - have.keys(), key=str), sorted(have.keys() - want.keys(), key=str)
    for key in (*new, *gone):
        if key.kind not in ("chain", "set", "map") or not _NAME.fullmatch(_name(key)):
            raise _Whole
    both = sorted(want.keys() & have.keys(), key=str)
    if any(canonical(head(want[key])) != canonical(head(have[key])) for key in both) or TABLE_KEY not in both:
        raise _Whole
    if new:
        blocks = block_texts(text())
        yield "%s {\n%s\n}" % (TABLE, "\n".join(_known(blocks, key) for key in new))
    for key in both:
        yield from _element_lines(key, want[key], have[key])
    yield from _rule_lines(wanted, found, text, {_name(key) for key in (*new, *gone)})
    yield from ("flush chain %s %s" % (_IN, _name(key)) for key in gone if key.kind == "chain")
    # Sets before chains: a map's elements lead to chains.
    for key in sorted(gone, key=lambda gone: gone.kind == "chain"):
        yield "delete %s %s %s" % (key.kind, _IN, _name(key))


def _element_lines(key: Key, want: Mapping[str, Any], have: Mapping[str, Any]) -> Iterator[str]:
    different = apart(want.get("elem", ()), have.get("elem", ()))
    wanted, there = (set(elements({**want, "elem": listed})) for listed in different)
    coming, going = wanted - there, there - wanted
    if not coming and not going:
        return
    name = _name(key)
    if coming and going and "interval" in want.get("flags", ()):
        # A new interval may overlap with one that goes.
        yield "flush %s %s %s" % (key.kind, _IN, name)
        coming, going = set(elements(want)), set()
    if going:
        yield "delete element %s %s { %s }" % (_IN, name, ", ".join(sorted(_key(e) for e in going)))
    if coming:
        yield "add element %s %s { %s }" % (_IN, name, ", ".join(sorted(_whole(e) for e in coming)))


def _rule_lines(wanted: Entries, found: Entries, text: Callable[[], str], other: set[str]) -> Iterator[str]:
    """For the chains that stay; ``other`` come or go with all their rules."""
    differing = [stretch for stretch in stretches(wanted, found) if stretch.chain not in other]
    texts = rule_texts(text()) if differing else {}
    for stretch in differing:
        where = "add rule %s %s" % (_IN, stretch.chain)
        if stretch.before is not None:
            where = "insert rule %s %s handle %d" % (_IN, stretch.chain, stretch.before)
        for _number, rule in stretch.wanted:
            yield "%s %s" % (where, _known(texts, rule["handle"]))
        for _number, rule in stretch.there:
            yield "delete rule %s %s handle %d" % (_IN, stretch.chain, rule["handle"])


def _objects(entries: Iterable[Mapping[str, Any]]) -> dict[Key, Mapping[str, Any]]:
    return {object_key(kind, body): body for entry in entries for kind, body in entry.items() if kind != "rule"}


def _name(key: Key) -> str:
    return str(key.parts[0])


def _key(element: Element) -> str:
    if not _ELEMENT.fullmatch(element.key):
        raise _Whole
    return element.key


def _whole(element: Element) -> str:
    if not _COMMENT.fullmatch(element.comment) or (element.value and not _ELEMENT.fullmatch(element.value)):
        raise _Whole
    comment = ' comment "%s"' % element.comment if element.comment else ""
    return _key(element) + comment + (" : " + element.value if element.value else "")


def _known(texts: Mapping[Any, str], key: Any) -> str:
    """The text of an object, if nft's listing has the form that is expected here."""
    if key not in texts:
        raise _Whole
    return texts[key]
