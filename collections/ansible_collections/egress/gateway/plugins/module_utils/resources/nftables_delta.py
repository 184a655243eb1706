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

from ansible_collections.egress.gateway.plugins.module_utils.node import NFT_TABLE
from ansible_collections.egress.gateway.plugins.module_utils.resources.nftables_listing import (
    TABLE,
    Element,
    Entries,
    apart,
    block_texts,
    canonical,
    elements,
    head,
    object_name,
    rule_texts,
    stretches,
)

ALWAYS = 1000
"""So many lines take less time than nft takes to start; beyond, half the table is the limit."""

_IN = "inet " + NFT_TABLE
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./-]*")
_ELEMENT = re.compile(r"[A-Za-z0-9_:][A-Za-z0-9_.:/ -]*")
_COMMENT = re.compile(r'[^"\\\n]*')

Objects = Mapping[str, Mapping[str, Any]]


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
    new, gone = sorted(want.keys() - have.keys()), sorted(have.keys() - want.keys())
    for name in (*new, *gone):
        if name.split(" ")[0] not in ("chain", "set", "map") or not _NAME.fullmatch(name.partition(" ")[2]):
            raise _Whole
    both = sorted(want.keys() & have.keys())
    if any(canonical(head(want[name])) != canonical(head(have[name])) for name in both) or TABLE not in both:
        raise _Whole
    if new:
        blocks = block_texts(text())
        yield "%s {\n%s\n}" % (TABLE, "\n".join(_known(blocks, name) for name in new))
    for name in both:
        yield from _element_lines(name, want[name], have[name])
    yield from _rule_lines(wanted, found, text, {name.partition(" ")[2] for name in (*new, *gone)})
    yield from ("flush chain %s %s" % (_IN, name.split(" ")[1]) for name in gone if name.startswith("chain "))
    # Sets before chains: a map's elements lead to chains.
    for name in sorted(gone, key=lambda n: (n.startswith("chain "), n)):
        kind, short = name.split(" ")
        yield "delete %s %s %s" % (kind, _IN, short)


def _element_lines(name: str, want: Mapping[str, Any], have: Mapping[str, Any]) -> Iterator[str]:
    different = apart(want.get("elem", ()), have.get("elem", ()))
    wanted, there = (set(elements(listed)) for listed in different)
    coming, going = wanted - there, there - wanted
    if not coming and not going:
        return
    short = name.split(" ")[1]
    if coming and going and "interval" in want.get("flags", ()):
        # A new interval may overlap with one that goes.
        yield "flush set %s %s" % (_IN, short) if name.startswith("set ") else "flush map %s %s" % (_IN, short)
        coming, going = set(elements(want.get("elem", ()))), set()
    if going:
        yield "delete element %s %s { %s }" % (_IN, short, ", ".join(sorted(_key(e) for e in going)))
    if coming:
        yield "add element %s %s { %s }" % (_IN, short, ", ".join(sorted(_whole(e) for e in coming)))


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


def _objects(entries: Iterable[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    return {object_name(kind, body): body for entry in entries for kind, body in entry.items() if kind != "rule"}


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
