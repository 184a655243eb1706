# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""The filter chains of iptables and ip6tables, in whichever of the two variants a host uses them.

Nothing is asked of a variant that is not in use, for its tools load modules and make tables by being asked.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ansible_collections.egress.gateway.plugins.module_utils.contract.plan import Family
from ansible_collections.egress.gateway.plugins.module_utils.firewall.host_firewall import (
    COMMENT,
    HOOKS,
    Accept,
    Found,
    HostChain,
)
from ansible_collections.egress.gateway.plugins.module_utils.kernel.command import find, run

Variant = Literal["nft", "legacy"]

_LEGACY_TABLES = {4: "ip_tables_names", 6: "ip6_tables_names"}
_NFT_FAMILIES = {"ip": 4, "ip6": 6}
_NUMBERS = {"vrrp": "112", "ipv6-icmp": "58"}
"""Protocols of ours; which of them have names depends on /etc/protocols."""
_END = ("DROP", "REJECT")
_LET_GO = ("ACCEPT", "RETURN")
_WAIT = ("-w", "10")
"""Seconds for the lock that iptables' users share."""


@dataclass(frozen=True)
class Rules:
    """A filter table: policies of the built-in chains, and of each chain the rules in words."""

    policies: Mapping[str, str]
    chains: Mapping[str, Sequence[Sequence[str]]]


def in_use(nft_chains: Sequence[Mapping[str, object]]) -> Iterator[tuple[Variant, Family]]:
    """The filter tables that the kernel has, by what reading cannot change."""
    there = {_NFT_FAMILIES.get(str(c["family"])) for c in nft_chains if is_iptables(c)}
    for family in (4, 6):
        if family in there:
            yield "nft", family  # type: ignore[misc]  # one of the two
        names = Path("/proc/net", _LEGACY_TABLES[family])
        if names.exists() and "filter" in names.read_text(encoding="ascii").split():
            yield "legacy", family  # type: ignore[misc]  # one of the two


def is_iptables(chain: Mapping[str, object]) -> bool:
    """Whether a chain as nft lists it is one that iptables-nft would read as its own."""
    names = [hook.upper() for hook in HOOKS]
    return chain["family"] in _NFT_FAMILIES and chain["table"] == "filter" and chain["name"] in names


def program(variant: Variant, family: Family) -> str | None:
    """The tool's name; a host may have it under its plain name alone, for one of the two variants."""
    plain = "iptables" if family == 4 else "ip6tables"
    if find("%s-%s" % (plain, variant)) is not None:
        return "%s-%s" % (plain, variant)
    if find(plain) is None:
        return None
    version = run([plain, "--version"], check=False).stdout
    return plain if ("nf_tables" in version) == (variant == "nft") else None


def chains(variant: Variant, family: Family) -> tuple[HostChain, ...] | None:
    """The three chains; None where there is no tool to read them, or it cannot (its table has rules of nft's own)."""
    tool = program(variant, family)
    if tool is None:
        return None
    done = run([tool + "-save", "-t", "filter"], check=False)
    if done.status != 0 or "is incompatible" in done.stdout + done.stderr:
        return None
    rules = parse(done.stdout)
    return tuple(_chain(tool, family, hook.upper(), rules) for hook in HOOKS)


def parse(text: str) -> Rules:
    """What iptables-save prints of one table."""
    policies: dict[str, str] = {}
    found: dict[str, list[list[str]]] = {}
    for line in text.splitlines():
        if line.startswith(":"):
            name, policy = line[1:].split()[:2]
            found[name] = []
            if policy != "-":
                policies[name] = policy
        elif line.startswith(("-A ", "[")):
            words = shlex.split(re.sub(r"^\[\d+:\d+\] ", "", line))
            found.setdefault(words[1], []).append(words[2:])
    return Rules(policies, found)


def _chain(tool: str, family: Family, name: str, rules: Rules) -> HostChain:
    own = rules.chains.get(name, ())
    last = next((n for n, words in enumerate(own, 1) if _refuses(words, rules, frozenset([name]))), None)
    ours = tuple(
        Found(_named(words), last is None or number < last, shlex.join(words))
        for number, words in enumerate(own, 1)
        if _comment(words) == COMMENT
    )
    return HostChain(
        (tool, name),
        name.lower(),  # type: ignore[arg-type]  # one of HOOKS
        frozenset([family]),
        last is not None or rules.policies.get(name) == "DROP",
        last,
        ours,
    )


def _refuses(words: Sequence[str], rules: Rules, above: frozenset[str]) -> bool:
    """Whether no packet gets past this rule: it refuses all, or leads all to a chain that does."""
    bare = list(words)
    while "--comment" in bare:
        at = bare.index("--comment")
        del bare[at - 2 : at + 2]
    if len(bare) < 2 or bare[0] not in ("-j", "-g"):
        return False
    target = bare[1]
    if target in _END:
        return True
    if target in above:
        return False
    for inner in rules.chains.get(target, ()):
        if _refuses(inner, rules, above | {target}):
            return True
        if inner[:1] == ["-j"] and inner[1] in _LET_GO:
            return False
    return False


def _named(words: Sequence[str]) -> str:
    names = {number: name for name, number in _NUMBERS.items()}
    after = ["", *words]
    return " ".join(names.get(word, word) if before == "-p" else word for before, word in zip(after, words))


def _comment(words: Sequence[str]) -> str:
    return words[words.index("--comment") + 1] if "--comment" in words[:-1] else ""


def add(chain: HostChain, accept: Accept) -> None:
    """Behind every rule that refuses some packets, before one that refuses all: the host's other rules hold on."""
    tool, name = chain.path
    place = ["-A", name] if chain.last is None else ["-I", name, str(chain.last)]
    run([tool, *_WAIT, *place, *(_NUMBERS.get(word, word) for word in accept.iptables.split())])


def delete(chain: HostChain, found: Found) -> None:
    tool, name = chain.path
    run([tool, *_WAIT, "-D", name, *shlex.split(found.handle)])
