"""The nftables table as data: chains with hook, priority and reason; rules with match, verdict, origin and counter.

Matches and statements are nft's own words (nft(8)), each built where its feature is; everything that is not a word of
nft is a field.  The writer makes text of it, explain and plan read it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class BaseChain:
    """Where the kernel enters our table: ``priority`` decides who else was there before.  Policy is always accept."""

    name: str
    type: Literal["filter", "nat", "route"]
    hook: Literal["prerouting", "input", "forward", "output", "postrouting"]
    priority: str
    reason: str


@dataclass(frozen=True, slots=True)
class Rule:
    """What a packet must be, what is done to it, and where it goes on; printed in this order.

    ``destinations`` are addresses, CIDRs and ranges of which the packet's must be one, of the family of ``address``,
    ``ip`` or ``ip6``; they stand one a line.  ``counter`` counts before the statement; ``comment`` is what operators
    see in the kernel.  ``origin`` is the policy behind it, empty where there is none.
    """

    match: str = ""
    statement: str = ""
    verdict: str = ""
    counter: bool = False
    comment: str = ""
    origin: str = ""
    address: Literal["", "ip", "ip6"] = ""
    destinations: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Chain:
    """A chain that others lead to.  ``notes`` are lines of comment above it.  Its text is made once, for all nodes."""

    name: str
    rules: tuple[Rule, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Element:
    """Of a set, or with a ``value`` of a map; ``note`` stands behind it as a comment of the file."""

    key: str
    value: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Set:
    """A set, or with a ``value_type`` a map.  Without elements it is there all the same: rules name it.

    Where nodes share one, its text is made once.

    ``options`` are nft's further lines, such as a timeout.
    """

    name: str
    key_type: str
    elements: tuple[Element, ...]
    reason: str
    value_type: str = ""
    interval: bool = False
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Feature:
    """What one feature adds to a node's table: ``base`` has its rules by base chain, in their order."""

    sets: tuple[Set, ...] = ()
    base: Mapping[str, tuple[Rule, ...]] = field(default_factory=dict)
    chains: tuple[Chain, ...] = ()


@dataclass(frozen=True, slots=True)
class Ruleset:
    """The whole table of a node: base chains with their rules in the order in which a packet meets them.

    Of the ``chains`` those of ``kept`` are there also where nothing leads to them.
    """

    node: str
    role: str
    sets: tuple[Set, ...]
    base: tuple[tuple[BaseChain, tuple[Rule, ...]], ...]
    chains: Mapping[str, Chain]
    kept: tuple[str, ...] = ()
