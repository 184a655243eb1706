"""What is wrong, or looks wrong, about policies, gateways and cluster together.  Nothing here changes the outcome."""

from __future__ import annotations

from collections.abc import Mapping

from egress_compiler.analyze.addresses import check_addresses
from egress_compiler.analyze.default_routes import check_default_routes
from egress_compiler.analyze.destinations import check_destinations
from egress_compiler.analyze.fleet import check_fleet
from egress_compiler.analyze.gateways import check_gateways, check_pool_sizes
from egress_compiler.analyze.hosts import check_hosts
from egress_compiler.analyze.mtu import check_tunnel_mtu
from egress_compiler.analyze.overlap import check_overlaps
from egress_compiler.analyze.pod_addresses import check_pod_addresses
from egress_compiler.analyze.selection import check_selection
from egress_compiler.analyze.unknown import check_unknown_pods
from egress_compiler.classify import Classified
from egress_compiler.diagnostics import Collector
from egress_compiler.model.lock import Lock
from egress_compiler.model.settings import Settings, Uplink

__all__ = ["analyze", "analyze_files"]


def analyze(
    classified: Classified, settings: Settings, uplinks: Mapping[str, Uplink], lock: Lock, found: Collector
) -> None:
    """Every finding goes to ``found``; the time grows linearly with pods, policies and addresses."""
    resolved = classified.resolved
    check_fleet(resolved, lock, found)
    check_addresses(resolved, settings, uplinks, found)
    check_default_routes(resolved, settings, uplinks, found)
    check_tunnel_mtu(resolved, settings, uplinks, found)
    check_gateways(resolved, found)
    check_selection(resolved, found)
    check_hosts(resolved, found)
    check_pod_addresses(resolved, found)
    check_unknown_pods(resolved, settings, found)
    check_destinations(resolved, found)
    check_overlaps(classified, found)


def analyze_files(classified: Classified, found: Collector) -> None:
    """The findings that need no cluster; ``classified`` is what the policy files decide."""
    check_pool_sizes(classified.resolved, found)
    check_destinations(classified.resolved, found)
    check_overlaps(classified, found)
