"""The second line: routing refuses what comes from governed sources and nftables has not looked at.

It matters when a stranger flushes the ruleset of a node: marks are gone then, and with them all steering.
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
    LAST_RESORT_PREFERENCE,
    LAST_RESORT_TABLE,
    NOBODY,
    PREFIX_MASK,
    TUNNEL_DEVICE,
)

MOST_SOURCES = 1000
"""Of a node and family. The kernel walks the rules one by one for each packet without our mark."""


_HALVES: Mapping[Family, tuple[str, str]] = {4: ("0.0.0.0/1", "128.0.0.0/1"), 6: ("::/1", "8000::/1")}


class SecondLine:
    """The same inside for every node, and each node's own sources."""

    def __init__(self, inside: Mapping[Family, Intervals], families: Sequence[Family]) -> None:
        self._families = families
        self._intervals = inside
        self._inside = {f: tuple(cidrs(f, inside[f])) if f in families else () for f in FAMILIES}

    def of(self, sources: SourceMaps, uplink: str, *, is_gateway: bool) -> LastResort:
        rules = tuple(self._rules(sources, is_gateway))
        used = {rule.family for rule in rules}
        return LastResort(
            preference=LAST_RESORT_PREFERENCE,
            mask=PREFIX_MASK,
            table=LAST_RESORT_TABLE,
            via4=NOBODY[4],
            device4=uplink,
            inside4=self._thrown(4, sources.pods4, is_gateway) if 4 in used else (),
            inside6=self._thrown(6, sources.pods6, is_gateway) if 6 in used else (),
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

    def _rules(self, sources: SourceMaps, is_gateway: bool) -> Iterator[UnseenRule]:
        for family in self._families:
            if is_gateway:
                for device in (GATEWAY_DEVICE, TUNNEL_DEVICE):
                    yield UnseenRule(family, None, device, "the gateway side")
            pods, subnets = (sources.pods4, sources.subnets4) if family == 4 else (sources.pods6, sources.subnets6)
            found = {pod.source: pod.owner for pod in pods}
            for subnet in subnets:
                # A podSubnet may be the address of a pod; the kernel takes no rule twice.
                for text in _sources(family, subnet.source) if subnet.owner != OWNER else ():
                    found.setdefault(text, subnet.owner)
            if len(found) <= MOST_SOURCES:
                yield from (UnseenRule(family, source, None, owner) for source, owner in found.items())


def _sources(family: Family, subnet: str) -> Iterator[str]:
    """Its CIDRs; everything in two halves, as the kernel takes a rule from anywhere for any that it has already."""
    for text in cidrs(family, [parse_span(subnet).interval]):
        yield from _HALVES[family] if text.endswith("/0") else (text,)
