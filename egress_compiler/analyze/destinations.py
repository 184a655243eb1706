"""Destinations that no policy can govern, as they are inside the cluster."""

from __future__ import annotations

from collections.abc import Mapping

from egress_compiler.diagnostics import Collector, quoted
from egress_compiler.net import FAMILIES, Family, Intervals, covers, subtract
from egress_compiler.resolve import Resolved, ResolvedPolicy


def check_destinations(resolved: Resolved, found: Collector) -> None:
    """A warning for every destination wholly inside the cluster, where no policy applies."""
    for policy in resolved.policies:
        given = policy.policy.destinations
        # Most policies have nothing inside, and need no second look at what was written.
        if given is not None and any(subtract(given[f], resolved.inside[f]) != given[f] for f in FAMILIES):
            _check_items(policy, resolved.inside, found)


def _check_items(policy: ResolvedPolicy, inside: Mapping[Family, Intervals], found: Collector) -> None:
    for item in policy.policy.destination_items:
        if covers(inside[item.family], item.interval):
            found.warning(
                "destination-inside",
                f"the destination {quoted(item.text)} of {policy.policy.ref} is inside the cluster, "
                "where no policy applies",
                policy.policy.document.at(*item.path),
                hint="take it out; what is inside is said by EgressClusterInfo and the cluster's own CIDRs",
            )
