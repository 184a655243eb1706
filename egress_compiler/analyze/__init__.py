"""What is wrong, or looks wrong, about policies, gateways and cluster together.  Nothing here changes the outcome."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from egress_compiler.analyze.addresses import check_addresses
from egress_compiler.analyze.default_routes import check_default_routes
from egress_compiler.analyze.destinations import check_destinations
from egress_compiler.analyze.fleet import check_fleet, check_unserved
from egress_compiler.analyze.gateways import check_families, check_gateways, check_pool_sizes
from egress_compiler.analyze.hosts import check_hosts
from egress_compiler.analyze.mtu import check_tunnel_mtu
from egress_compiler.analyze.overlap import check_overlaps
from egress_compiler.analyze.pod_addresses import check_pod_addresses
from egress_compiler.analyze.selection import check_namespaces_known, check_nodes_known, check_selection
from egress_compiler.analyze.unknown import check_unknown_pods
from egress_compiler.classify import Classified
from egress_compiler.diagnostics import Collector
from egress_compiler.model.lock import Lock
from egress_compiler.model.settings import Settings, Uplink
from egress_compiler.resolve import Resolved

__all__ = ["analyze", "analyze_files", "analyze_selections"]


def analyze(
    resolved: Resolved, settings: Settings, uplinks: Mapping[str, Uplink], lock: Lock, found: Collector
) -> None:
    """Every error, and the warnings that come without looking at all that policies select.

    All goes to ``found``; the time grows linearly with policies and addresses.
    """
    check_fleet(resolved, lock, found)
    check_addresses(resolved, settings, uplinks, found)
    check_default_routes(resolved, settings, uplinks, found)
    check_tunnel_mtu(resolved, settings, uplinks, found)
    check_gateways(resolved, found)
    check_namespaces_known(resolved, found)
    check_hosts(resolved, found)
    check_pod_addresses(resolved, found)
    check_unknown_pods(resolved, settings, found)
    check_destinations(resolved, found)


def analyze_selections(classified: Classified, found: Collector, namespaces: Collection[str] | None = None) -> None:
    """Warnings about what policies select; the time grows linearly with pods and policies.

    With ``namespaces`` those about their own policies, as what others select need not be whole.
    """
    resolved = classified.resolved
    positions: Collection[int] = range(len(resolved.policies))
    if namespaces is None:
        check_families(resolved, found)
        check_nodes_known(resolved, found)
    else:
        positions = {p for p in positions if resolved.policies[p].policy.ref.namespace in namespaces}
    policies = [resolved.policies[position] for position in positions]
    check_unserved(resolved, policies, found)
    check_selection(resolved, policies, found)
    check_overlaps(classified, positions, found)


def analyze_files(classified: Classified, found: Collector) -> None:
    """The findings that need no cluster; ``classified`` is what the policy files decide."""
    check_pool_sizes(classified.resolved, found)
    check_destinations(classified.resolved, found)
    check_overlaps(classified, range(len(classified.resolved.policies)), found)
