"""A small reader and evaluator of nftables text, as far as our generated files go.

It knows nothing of the compiler: what it does is what nft(8) says about the statements.  Everything that it does
not know is an error, so that a new construct in the template is noticed here.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from ipaddress import ip_address, ip_network
from itertools import pairwise

PRIORITIES = {"raw": -300, "mangle": -150, "dstnat": -100, "filter": 0, "srcnat": 100}
BLOCKS = ("table", "chain", "set", "map")

_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_TOKEN = re.compile(r'"[^"\n]*"|[{},;\n]|[^\s{},;]+')


class NftError(Exception):
    """Text that nft would refuse, or that this evaluator does not know."""


Elements = list[list[str]]
Statement = list["str | Elements"]


@dataclass
class Block:
    """``table inet x { … }`` and what is in it; ``statements`` are those that are no block."""

    words: list[str]
    statements: list[Statement] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)


def _tokens(text: str) -> Iterator[str]:
    for line in text.splitlines():
        quoted = re.split(r'("[^"]*")', line)
        kept = ""
        for part in quoted:
            before, comment, _ = part.partition("#") if not part.startswith('"') else (part, "", "")
            kept += before
            if comment:
                break
        yield from _TOKEN.findall(kept)
        yield "\n"


def read_blocks(text: str) -> Block:
    """The whole text as one block without a name."""
    tokens = _tokens(text)
    root = _read_block([], tokens)
    if next(tokens, None) is not None:
        raise NftError("a brace is closed that was never opened")
    return root


def _read_block(words: list[str], tokens: Iterator[str]) -> Block:
    block = Block(words)
    statement: Statement = []
    for word in tokens:
        if word == "{":
            if statement and statement[0] in BLOCKS:
                block.blocks.append(_read_block([str(word) for word in statement], tokens))
                statement = []
            else:
                statement.append(_read_elements(tokens))
        elif word in ("\n", ";", "}"):
            if statement:
                block.statements.append(statement)
            statement = []
            if word == "}":
                return block
        else:
            statement.append(word)
    if words:
        raise NftError(f"{' '.join(words)} is never closed")
    return block


def _read_elements(tokens: Iterator[str]) -> Elements:
    elements: Elements = [[]]
    for word in tokens:
        if word == "}":
            return [element for element in elements if element]
        if word == ",":
            elements.append([])
        elif word != "\n":
            elements[-1].append(word)
    raise NftError("a list of elements is never closed")


# ------------------------------------------------------------------------------------------------ values and look-ups


@cache
def interval(text: str) -> tuple[int, int]:
    """An address, CIDR, range, number or MAC as first and last value."""
    if text.startswith("0x") or text.isdigit():
        return int(text, 0), int(text, 0)
    if _MAC.fullmatch(text):
        value = int(text.replace(":", ""), 16)
        return value, value
    first, dash, last = text.partition("-")
    if dash:
        return int(ip_address(first)), int(ip_address(last))
    network = ip_network(text)
    return int(network[0]), int(network[-1])


class Lookup:
    """The elements of a set or map: disjoint intervals, each with what follows it (in maps).

    ``values`` is the type of what a map has, such as ``verdict``; empty for a set.
    """

    def __init__(self, elements: Elements, *, intervals: bool = True, values: str = "") -> None:
        self.values = values
        self.intervals = intervals
        self.elements = {str(element[0]): element for element in elements}
        if len(self.elements) != len(elements):
            raise NftError("an element stands twice")
        entries = sorted((interval(element[0]), element[1:]) for element in elements)
        for (left, _), (right, _) in pairwise(entries):
            if left[1] >= right[0]:
                raise NftError(f"the elements {left} and {right} overlap")
        if not intervals and any(first != last for (first, last), _ in entries):
            raise NftError("an interval in a set without flags interval")
        self.entries = entries
        self._firsts = [first for (first, _), _ in entries]

    def find(self, value: int) -> list[str] | None:
        """What follows the element that holds ``value``; None where there is none."""
        index = bisect_right(self._firsts, value) - 1
        if index < 0 or self.entries[index][0][1] < value:
            return None
        return self.entries[index][1]


@dataclass(frozen=True)
class Packet:
    """What the rules can ask about a packet; marks are those of the packet and of its connection.

    ``zones`` of conntrack are those in which the packet, and the reply to it, find their connection.
    """

    version: int
    source: int
    destination: int
    iif: str = ""
    oif: str = ""
    state: str = "new"
    direction: str = "original"
    mark: int = 0
    ct_mark: int = 0
    zones: tuple[int, int] = (0, 0)
    mac: str = ""
    """Who sent it, on a device with Ethernet."""
    local: frozenset[int] = frozenset()
    """Addresses that the node has while it is looked at."""


@dataclass(frozen=True)
class Chain:
    name: str
    kind: str
    hook: str
    priority: int
    rules: tuple[Statement, ...]


@dataclass(frozen=True)
class Result:
    """``verdict``: accept, drop, reject.  ``translated`` where a nat chain bound the connection."""

    verdict: str
    packet: Packet
    translated: bool = False


_END = ("accept", "drop", "reject")


class Ruleset:
    """The last definition of the table that the text makes."""

    def __init__(self, text: str) -> None:
        tables = [block for block in read_blocks(text).blocks if block.words[0] == "table"]
        if len(tables) != 1:
            raise NftError(f"{len(tables)} tables with content")
        self.chains: dict[str, Chain] = {}
        self.lookups: dict[str, Lookup] = {}
        self._anonymous: dict[int, Lookup] = {}
        for block in tables[0].blocks:
            kind, name = block.words
            if name in self.chains or name in self.lookups:
                raise NftError(f"{name} is defined twice")
            if kind == "chain":
                self.chains[name] = _chain(name, block)
            else:
                self.lookups[name] = _named_lookup(block)
        self._check_references()

    def _check_references(self) -> None:
        for lookup in self.lookups.values():
            for _, found in lookup.entries:
                if bool(found) != bool(lookup.values):
                    raise NftError("an element of a map has no value, or one of a set has one")
                if lookup.values == "verdict" and found[2] not in self.chains:
                    raise NftError(f"there is no chain {found[2]}")
        for chain in self.chains.values():
            for rule in chain.rules:
                for before, word in pairwise(rule):
                    if before in ("jump", "goto") and word not in self.chains:
                        raise NftError(f"there is no chain {word}")
                for word in rule:
                    raw = word == "@nh"  # bits of the header, no set
                    if isinstance(word, str) and word.startswith("@") and not raw and word[1:] not in self.lookups:
                        raise NftError(f"there is no set or map {word}")

    def apply(self, text: str) -> None:
        """Commands of one transaction, as strict as the kernel with what is there or is not."""
        root = read_blocks(text)
        for table in root.blocks:
            if table.words != ["table", "inet", "egress_gateway"]:
                raise NftError(f"not our table: {table.words}")
            for block in table.blocks:
                kind, name = block.words
                if kind != "chain" or name in self.chains:
                    raise NftError(f"{kind} {name} is there already, or none of ours")
                self.chains[name] = _chain(name, block)
        flushed: set[str] = set()
        for statement in root.statements:
            verb, what, *table_name, name = (str(word) for word in statement if isinstance(word, str))
            if table_name != ["inet", "egress_gateway"]:
                raise NftError(f"not our table: {statement}")
            if what == "element":
                self._change_elements(verb, name, statement[-1])
            elif (verb, what) == ("flush", "chain"):
                flushed.add(name)
                self.chains[name] = replace(self.chains[name], rules=())
            elif (verb, what) == ("delete", "chain") and name in flushed:
                del self.chains[name]
            else:
                raise NftError(f"unknown command: {statement}")
        self._check_references()

    def _change_elements(self, verb: str, name: str, elements: str | Elements) -> None:
        lookup = self.lookups[name]
        kept = dict(lookup.elements)
        for element in elements:
            key = str(element[0])
            if verb == "add" and key in kept:
                raise NftError(f"{name} has {key} already")
            if verb == "add":
                kept[key] = list(element)
            elif verb != "delete" or kept.pop(key) != list(element):
                raise NftError(f"{name} has another {key}")
        self.lookups[name] = Lookup(list(kept.values()), intervals=lookup.intervals, values=lookup.values)

    def run(self, hook: str, packet: Packet, others: int | None = None) -> Result:
        """The packet through all base chains of a hook, in the order of their priorities.

        ``others`` is what another table's masquerading at srcnat makes the source, where we bound nothing before.
        """
        translated = False
        chains = sorted((c for c in self.chains.values() if c.hook == hook), key=lambda c: c.priority)
        for chain in chains:
            if chain.kind == "nat" and packet.state != "new":
                continue
            if others is not None and not translated and chain.priority > PRIORITIES["srcnat"]:
                packet, translated = replace(packet, source=others), True
            evaluation = _Evaluation(self, packet)
            verdict = evaluation.chain(chain)
            packet = evaluation.packet
            translated = translated or evaluation.translated
            if verdict in ("drop", "reject"):
                return Result(verdict, packet, translated)
        return Result("accept", packet, translated)

    def walk(self, name: str, packet: Packet) -> tuple[str, Packet]:
        """What one chain makes of the packet, and its verdict: ``return`` where it has none."""
        evaluation = _Evaluation(self, packet)
        return evaluation.chain(self.chains[name]), evaluation.packet

    def anonymous(self, elements: Elements) -> Lookup:
        """The look-up of an anonymous set, made once."""
        known = self._anonymous.get(id(elements))
        if known is None:
            known = self._anonymous[id(elements)] = Lookup(elements)
        return known


def _chain(name: str, block: Block) -> Chain:
    rules = list(block.statements)
    if rules and rules[0][0] == "type":
        words = [str(word) for word in rules.pop(0)]
        if words[2] != "hook" or words[4] != "priority" or rules.pop(0) != ["policy", "accept"]:
            raise NftError(f"{name} is no base chain as we make them")
        offset = int(words[6] + words[7]) if len(words) > 6 else 0
        return Chain(name, words[1], words[3], PRIORITIES[words[5]] + offset, tuple(rules))
    return Chain(name, "", "", 0, tuple(rules))


def _named_lookup(block: Block) -> Lookup:
    elements: Elements = []
    intervals = False
    values = ""
    for statement in block.statements:
        if statement[0] == "elements" and isinstance(statement[2], list):
            elements = statement[2]
        elif statement == ["flags", "interval"]:
            intervals = True
        elif statement[0] == "type":
            _, _, values = " ".join(map(str, statement)).partition(" : ")
        elif statement[0] != "timeout" and statement != ["flags", "dynamic", ",", "timeout"]:
            raise NftError(f"unknown in a set: {statement}")
    if (block.words[0] == "map") != bool(values):
        raise NftError(f"{block.words} is of another type")
    return Lookup(elements, intervals=intervals, values=values)


# --------------------------------------------------------------------------------------------------------- one packet


class _Evaluation:
    def __init__(self, ruleset: Ruleset, packet: Packet) -> None:
        self.ruleset = ruleset
        self.packet = packet
        self.destination = packet.destination
        self.translated = False

    def chain(self, chain: Chain) -> str:
        """The verdict: accept, drop or reject where one ends the way through the hook's chain, else ``return``."""
        for rule in chain.rules:
            verdict = self.rule(rule)
            if verdict is None:
                continue
            action, target = verdict
            if action in _END or action == "return":
                return action
            inner = self.chain(self.ruleset.chains[target])
            if inner in _END:
                return inner
            if action == "goto":
                return "return"
        return "return"

    def rule(self, rule: Statement) -> tuple[str, str] | None:
        """The verdict of a rule, None where a match fails or it has none."""
        words = _Words(rule)
        while words.left:
            word = words.take()
            if word in ("jump", "goto"):
                return word, words.take()
            if word in ("accept", "drop", "return"):
                return word, ""
            if word == "reject":
                return "reject", ""
            if word == "comment":
                words.take()
            elif word == "snat":
                if not self._snat(words):
                    return None
                return "accept", ""
            elif word != "counter":
                outcome = self._expression(word, words)
                if outcome is False:
                    return None
                if isinstance(outcome, tuple):
                    return outcome
        return None

    def _snat(self, words: _Words) -> bool:
        """Whether it was done: a packet of another family, or one that a map does not know, goes on."""
        family, to, target = words.take(), words.take(), words.take()
        version = {"ip": 4, "ip6": 6}[family]
        if to != "to":
            raise NftError("snat without to")
        value: int | None
        if target == family:
            if words.take() != "saddr":
                raise NftError("snat to something else than the source")
            value = self.packet.source
        elif target in ("meta", "ct"):
            value = self._mapped(f"{target} {words.take()}", version, words)
        else:
            value = int(ip_address(target))
        if version != self.packet.version or value is None:
            return False
        self.translated = True
        self.packet = replace(self.packet, source=value)
        return True

    def _mapped(self, key: str, version: int, words: _Words) -> int | None:
        """The address that a map has for some bits of a mark."""
        marks = {"meta mark": self.packet.mark, "ct mark": self.packet.ct_mark}
        if key not in marks or words.take() != "&":
            raise NftError("snat to something else than what a map has for a mark")
        value = marks[key] & int(words.take(), 0)
        if words.take() != "map":
            raise NftError("snat to a mark")
        lookup = self.ruleset.lookups[words.take()[1:]]
        if lookup.values != f"ipv{version}_addr":
            raise NftError("snat to what is no address of the family")
        found = lookup.find(value)
        return None if found is None else int(ip_address(found[1]))

    def _expression(self, word: str, words: _Words) -> bool | tuple[str, str]:
        """True or False for a match, a verdict for a look-up in a verdict map; sets a mark where told to."""
        key = word if word in ("iifname", "oifname") else f"{word} {words.take()}"
        packet = self.packet
        if key in ("ct mark", "meta mark"):
            return self._mark(key, words)
        if key in ("ct zone", "ct original"):
            return self._zone(key, words)
        if key == "ct status":
            # The packets that are tried are the first of their connections, which nobody has confirmed yet, or replies.
            word = words.take()
            if word != "&":
                return word != "snat"
            if words.take() != "confirmed":
                raise NftError("another status of a connection is asked for")
            return self._compare(0, words)
        if key == "ct event":
            words.skip(2)
            while words.peek() == ",":
                words.skip(2)
            return True
        if key in ("fib saddr", "fib daddr") and words.peek() == "type":
            if (words.take(), words.take()) != ("type", "local"):
                raise NftError("another type of address is asked for")
            return (packet.source if key == "fib saddr" else packet.destination) in packet.local
        if key == "fib saddr":
            # The packets that are tried come the way that their source is routed.
            if words.rest()[:4] != [".", "iif", "oif", "missing"]:
                raise NftError("unknown: fib saddr")
            return False
        if key in ("ip daddr", "ip6 daddr") and words.peek() == "set":
            return self._redirect(key, words)
        if key == "ether saddr":
            if words.take() != "vmap":
                raise NftError("unknown: ether saddr")
            return self._verdict(words, int(packet.mac.replace(":", "") or "0", 16))
        if key == "tcp option":
            words.skip(len(words.rest()))
            return True
        if words.rest()[:1] == ["&"] and key == "tcp flags":
            words.skip(len(words.rest()))
            return False  # asked of established connections only
        if key in ("tcp flags", "udp dport", "icmpv6 type", "ip protocol", "ip6 nexthdr"):
            # The packets that are tried are neither VXLAN nor VRRP nor neighbour discovery; all are a TCP SYN.
            words.take_value()
            return key == "tcp flags"
        if key == "meta l4proto":
            return _is("tcp", words)
        if key in ("ip saddr", "ip daddr", "ip6 saddr", "ip6 daddr"):
            address = packet.source if key.endswith("saddr") else packet.destination
            right_family = packet.version == (4 if key.startswith("ip ") else 6)
            return self._compare(address, words) if right_family else False
        if key == "meta nfproto" and words.peek() == "vmap":
            words.take()
            known = {element[0]: element[2:] for element in words.take_value()}
            found = known.get(f"ipv{packet.version}")
            return (found[0], found[1]) if found else False
        texts = {
            "iifname": f'"{packet.iif}"',
            "oifname": f'"{packet.oif}"',
            "ct state": packet.state,
            "ct direction": packet.direction,
            "meta nfproto": f"ipv{packet.version}",
        }
        if key not in texts:
            raise NftError(f"unknown: {key}")
        return _is(texts[key], words)

    def _redirect(self, key: str, words: _Words) -> bool:
        """Another destination for a while; the connection knows the one that the packet had."""
        family = key.partition(" ")[0]
        words.take()
        target = words.take()
        if target == "ct":
            if [words.take() for _ in range(3)] != ["reply", family, "saddr"]:
                raise NftError("a destination is made of something else than the connection's")
            target = ""
        if self.packet.version == (4 if family == "ip" else 6):
            value = int(ip_address(target)) if target else self.destination
            self.packet = replace(self.packet, destination=value)
            return True
        return False

    def _mark(self, key: str, words: _Words) -> bool | tuple[str, str]:
        value = self.packet.ct_mark if key == "ct mark" else self.packet.mark
        if words.peek() == "set":
            words.take()
            value = self._new_mark(words)
            of_packet = key == "meta mark"
            self.packet = replace(self.packet, mark=value) if of_packet else replace(self.packet, ct_mark=value)
            return True
        if words.peek() == "&":
            words.take()
            value &= int(words.take(), 0)
        return self._compare(value, words)

    def _new_mark(self, words: _Words) -> int:
        """A number; or some bits of one of the two marks, and others set."""
        word = words.take()
        if word.isdigit():
            return int(word)
        marks = {"meta mark": self.packet.mark, "ct mark": self.packet.ct_mark}
        key = f"{word} {words.take()}"
        if key not in marks or words.take() != "&":
            raise NftError("a mark is made in another way")
        value = marks[key] & int(words.take(), 0)
        if words.peek() == "|":
            words.take()
            value |= int(words.take(), 0)
        return value

    def _zone(self, key: str, words: _Words) -> bool:
        if key == "ct original" and words.take() != "zone":
            raise NftError("the original direction of something else than the zone")
        if words.take() != "set":
            raise NftError("the zone is asked for, which we never do")
        if self.packet.zones == (0, 0):  # the kernel keeps the first that is set
            number = int(words.take())
            self.packet = replace(self.packet, zones=(number, 0 if key == "ct original" else number))
        else:
            words.take()
        return True

    def _compare(self, value: int, words: _Words) -> bool | tuple[str, str]:
        if words.peek() == "vmap":
            words.take()
            return self._verdict(words, value)
        negated = words.peek() == "!="
        if words.peek() in ("!=", "=="):
            words.take()
        return (self._lookup(words.take_value()).find(value) is not None) != negated

    def _verdict(self, words: _Words, value: int) -> bool | tuple[str, str]:
        """What a verdict map has for the value; False for nothing."""
        found = self._lookup(words.take_value()).find(value)
        if found is None:
            return False
        colon, action, *target = found
        if colon != ":":
            raise NftError("an element of a verdict map without verdict")
        return action, target[0] if target else ""

    def _lookup(self, value: str | Elements) -> Lookup:
        if isinstance(value, list):
            return self.ruleset.anonymous(value)
        return self.ruleset.lookups[value[1:]] if value.startswith("@") else Lookup([[value]])


def _is(text: str, words: _Words) -> bool:
    negated = words.peek() == "!="
    if negated:
        words.take()
    value = words.take_value()
    choices: Sequence[str] = [element[0] for element in value] if isinstance(value, list) else [value]
    return (text in choices) != negated


class _Words:
    """The words of a rule, taken one after the other."""

    def __init__(self, rule: Statement) -> None:
        self._rule = rule
        self._next = 0

    @property
    def left(self) -> bool:
        return self._next < len(self._rule)

    def peek(self) -> str:
        word = self._rule[self._next] if self.left else ""
        return word if isinstance(word, str) else "{"

    def take_value(self) -> str | Elements:
        if not self.left:
            raise NftError(f"the rule ends too early: {self._rule}")
        self._next += 1
        return self._rule[self._next - 1]

    def take(self) -> str:
        word = self.take_value()
        if not isinstance(word, str):
            raise NftError(f"a word is expected in {self._rule}")
        return word

    def rest(self) -> Statement:
        return self._rule[self._next :]

    def skip(self, count: int) -> None:
        self._next += count
