"""Destinations that no policy can govern, as they are inside the cluster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from egress_compiler.diagnostics import Collector, quoted
from egress_compiler.net import FAMILIES, AddressError, Family, Intervals, covers, parse_span, subtract
from egress_compiler.resolve import Resolved, ResolvedPolicy


def check_destinations(resolved: Resolved, found: Collector) -> None:
    """A warning for every destination wholly inside the cluster, where no policy applies."""
    for policy in resolved.policies:
        given = policy.policy.destinations
        # Most policies have nothing inside, and need no second look at what was written.
        if given is not None and any(subtract(given[f], resolved.inside[f]) != given[f] for f in FAMILIES):
            _check_items(policy, resolved.inside, found)


def _check_items(policy: ResolvedPolicy, inside: Mapping[Family, Intervals], found: Collector) -> None:
    document, ref = policy.policy.document, policy.policy.ref
    data: Any = document.data
    for index, text in enumerate(data["spec"]["destSubnet"]):
        try:
            span = parse_span(text)
        except AddressError:
            continue
        if covers(inside[span.family], span.interval):
            found.warning(
                "destination-inside",
                f"the destination {quoted(text)} of {ref} is inside the cluster, where no policy applies",
                document.at("spec", "destSubnet", index),
                hint="take it out; what is inside is said by EgressClusterInfo and the cluster's own CIDRs",
            )
