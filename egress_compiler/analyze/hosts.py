"""podSubnets that cover addresses of hosts, which no policy governs."""

from __future__ import annotations

from typing import Any

from egress_compiler.diagnostics import Collector, listing, quoted
from egress_compiler.hosts import Covered, Hosts
from egress_compiler.net import AddressError, format_address, parse_span
from egress_compiler.resolve import Resolved, ResolvedPolicy


def check_hosts(resolved: Resolved, found: Collector) -> None:
    """A warning for each podSubnet with such addresses in it: they were taken out."""
    for policy in resolved.policies:
        if any(policy.hosts.values()):
            _check_subnets(policy, resolved.hosts, found)


def _check_subnets(policy: ResolvedPolicy, hosts: Hosts, found: Collector) -> None:
    document, ref = policy.policy.document, policy.policy.ref
    data: Any = document.data
    for index, text in enumerate(data["spec"]["appliedTo"]["podSubnet"]):
        try:
            span = parse_span(text)
        except AddressError:
            continue
        covered = hosts.within(span.family, span.interval)
        if covered:
            found.warning(
                "podsubnet-hosts",
                f"the podSubnet {quoted(text)} of {ref} covers {listing([_words(c) for c in covered])}: no policy "
                "governs what hosts send, so they are taken out",
                document.at("spec", "appliedTo", "podSubnet", index),
                hint="write the CIDRs that pods have their addresses from, or accept the warning",
            )


def _words(covered: Covered) -> str:
    """One address by itself, several with the first of them."""
    first = format_address(covered.family, covered.first)
    return (
        f"{covered.one} ({first})" if covered.number == 1 else f"{covered.number:,} {covered.many} (the first {first})"
    )
