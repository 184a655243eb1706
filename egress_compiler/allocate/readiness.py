"""Gateway nodes that are not ready: nothing moves for that, but somebody should look."""

from __future__ import annotations

from egress_compiler.allocate.allocation import Allocation
from egress_compiler.diagnostics import Collector, counted, listing
from egress_compiler.resolve import Resolved


def check_readiness(resolved: Resolved, allocation: Allocation, found: Collector) -> None:
    """A warning for each gateway with such a node, and the policies that prefer it."""
    preferring: dict[tuple[str, str], list[str]] = {}
    for ref, placement in allocation.placements.items():
        if placement.slot is not None:
            slot = allocation.slots[placement.slot]
            preferring.setdefault((slot.gateway, slot.node), []).append(str(ref))
    for name, gateway in sorted(resolved.gateways.items()):
        down = [node.name for node in gateway.nodes if not node.ready]
        if not down:
            continue
        refs = sorted(ref for node in down for ref in preferring.get((name, node), ()))
        message = f"{listing(down)} of EgressGateway {name} {'is' if len(down) == 1 else 'are'} not ready"
        if len(down) == len(gateway.nodes):
            message += ", and it has no other node"
        prefer = counted(len(refs), "policy prefers", "policies prefer")
        what = f"; {prefer} such a node ({listing(refs)})" if refs else ""
        found.warning(
            "gateway-not-ready",
            message + what,
            gateway.gateway.document.key_at("spec", "nodeSelector"),
            hint="VRRP moves EIPs by itself where a node is dead; 'egress-compiler move' moves them for good",
        )
