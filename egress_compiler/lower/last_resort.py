"""The second line: routing refuses what comes from governed sources and nftables has not looked at.

It matters when a stranger flushes the ruleset of a node: marks are gone then, and with them all steering.
What the node itself sends, and other hosts, skips it, whichever podSubnet covers their addresses.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from egress_compiler.ir import LastResort, Source, SourceMaps, UnseenRule
from egress_compiler.lower.unknown import OWNER
from egress_compiler.net import (
    FAMILIES,
    Family,
    Interval,
    Intervals,
    cidrs,
    contains,
    parse_address,
    parse_span,
    union,
)
from egress_compiler.numbering import (
    GATEWAY_DEVICE,
    LAST_RESORT_END_PREFERENCE,
    LAST_RESORT_PREFERENCE,
    LAST_RESORT_SKIP_PREFERENCE,
    LAST_RESORT_TABLE,
    LOOPBACK,
    NOBODY,
    PREFIX_MASK,
    TUNNEL_DEVICE,
)

MOST_SOURCES = 1000
"""Of a node and family. The kernel walks the rules one by one for each packet without our mark."""


_HALVES: Mapping[Family, tuple[str, str]] = {4: ("0.0.0.0/1", "128.0.0.0/1"), 6: ("::/1", "8000::/1")}


class SecondLine:
    """The same inside for every node, and each node's own sources; ``hosts`` are what podSubnets cover of hosts."""

    def __init__(
        self, inside: Mapping[Family, Intervals], hosts: Mapping[Family, Intervals], families: Sequence[Family]
    ) -> None:
        self._families = families
        self._intervals = inside
        self._hosts = hosts
        self._inside = {f: tuple(cidrs(f, inside[f])) if f in families else () for f in FAMILIES}

    def of(self, sources: SourceMaps, uplink: str, *, is_gateway: bool) -> LastResort:
        governed = {family: self._governed(family, sources) for family in self._families}
        rules = tuple(rule for family in self._families for rule in _rules(family, governed[family], is_gateway))
        used = {rule.family for rule in rules}
        return LastResort(
            skip_preference=LAST_RESORT_SKIP_PREFERENCE,
            preference=LAST_RESORT_PREFERENCE,
            end_preference=LAST_RESORT_END_PREFERENCE,
            mask=PREFIX_MASK,
            table=LAST_RESORT_TABLE,
            via4=NOBODY[4],
            device4=uplink,
            inside4=self._thrown(4, sources.pods4, is_gateway) if 4 in used else (),
            inside6=self._thrown(6, sources.pods6, is_gateway) if 6 in used else (),
            skips=tuple(s for family in self._families if governed[family] for s in self._skips(family)),
            rules=rules,
        )

    def _thrown(self, family: Family, pods: Sequence[Source], is_gateway: bool) -> tuple[str, ...]:
        """What is inside; with a gateway's own pods of other addresses (underlay).

        The kernel asks for a pod's way back as if its packet came by the device that it leaves by, the tunnel.
        """
        values = [parse_address(pod.source).value for pod in pods] if is_gateway else []
        inside = self._intervals[family]
        further = [Interval(value, value) for value in values if not contains(inside, value)]
        return tuple(cidrs(family, union([*inside, *further]))) if further else self._inside[family]

    def _governed(self, family: Family, sources: SourceMaps) -> Mapping[str, str]:
        """The sources that rules look at, with their owners; none where they would be too many."""
        pods, subnets = (sources.pods4, sources.subnets4) if family == 4 else (sources.pods6, sources.subnets6)
        found = {pod.source: pod.owner for pod in pods}
        pieces = [parse_span(subnet.source).interval for subnet in subnets if subnet.owner != OWNER]
        # Whole again with the hosts, which skip the rules: a podSubnet full of holes would be many CIDRs.
        for text in cidrs(family, union([*pieces, *self._hosts[family]])) if pieces else ():
            # A podSubnet may be the address of a pod, and the kernel takes no rule twice; nor one from anywhere for
            # any that it has already.
            for source in _HALVES[family] if text.endswith("/0") else (text,):
                found.setdefault(source, "podSubnet")
        return found if len(found) + len(list(self._skips(family))) <= MOST_SOURCES else {}

    def _skips(self, family: Family) -> Iterator[UnseenRule]:
        yield UnseenRule(family, None, LOOPBACK, "what this node itself sends")
        for text in cidrs(family, self._hosts[family]):
            yield UnseenRule(family, text, None, "hosts within podSubnets")


def _rules(family: Family, governed: Mapping[str, str], is_gateway: bool) -> Iterator[UnseenRule]:
    for device in (GATEWAY_DEVICE, TUNNEL_DEVICE) if is_gateway else ():
        yield UnseenRule(family, None, device, "the gateway side")
    yield from (UnseenRule(family, source, None, owner) for source, owner in governed.items())
