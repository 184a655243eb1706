"""Where policies reach: their destinations less the inside of the cluster."""

from __future__ import annotations

from bisect import bisect_left
from typing import Any

from egress_compiler.diagnostics import Collector, quoted
from egress_compiler.net import FAMILIES, AddressError, Family, Interval, Intervals, parse_span
from egress_compiler.resolve import Resolved, ResolvedPolicy


class Reach:
    """What of addresses is outside the cluster, by binary search."""

    def __init__(self, resolved: Resolved) -> None:
        self._inside = resolved.inside
        self._lasts = {family: [last for _, last in resolved.inside[family]] for family in FAMILIES}

    def outside(self, family: Family, intervals: Intervals) -> list[Interval]:
        """What of ``intervals`` is not inside the cluster."""
        rest: list[Interval] = []
        inside, lasts = self._inside[family], self._lasts[family]
        for first, last in intervals:
            start, position = first, bisect_left(lasts, first)
            while position < len(inside) and inside[position].first <= last:
                if inside[position].first > start:
                    rest.append(Interval(start, inside[position].first - 1))
                start = inside[position].last + 1
                position += 1
            if start <= last:
                rest.append(Interval(start, last))
        return rest

    def of(self, policy: ResolvedPolicy, family: Family) -> list[Interval] | None:
        """The destinations of a policy that matter; None for everything outside."""
        destinations = policy.policy.destinations
        return None if destinations is None else self.outside(family, destinations[family])


def check_destinations(resolved: Resolved, reach: Reach, found: Collector) -> None:
    """A warning for every destination wholly inside the cluster, where no policy applies."""
    for policy in resolved.policies:
        given = policy.policy.destinations
        if given is None:
            continue
        # Most policies have nothing inside, and need no second look at what was written.
        if any(len(reach.outside(f, given[f])) != len(given[f]) or _clipped(reach, f, given[f]) for f in FAMILIES):
            _check_items(policy, reach, found)


def _clipped(reach: Reach, family: Family, intervals: Intervals) -> bool:
    return any(a != b for a, b in zip(reach.outside(family, intervals), intervals, strict=True))


def _check_items(policy: ResolvedPolicy, reach: Reach, found: Collector) -> None:
    document, ref = policy.policy.document, policy.policy.ref
    data: Any = document.data
    for index, text in enumerate(data["spec"]["destSubnet"]):
        try:
            span = parse_span(text)
        except AddressError:
            continue
        if not reach.outside(span.family, (span.interval,)):
            found.warning(
                "destination-inside",
                f"the destination {quoted(text)} of {ref} is inside the cluster, where no policy applies",
                document.at("spec", "destSubnet", index),
                hint="take it out; what is inside is said by EgressClusterInfo and the cluster's own CIDRs",
            )
