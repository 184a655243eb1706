"""Settings about pods that nobody knows yet."""

from __future__ import annotations

from egress_compiler.diagnostics import Collector, nearest, quoted
from egress_compiler.model.settings import Settings
from egress_compiler.resolve import Resolved


def check_unknown_pods(resolved: Resolved, settings: Settings, found: Collector) -> None:
    """A node that is not there, or has no podCIDR, would silently block nothing."""
    nodes, others = {node.name: node for node in resolved.cluster.nodes}, resolved.cluster.others
    for position, name in enumerate(settings.unknown_pods.named):
        place = settings.document.at("unknownPods", "blockedNodes", position) if settings.document else None
        if name in others:
            message = f"node {name} {others[name].why}: it gets no configuration that could block anything"
            found.warning("blocked-node", message, place)
        elif name not in nodes:
            message = f"there is no node {quoted(name)} in the cluster files"
            found.error("blocked-node", message, place, hint=nearest(name, nodes))
        elif not any(nodes[name].pod_cidrs.values()):
            hint = "name the CIDRs that its pods have their addresses from under unknownPods.blockedCIDRs"
            found.error(
                "blocked-node",
                f"node {name} has no podCIDR, so which pods are its own cannot be told",
                place,
                hint=hint,
            )
