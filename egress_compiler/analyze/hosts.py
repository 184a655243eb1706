"""podSubnets that cover addresses of hosts, which no policy governs."""

from __future__ import annotations

from egress_compiler.diagnostics import Collector, listing, quoted
from egress_compiler.hosts import Covered, Hosts
from egress_compiler.net import format_address
from egress_compiler.resolve import Resolved, ResolvedPolicy


def check_hosts(resolved: Resolved, found: Collector) -> None:
    """A warning for each podSubnet with such addresses in it: they were taken out."""
    for policy in resolved.policies:
        if any(policy.hosts.values()):
            _check_subnets(policy, resolved.hosts, found)


def _check_subnets(policy: ResolvedPolicy, hosts: Hosts, found: Collector) -> None:
    for item in policy.policy.pod_subnet_items:
        covered = hosts.within(item.family, item.interval)
        if covered:
            found.warning(
                "podsubnet-hosts",
                f"the podSubnet {quoted(item.text)} of {policy.policy.ref} covers "
                f"{listing([_words(c) for c in covered])}: no policy governs what hosts send, so they are taken out",
                policy.policy.document.at(*item.path),
                hint="write the CIDRs that pods have their addresses from, or accept the warning",
            )


def _words(covered: Covered) -> str:
    """One address by itself, several with the first of them."""
    first = format_address(covered.family, covered.first)
    return (
        f"{covered.one} ({first})" if covered.number == 1 else f"{covered.number:,} {covered.many} (the first {first})"
    )
