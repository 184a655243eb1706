# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""Our nftables table, compared object by object with what the kernel makes of the wanted text.

The kernel prints rules in a form of its own. So the wanted text is loaded into a network namespace that lives as
long as one command, listed there, and that listing is compared with the real one: exact to one element.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any

from ansible_collections.egress.gateway.plugins.module_utils.command import CommandFailed, NodeError, run
from ansible_collections.egress.gateway.plugins.module_utils.kernel import Kernel, parse_table
from ansible_collections.egress.gateway.plugins.module_utils.node import NFT_TABLE
from ansible_collections.egress.gateway.plugins.module_utils.resource import (
    Action,
    Change,
    Item,
    Items,
    Resource,
    difference,
)

_LOAD = "nft -f - && nft -j -s list table inet " + NFT_TABLE
_LOAD_TEXT = "nft -f - && nft -s -a list table inet " + NFT_TABLE
_TABLE = "table inet " + NFT_TABLE
_VOLATILE = frozenset(("handle", "packets", "bytes", "used"))
_RULE_TEXT = re.compile(r"^\t\t(.*) # handle (\d+)$", re.MULTILINE)

Entries = Sequence[Mapping[str, Any]]


class Table(Resource):
    """Replaced as a whole in one transaction, and only when the kernel holds something else."""

    atomic = True

    def __init__(self, kernel: Kernel, ruleset: str | None, origins: Mapping[str, str]) -> None:
        self._kernel = kernel
        self._ruleset = ruleset
        self._origins = origins
        self._wanted: Entries | None = None

    def forget(self) -> None:
        self._kernel.forget()

    def desired(self) -> Items:
        return items(self._wanted_entries(), self._origins)

    def actual(self) -> Items:
        return items(self._kernel.table(), {})

    def difference(self) -> tuple[Change, ...]:
        """One change for a table that is not there or not wanted; else one for each object."""
        wanted, found = self._wanted_entries(), self._kernel.table()
        if not wanted or not found:
            whole = [{_TABLE: Item(_summary(entries))} if entries else {} for entries in (wanted, found)]
            return difference(whole[0], whole[1])
        changes = difference(self.desired(), self.actual())
        moves = list(_rule_moves(wanted, found))
        if not moves:
            return changes
        wanted_text = _texts(_isolated(_LOAD_TEXT, self._ruleset)) if self._ruleset else {}
        found_text = _texts(self._kernel.table_text())
        return (*changes, *(_rule_change(*move, wanted_text, found_text, self._origins) for move in moves))

    def fix(self, changes: Sequence[Change]) -> NodeError | None:
        try:
            if self._ruleset is None:
                run(["nft", "delete", "table", "inet", NFT_TABLE])
            else:
                run(["nft", "-f", "-"], self._ruleset)
        except CommandFailed as error:
            return error
        return None

    def _wanted_entries(self) -> Entries:
        if self._wanted is None:
            self._wanted = parse_table(_isolated(_LOAD, self._ruleset)) if self._ruleset else ()
        return self._wanted


def items(entries: Entries, origins: Mapping[str, str]) -> dict[str, Item]:
    """Everything of a listing but the rules, whose order counts: table, chains, sets and each of their elements."""
    found = {}
    for entry in entries:
        kind, body = next(iter(entry.items()))
        if kind == "rule":
            continue
        name = _TABLE if kind == "table" else "%s %s" % (kind, body["name"])
        elements = body.get("elem", ())
        head = {k: v for k, v in body.items() if k not in ("elem", "family", "name", "table") and k not in _VOLATILE}
        found[name] = Item(_canonical(head), origins.get(body["name"], ""))
        for element in elements:
            key, value, comment = _element(element)
            found["element %s of %s" % (key, name)] = Item(value, comment or origins.get(key, ""))
    return found


def _summary(entries: Entries) -> str:
    kinds = [next(iter(entry)) for entry in entries]
    elements = sum(len(body.get("elem", ())) for entry in entries for body in entry.values())
    chains, sets, rules = kinds.count("chain"), kinds.count("set") + kinds.count("map"), kinds.count("rule")
    return "%d chains, %d rules, %d sets and maps, %d elements" % (chains, rules, sets, elements)


def _rules(entries: Entries) -> dict[str, list[Mapping[str, Any]]]:
    """Rules by chain, in order."""
    chains: dict[str, list[Mapping[str, Any]]] = {}
    for entry in entries:
        if "rule" in entry:
            chains.setdefault(entry["rule"]["chain"], []).append(entry["rule"])
    return chains


def _rule_moves(
    wanted: Entries, found: Entries
) -> Iterator[tuple[str, tuple[int, Mapping[str, Any]] | None, tuple[int, Mapping[str, Any]] | None]]:
    """(chain, position and rule that are wanted, position and rule that are there), where the two differ."""
    wanted_rules, found_rules = _rules(wanted), _rules(found)
    for chain in sorted(wanted_rules.keys() | found_rules.keys()):
        want, have = wanted_rules.get(chain, []), found_rules.get(chain, [])
        a, b = [_rule(r) for r in want], [_rule(r) for r in have]
        if a == b:
            continue
        for tag, a0, a1, b0, b1 in SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
            if tag == "equal":
                continue
            left = [(n + 1, want[n]) for n in range(a0, a1)]
            right = [(n + 1, have[n]) for n in range(b0, b1)]
            for n in range(max(len(left), len(right))):
                yield chain, left[n] if n < len(left) else None, right[n] if n < len(right) else None


def _rule_change(
    chain: str,
    want: tuple[int, Mapping[str, Any]] | None,
    have: tuple[int, Mapping[str, Any]] | None,
    wanted_text: Mapping[int, str],
    found_text: Mapping[int, str],
    origins: Mapping[str, str],
) -> Change:
    after = wanted_text.get(want[1]["handle"], _rule(want[1])) if want else None
    before = found_text.get(have[1]["handle"], _rule(have[1])) if have else None
    place = want or have
    number = place[0] if place else 0
    origin = str(want[1].get("comment") or origins.get(chain, "")) if want else "not in the plan"
    action: Action = "create" if have is None else "remove" if want is None else "modify"
    return Change("rule %d of chain %s" % (number, chain), action, before, after, origin)


def _rule(rule: Mapping[str, Any]) -> str:
    return _canonical({"expr": rule.get("expr", []), "comment": rule.get("comment", "")})


def _canonical(value: Any) -> str:
    """JSON without what traffic and chance change: counters, handles, and the order within anonymous sets."""
    return json.dumps(_stable(value), sort_keys=True, separators=(",", ":"))


def _stable(value: Any) -> Any:
    if isinstance(value, dict):
        kept = {k: _stable(v) for k, v in value.items() if k not in _VOLATILE}
        if isinstance(kept.get("set"), list):
            kept["set"] = sorted(kept["set"], key=lambda v: json.dumps(v, sort_keys=True))
        return kept
    if isinstance(value, list):
        return [_stable(v) for v in value]
    return value


def _element(element: Any) -> tuple[str, str, str]:
    """Key, value with comment, and comment of one element of a set or map."""
    key, value = element if isinstance(element, list) else (element, None)
    comment = ""
    if isinstance(key, dict) and "elem" in key:
        comment = str(key["elem"].get("comment", ""))
        key = key["elem"]["val"]
    shown = "present" if value is None else _words(value)
    return _words(key), shown + (' comment "%s"' % comment if comment else ""), comment


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
    return kind if body is None else _canonical(value)


def _texts(listing: str) -> dict[int, str]:
    return {int(handle): text for text, handle in _RULE_TEXT.findall(listing)}


def _isolated(script: str, ruleset: str | None) -> str:
    """Runs one of the two constant scripts above in a network namespace of its own, with the ruleset as its input."""
    argv = ["unshare", "--net", "sh", "-c", script]
    try:
        return run(argv, ruleset or "").stdout
    except CommandFailed as error:
        raise NodeError("nft does not accept nftables.nft: %s" % error) from error
