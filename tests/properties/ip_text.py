"""A small reader of ``ip -batch`` files, and where their rules and routes lead a packet, as ip-rule(8) says it.

Like ``nft_text`` it knows nothing of the compiler, and whatever it does not know is an error.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Literal, NamedTuple

Network = IPv4Network | IPv6Network


class IpError(Exception):
    """A line that ip would refuse, or that this reader does not know."""


class Way(NamedTuple):
    """Where a packet goes; without a device nowhere."""

    device: str = ""
    via: str = ""


NOWHERE = Way()


@dataclass(frozen=True)
class Rule:
    preference: int
    source: Network | None
    interface: str
    mark: int
    mask: int
    action: Literal["lookup", "goto", "nop"]
    target: int

    def takes(self, source: int, interface: str, mark: int) -> bool:
        if self.source is not None and not _contains(self.source, source):
            return False
        return (not self.interface or self.interface == interface) and mark & self.mask == self.mark


@dataclass(frozen=True)
class Route:
    kind: str
    destination: Network
    metric: int
    way: Way


class Routing:
    """The rules and routes of one family; what they say nothing of is the main table's."""

    def __init__(self, text: str, version: int) -> None:
        self.rules: list[Rule] = []
        self.tables: dict[int, list[Route]] = {}
        for line in text.splitlines():
            if line.startswith("rule add "):
                self.rules.append(_rule(line.split()[2:], version))
            elif line.startswith("route add "):
                table, route = _route(line.split()[2:], version)
                self.tables.setdefault(table, []).append(route)
            elif not line.startswith("#"):
                raise IpError(line)
        self.rules.sort(key=lambda rule: rule.preference)
        for rule in self.rules:
            if rule.action == "lookup" and rule.target not in self.tables:
                raise IpError(f"table {rule.target} is looked up and empty")
            if rule.action == "goto" and not any(r.preference == rule.target > rule.preference for r in self.rules):
                raise IpError(f"nobody is at {rule.target}")

    def way(self, source: int, destination: int, interface: str, mark: int) -> Way | None:
        """None for what the main table decides.  Rules of one preference must not depend on their order."""
        ways = {self._way(order, source, destination, interface, mark) for order in (self.rules, self._backwards)}
        if len(ways) != 1:
            raise IpError(f"{ways} depends on the order of rules of one preference")
        return ways.pop()

    @property
    def _backwards(self) -> list[Rule]:
        backwards = self.rules[::-1]
        return sorted(backwards, key=lambda rule: rule.preference)

    def _way(self, rules: Sequence[Rule], source: int, destination: int, interface: str, mark: int) -> Way | None:
        gone_to = 0
        for rule in rules:
            if rule.preference < gone_to or not rule.takes(source, interface, mark):
                continue
            if rule.action == "goto":
                gone_to = rule.target
            elif rule.action == "lookup":
                route = self._route(rule.target, destination)
                if route is not None and route.kind != "throw":
                    return route.way
        return None

    def _route(self, table: int, destination: int) -> Route | None:
        """The longest prefix, then the lowest metric."""
        fitting = [route for route in self.tables[table] if _contains(route.destination, destination)]
        return min(fitting, key=lambda route: (-route.destination.prefixlen, route.metric), default=None)


def _contains(network: Network, address: int) -> bool:
    first = int(network.network_address)
    return first <= address < first + network.num_addresses


def _options(words: Sequence[str], known: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    """Each option with the word that follows it, or without one where none is to follow."""
    rest = iter(words)
    for word in rest:
        if word not in known:
            raise IpError(" ".join(words))
        yield word, next(rest) if known[word] else ""


def _rule(words: Sequence[str], version: int) -> Rule:
    known = dict.fromkeys(("preference", "from", "iif", "fwmark", "lookup", "goto", "protocol"), 1) | {"nop": 0}
    found = dict(_options(words, known))
    mark, _, mask = found.get("fwmark", "0/0").partition("/")
    (action,) = found.keys() & {"lookup", "goto", "nop"}
    source = ip_network(found["from"]) if "from" in found else None
    if source is not None and source.version != version:
        raise IpError(" ".join(words))
    return Rule(
        preference=int(found["preference"]),
        source=source,
        interface=found.get("iif", ""),
        mark=int(mark, 0),
        mask=int(mask, 0),
        action="lookup" if action == "lookup" else "goto" if action == "goto" else "nop",
        target=int(found[action] or 0),
    )


def _route(words: Sequence[str], version: int) -> tuple[int, Route]:
    rest = list(words)
    kind = rest.pop(0) if rest[0] in ("unreachable", "throw") else "unicast"
    text = rest.pop(0)
    everything = "0.0.0.0/0" if version == 4 else "::/0"
    destination = ip_network(everything if text == "default" else text)
    known = dict.fromkeys(("via", "dev", "table", "metric", "protocol"), 1) | {"onlink": 0}
    found = dict(_options(rest, known))
    if destination.version != version or (":" in found.get("via", ":" * (version == 6))) != (version == 6):
        raise IpError(f"another family: {words}")
    way = Way(found["dev"], found.get("via", "")) if kind == "unicast" else NOWHERE
    metric = int(found.get("metric", "0" if version == 4 else "1024"))
    return int(found["table"]), Route(kind, destination, metric, way)
