# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""The filter chains of others' nftables tables: a host's own ruleset, or that of a firewall service."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.egress.gateway.plugins.module_utils.contract.names import NFT_TABLE
from ansible_collections.egress.gateway.plugins.module_utils.contract.plan import Family
from ansible_collections.egress.gateway.plugins.module_utils.firewall.host_firewall import (
    COMMENT,
    HOOKS,
    Accept,
    Found,
    HostChain,
)
from ansible_collections.egress.gateway.plugins.module_utils.kernel.command import run
from ansible_collections.egress.gateway.plugins.module_utils.kernel.reading import parse_table

_FAMILIES: Mapping[str, frozenset[Family]] = {
    "ip": frozenset([4]),
    "ip6": frozenset([6]),
    "inet": frozenset([4, 6]),
}
_PASSING = ("counter", "log")
"""Statements that let a packet go on to the next one."""
_PROTOCOLS = {"vrrp": 112, "ipv6-icmp": 58, "icmpv6": 58}


def base_chains() -> list[dict[str, Any]]:
    """Every base chain of type filter that IP packets pass at one of HOOKS, but ours; contents are not read."""
    found = [entry["chain"] for entry in parse_table(run(["nft", "-j", "list", "chains"]).stdout) if "chain" in entry]
    return [
        chain
        for chain in found
        if chain.get("type") == "filter"
        and chain.get("hook") in HOOKS
        and chain["family"] in _FAMILIES
        and (chain["family"], chain["table"]) != ("inet", NFT_TABLE)
    ]


def chains(found: Sequence[Mapping[str, Any]]) -> Iterator[HostChain]:
    """These base chains with what matters of their rules."""
    for chain in found:
        rules = _rules(chain["family"], chain["table"], chain["name"])
        above = frozenset([chain["name"]])
        ends = [_refuses(rule, chain, above) for rule in rules]
        last = rules[ends.index(True)]["handle"] if True in ends else None
        before = rules[: ends.index(True)] if True in ends else rules
        ours = [rule for rule in rules if rule.get("comment") == COMMENT]
        refuses = last is not None or chain.get("policy") == "drop"
        yield HostChain(
            ("nft", chain["family"], chain["table"], chain["name"]),
            chain["hook"],
            _FAMILIES[chain["family"]],
            refuses,
            last,
            tuple(Found(text(rule["expr"]), rule in before, str(rule["handle"])) for rule in ours),
            refuses and _is_owned(chain["family"], chain["table"]),
        )


def text(expressions: Sequence[Any]) -> str:
    """The same text for the same meaning, however this nft prints it."""
    return json.dumps([_normal(expression) for expression in expressions], sort_keys=True)


def _normal(expression: Any) -> Any:
    """Protocols by number, whatever names nft knows."""
    match = expression.get("match") if isinstance(expression, dict) else None
    if not match:
        return expression
    left, right = match["left"], match["right"]
    if left == {"meta": {"key": "l4proto"}} and isinstance(right, str):
        right = _PROTOCOLS.get(right, right)
    return {"match": {**match, "left": left, "right": right}}


def add(chain: HostChain, accept: Accept) -> None:
    """Behind every rule that refuses some packets, before one that refuses all: the host's other rules hold on."""
    family, table, name = chain.path[1:]
    rule = {"family": family, "table": table, "chain": name, "comment": COMMENT, "expr": list(accept.nft)}
    verb = "add"
    if chain.last is not None:
        verb, rule["handle"] = "insert", chain.last
    run(["nft", "-j", "-f", "-"], json.dumps({"nftables": [{verb: {"rule": rule}}]}))


def delete(chain: HostChain, found: Found) -> None:
    family, table, name = chain.path[1:]
    run(["nft", "delete", "rule", family, table, name, "handle", found.handle])


def _is_owned(family: str, table: str) -> bool:
    """Whether a running process keeps the table to itself, so that the kernel lets nobody else change it.

    As text: nft 1.0.6 prints a freed string as JSON of a table's flags, or crashes.
    """
    listing = run(["nft", "-t", "list", "table", family, table], check=False).stdout
    return re.search(r"^\s*flags\b.*\bowner\b", listing, re.MULTILINE) is not None


def _rules(family: str, table: str, name: str) -> list[dict[str, Any]]:
    listing = parse_table(run(["nft", "-j", "list", "chain", family, table, name]).stdout)
    return [entry["rule"] for entry in listing if "rule" in entry]


def _refuses(rule: Mapping[str, Any], chain: Mapping[str, Any], above: frozenset[str]) -> bool:
    """Whether no packet gets past this rule: it refuses all, or leads all to a chain that does."""
    rest = [e for e in rule.get("expr", ()) if not (isinstance(e, dict) and set(e) <= set(_PASSING))]
    if len(rest) != 1 or not isinstance(rest[0], dict):
        return False
    verdict, what = next(iter(rest[0].items()))
    if verdict in ("drop", "reject"):
        return True
    if verdict not in ("jump", "goto") or what["target"] in above:
        return False
    target = what["target"]
    for inner in _rules(chain["family"], chain["table"], target):
        if _refuses(inner, chain, above | {target}):
            return True
        if inner.get("expr") and set(inner["expr"][0]) & {"accept", "return"}:
            return False
    return False
