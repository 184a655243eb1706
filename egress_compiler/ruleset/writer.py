"""The table as text: a legend and a table of contents, sets, then chains in the order in which a packet meets them.

Below each base chain stand the chains that only it leads to, in the order of the first jump; one that several lead to
stands where it is first needed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain

from egress_compiler.contract.elements import element
from egress_compiler.contract.names import NFT_TABLE
from egress_compiler.contract.numbers import (
    FIRST_UPLINK_MARK,
    GATEWAY_MARK_PREFIX,
    MARK_MASK,
    MARK_PREFIX,
    OWN_POD_MARK_PREFIX,
    REPLY_MARK_PREFIX,
    UPLINK_MARK_STEP,
)
from egress_compiler.ruleset.model import BaseChain, Chain, Element, Rule, Ruleset, Set
from egress_compiler.ruleset.words import comment, mark

_TARGET = re.compile(r"\b(?:goto|jump) ([A-Za-z0-9_.-]+)")
_MAP = re.compile(r"\bvmap @([a-z0-9_]+)")
_IN_CHAIN = "\t\t"
_IN_SET = "\t\t\t"
_KEPT = "Where the chains of pods lead to; the node adds these by itself, and elements of the sets and maps above."


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands in the text: the number of its line, from 1, and the line without its indent."""

    line: int
    text: str


@dataclass(frozen=True, slots=True)
class Written:
    """Where each chain and set begins in the text, by name, as line numbers from 1; and the text when asked for.

    Of ``parts`` a set is told by itself, as nobody needs its lines to know how many they are.
    """

    parts: Sequence[Sequence[str] | Set]
    starts: Mapping[str, int]
    ruleset: Ruleset

    @property
    def text(self) -> str:
        lines = chain.from_iterable(_set_lines(part) if isinstance(part, Set) else part for part in self.parts)
        return "\n".join(lines) + "\n"

    def rules(self, chain: str) -> Iterator[tuple[Rule, Place]]:
        """Of a chain, base or not; a rule of several lines is where it ends, with verdict and comment."""
        line = self.starts[f"chain {chain}"]
        for rule in rules_of(self.ruleset, chain):
            lines = _rule_lines(rule)
            yield rule, Place(line + len(lines), lines[-1].strip())
            line += len(lines)

    def element(self, name: str, key: str) -> Place | None:
        """Of a set or map."""
        found = next(s for s in self.ruleset.sets if s.name == name)
        head = len(_set_head(found)) - 1
        for number, one in enumerate(found.elements):
            if one.key == key:
                return Place(self.starts[f"set {name}"] + head + number, _element(one).strip())
        return None

    def destination(self, chain: str, rule: Rule, destination: str) -> Place:
        """The line of one of a rule's destinations."""
        place = next(place for found, place in self.rules(chain) if found is rule)
        number = rule.destinations.index(destination)
        return Place(place.line - len(rule.destinations) + number, f"{destination},")


def rules_of(ruleset: Ruleset, chain: str) -> tuple[Rule, ...]:
    for base, rules in ruleset.base:
        if base.name == chain:
            return rules
    return ruleset.chains[chain].rules


def write(ruleset: Ruleset) -> Written:
    starts: dict[str, int] = {}
    lines = [*_head(ruleset), f"table inet {NFT_TABLE}", f"delete table inet {NFT_TABLE}", f"table inet {NFT_TABLE} {{"]
    parts: list[Sequence[str] | Set] = [lines, *ruleset.sets]
    written = len(lines)
    for item in ruleset.sets:
        starts[f"set {item.name}"] = written + 2
        written += _set_length(item)
    lines = []
    told = set[str]()
    led = {s.name: _led(s) for s in ruleset.sets if s.value_type}
    for base, rules in ruleset.base:
        lines.append(f"\t# {base.reason}")
        starts[f"chain {base.name}"] = written + len(lines) + 2
        lines += _base_lines(base, rules)
        for one in _reached(rules, ruleset.chains, led, told):
            starts[f"chain {one.name}"] = written + len(lines) + len(one.notes) + 1
            lines += _chain_lines(one)
    kept = list(_chains_from(ruleset.kept, ruleset.chains, led, told))
    if kept:
        lines += [f"\t# {_KEPT}", ""]
    for one in kept:
        starts[f"chain {one.name}"] = written + len(lines) + len(one.notes) + 1
        lines += _chain_lines(one)
    lines[-1] = "}"
    return Written((*parts, lines), starts, ruleset)


def _reached(
    rules: Sequence[Rule], chains: Mapping[str, Chain], led: Mapping[str, Sequence[str]], told: set[str]
) -> Iterator[Chain]:
    """The chains that rules lead to and nobody has yet, each before those that it leads to itself."""
    yield from _chains_from(_targets(map(_named, rules), led), chains, led, told)


def _chains_from(
    names: Iterable[str], chains: Mapping[str, Chain], led: Mapping[str, Sequence[str]], told: set[str]
) -> Iterator[Chain]:
    waiting = list(names)[::-1]
    while waiting:
        name = waiting.pop()
        if name in told:
            continue
        told.add(name)
        yield chains[name]
        waiting += reversed(_targets(_named_by(chains[name]), led))


def _targets(named: Iterable[tuple[list[str], list[str]]], led: Mapping[str, Sequence[str]]) -> list[str]:
    found: list[str] = []
    for chains, maps in named:
        found += chains
        for name in maps:
            found += led.get(name, ())
    return found


@lru_cache(maxsize=65_536)
def _named_by(chain: Chain) -> tuple[tuple[list[str], list[str]], ...]:
    return tuple(map(_named, chain.rules))


def _named(rule: Rule) -> tuple[list[str], list[str]]:
    """The chains and the maps that a rule leads to."""
    return _TARGET.findall(rule.verdict), _MAP.findall(rule.verdict)


def _led(item: Set) -> list[str]:
    """The chains that a map leads to."""
    values = dict.fromkeys(one.value for one in item.elements)
    return [name for value in values for name in _TARGET.findall(value)]


def _head(ruleset: Ruleset) -> Iterator[str]:
    yield f"# Node {ruleset.node} ({ruleset.role}), generated by egress-compiler: change the policies, not this file."
    yield "# Apply with: nft -f nftables.nft   It replaces the whole table in one transaction."
    yield "#"
    yield f"# Marks, under {mark(MARK_MASK)}: what it is, and a number."
    for value, meaning in _legend(ruleset.role):
        yield f"#   {mark(value)}  {meaning}"
    yield "# A packet meets these chains, in this order, each followed by those that it leads to:"
    for base, _ in ruleset.base:
        yield f"#   {base.name:<18}  {base.hook}, {base.priority}"
    yield ""


def _legend(role: str) -> Iterator[tuple[int, str]]:
    yield MARK_PREFIX, "worker role: of a connection its answer number, of a packet its slot (none: looked at, let go)"
    if role != "gateway":
        return
    yield GATEWAY_MARK_PREFIX, "gateway role: came by the tunnel, with the answer number (or the pod's node)"
    yield OWN_POD_MARK_PREFIX, "gateway role, of a connection: of a pod of this node, with the answer number"
    yield REPLY_MARK_PREFIX, "gateway role, of a packet: a reply, with the pod's node; without, of this node's own pods"
    yield FIRST_UPLINK_MARK + UPLINK_MARK_STEP, "and up, gateway role, of a packet: the uplink, with the answer number"


def _set_head(item: Set) -> list[str]:
    kind = "map" if item.value_type else "set"
    lines = [f"\t# {item.reason}", f"\t{kind} {item.name} {{"]
    lines.append(f"\t\ttype {item.key_type}" + (f" : {item.value_type}" if item.value_type else ""))
    lines += ["\t\tflags interval"] if item.interval else []
    lines += [f"\t\t{option}" for option in item.options]
    return [*lines, "\t\telements = {"] if item.elements else lines


@lru_cache(maxsize=256)
def _set_lines(item: Set) -> list[str]:
    lines = _set_head(item)
    if item.elements:
        lines += [*map(_element, item.elements), "\t\t}"]
    return [*lines, "\t}", ""]


def _set_length(item: Set) -> int:
    """How many lines ``_set_lines`` makes."""
    return len(_set_head(item)) + (len(item.elements) + 1 if item.elements else 0) + 2


def _element(one: Element) -> str:
    return element(one.key, one.value, comment(one.note) if one.note else "")


def _base_lines(base: BaseChain, rules: Sequence[Rule]) -> list[str]:
    head = [
        f"\tchain {base.name} {{",
        f"\t\ttype {base.type} hook {base.hook} priority {base.priority}; policy accept;",
    ]
    return [*head, *(line for rule in rules for line in _rule_lines(rule)), "\t}", ""]


@lru_cache(maxsize=65_536)
def _chain_lines(chain: Chain) -> tuple[str, ...]:
    head = [*(f"\t# {note}" for note in chain.notes), f"\tchain {chain.name} {{"]
    return (*head, *(line for rule in chain.rules for line in _rule_lines(rule)), "\t}", "")


def chain_rules(chain: Chain) -> tuple[str, ...]:
    """The lines within a chain; those of a rule's destinations are indented further."""
    return tuple(line.removeprefix(_IN_CHAIN) for rule in chain.rules for line in _rule_lines(rule))


def _rule_lines(rule: Rule) -> list[str]:
    counter = "counter" if rule.counter else ""
    said = f'comment "{rule.comment}"' if rule.comment else ""
    end = " ".join(part for part in (counter, rule.statement, rule.verdict, said) if part)
    if not rule.destinations:
        return ["\t\t" + " ".join(part for part in (rule.match, end) if part)]
    head = " ".join(part for part in (rule.match, f"{rule.address} daddr {{") if part)
    return [f"\t\t{head}", *(f"{_IN_SET}{text}," for text in rule.destinations), f"\t\t}} {end}"]
