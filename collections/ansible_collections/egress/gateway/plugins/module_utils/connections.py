# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""Open connections after a change: those of a pod whose address another one has now, and those that are to be cut.

An entry of connection tracking tells what its connection leaves by: the slot, on the side of a worker, and the address,
on the side of a gateway. What a new connection would leave by, the plan tells. Only where the two differ is there
anything to end.
"""

from __future__ import annotations

import ipaddress
import json
import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.egress.gateway.plugins.module_utils.kernel.command import NodeError, find, run
from ansible_collections.egress.gateway.plugins.module_utils.kernel.reading import FAMILIES, has_ipv6
from ansible_collections.egress.gateway.plugins.module_utils.node import (
    GATEWAY_MARK_PREFIX,
    MARK_PREFIX,
    PREFIX_MASK,
    SLOT_MASK,
)

_FIELD = re.compile(r"(src|dst|sport|dport|type|code|id|mark|zone|zone-orig)=(\S+)")
_PORTS = ("tcp", "udp", "sctp", "dccp", "udplite")


@dataclass(frozen=True)
class Entry:
    """One connection; ``translated`` is the address that its answers come to."""

    protocol: str
    source: str
    destination: str
    fields: Mapping[str, str]
    translated: str
    mark: int

    @property
    def at_gateway(self) -> bool:
        return self.mark & PREFIX_MASK == GATEWAY_MARK_PREFIX

    @property
    def leaves_by(self) -> str | None:
        """As ``Answers.of`` says it; None for a connection that is none of ours."""
        if self.at_gateway:
            return self.translated
        return "slot %d" % (self.mark & SLOT_MASK) if self.mark & PREFIX_MASK == MARK_PREFIX else None


@dataclass(frozen=True)
class Ended:
    """Connections of one source that end, or would in check mode, and why."""

    source: str
    connections: int
    reason: str


class Answers:
    """What the plan gives to a new connection, on one side of the node."""

    def __init__(self, plan: Mapping[str, Any], side: str) -> None:
        self._steer = side == "steer"
        maps = plan[side + "_sources"] if plan else {}
        self._pods = {s["source"]: s for key in ("pods4", "pods6") for s in maps.get(key, ())}
        self._subnets = {family: _Spans(maps.get("subnets%d" % family, ()), _text) for family in FAMILIES}
        self._inside = {family: _Spans(plan.get("inside%d" % family, ()) if plan else (), str) for family in FAMILIES}
        self._classes = {c["name"]: c for c in (plan[side + "_classes"] if plan else ())}

    def owner(self, source: str) -> str | None:
        """The pod that a governed address belongs to."""
        found = self._pods.get(source)
        return found["owner"] if found else None

    def of(self, source: str, destination: str) -> tuple[str | None, str]:
        """What a new connection leaves by, None where it is not governed; and the policy."""
        address = ipaddress.ip_address(destination)
        family = 4 if address.version == 4 else 6
        found = self._pods.get(source) or self._subnets[family].find(source)
        if found is None or (self._steer and self._inside[family].find(destination) is not None):
            return None, ""
        rest = None
        for answer in self._classes[found["traffic_class"]]["ipv%d" % family]:
            if not answer["destinations"]:
                rest = answer
            elif _Spans(answer["destinations"], str).find(destination) is not None:
                return self._value(answer), answer["origin"]
        return (self._value(rest), rest["origin"]) if rest else (None, "")

    def _value(self, answer: Mapping[str, Any]) -> str:
        if self._steer:
            return "blocked" if answer["slot"] is None else "slot %d" % answer["slot"]
        return answer["address"] or "nothing"


class _Spans:
    """Disjoint addresses, ranges and CIDRs; ``text`` gives the one of an item."""

    def __init__(self, items: Sequence[Any], text: Any) -> None:
        self._spans = sorted((*_bounds(text(item)), n) for n, item in enumerate(items))
        self._items = items

    def find(self, address: str) -> Any:
        value = int(ipaddress.ip_address(address))
        at = bisect_right(self._spans, (value, float("inf"), 0)) - 1
        if at < 0 or self._spans[at][1] < value:
            return None
        return self._items[self._spans[at][2]]


def _text(source: Mapping[str, str]) -> str:
    return source["source"]


def _bounds(text: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    if dash:
        return int(ipaddress.ip_address(first)), int(ipaddress.ip_address(last))
    network = ipaddress.ip_network(text)
    return int(network[0]), int(network[-1])


def to_end(before: str, after: str, entries: Sequence[Entry], everything: bool) -> Iterator[tuple[Entry, str]]:
    """Of ``entries`` those that end when the plan ``before`` becomes ``after``, both as JSON or empty, and why.

    With ``everything`` all whose new connections leave otherwise; else those whose address has changed hands, and those
    of policies that ask for it.
    """
    old, new = json.loads(before or "{}"), json.loads(after or "{}")
    sides = {
        False: (Answers(old, "steer"), Answers(new, "steer")),
        True: (Answers(old, "snat"), Answers(new, "snat")),
    }
    cutting = {*old.get("cut", ()), *new.get("cut", ())}
    for entry in entries:
        was, will = sides[entry.at_gateway]
        owners = was.owner(entry.source), will.owner(entry.source)
        if None not in owners and owners[0] != owners[1]:
            yield entry, "%s has the address of %s now" % (owners[1], owners[0])
            continue
        value, policy = will.of(entry.source, entry.destination)
        if value == entry.leaves_by:
            continue
        policies = {policy, was.of(entry.source, entry.destination)[1]} & cutting
        if everything or policies:
            yield entry, "cut, as %s" % (", ".join(sorted(policies)) + " says" if policies else "this run says")


def may_end(before: str, after: str, everything: bool) -> bool:
    """Whether it is worth reading all connections of the node."""
    if everything:
        return True
    old, new = json.loads(before or "{}"), json.loads(after or "{}")
    if old == new or not old:
        return False
    if old.get("cut") or new.get("cut"):
        return True
    return any(
        was.owner(source) not in (None, will.owner(source)) and will.owner(source) is not None
        for side in ("steer", "snat")
        for was, will in [(Answers(old, side), Answers(new, side))]
        for key in ("pods4", "pods6")
        for source in (s["source"] for s in (new[side + "_sources"] if new else {}).get(key, ()))
    )


def end_connections(before: str, after: str, everything: bool, check_only: bool) -> list[Ended]:
    """Ends them, unless ``check_only``; what that is, by source. NodeError when conntrack is missing or fails."""
    if not may_end(before, after, everything):
        return []
    if find("conntrack") is None:
        raise NodeError("conntrack is not installed on this node, so open connections stay as they are")
    told: dict[tuple[str, str], int] = {}
    for entry, why in to_end(before, after, read(), everything):
        told[entry.source, why] = told.get((entry.source, why), 0) + 1
        if not check_only:
            # One that has closed by itself meanwhile is no failure.
            run(_deletion(entry), check=False)
    return [Ended(source, count, why) for (source, why), count in sorted(told.items())]


def read() -> list[Entry]:
    """All connections that the kernel tracks."""
    families = ["ipv4", *(["ipv6"] if has_ipv6() else [])]
    return [entry for family in families for entry in parse(run(["conntrack", "-L", "-f", family]).stdout)]


def parse(text: str) -> list[Entry]:
    """conntrack's listing: what a line says first is of the original direction, and of the reply what it says last."""
    entries = []
    for line in text.splitlines():
        pairs = _FIELD.findall(line)
        fields: dict[str, str] = {}
        for key, value in pairs:
            fields.setdefault(key, value)
        replies = [value for key, value in pairs if key == "dst"]
        if "src" in fields and len(replies) == 2:
            mark = int(fields.get("mark", "0"))
            entries.append(Entry(line.split()[0], fields["src"], fields["dst"], fields, replies[1], mark))
    return entries


def _deletion(entry: Entry) -> list[str]:
    family = "ipv6" if ":" in entry.source else "ipv4"
    words = ["conntrack", "-D", "-f", family, "-p", entry.protocol, "-s", entry.source, "-d", entry.destination]
    fields = entry.fields
    if entry.protocol in _PORTS:
        words += ["--sport", fields["sport"], "--dport", fields["dport"]]
    elif "id" in fields:
        kind = "icmpv6" if family == "ipv6" else "icmp"
        for name in ("type", "code", "id"):
            words += ["--%s-%s" % (kind, name), fields[name]]
    if "zone" in fields:
        words += ["--zone", fields["zone"]]
    elif "zone-orig" in fields:
        words += ["--orig-zone", fields["zone-orig"]]
    return words
