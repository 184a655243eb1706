"""Which address one packet leaves with: what ``classify`` says of its source and destination, and where that leads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from egress_compiler.allocate import Allocation
from egress_compiler.classify import Classified
from egress_compiler.model.policy import Ref
from egress_compiler.net import Address, format_address
from egress_compiler.resolve import Resolved, ResolvedPolicy

Outcome = Literal["direct", "eip", "node-ip", "blocked"]


@dataclass(frozen=True, slots=True)
class Decision:
    """``direct``: no policy applies, or its gateway has no node and falls back.

    ``sources`` are the addresses that are right, the preferred node's first.
    """

    outcome: Outcome
    policy: Ref | None
    slot: int | None
    sources: tuple[str, ...]


DIRECT = Decision("direct", None, None, ())


def decide(classified: Classified, allocation: Allocation, source: Address, destination: Address) -> Decision:
    """What becomes of a new connection from a pod's address to ``destination``; both of one family."""
    winner = classified.winner(classified.order_of(source), destination)
    if winner is None:
        return DIRECT
    resolved = classified.resolved
    return _outcome(resolved, allocation, resolved.policies[winner], destination)


def _outcome(resolved: Resolved, allocation: Allocation, policy: ResolvedPolicy, destination: Address) -> Decision:
    ref, family = policy.policy.ref, destination.family
    placement = allocation.placements[ref]
    if placement.slot is None:
        return Decision("direct" if policy.gateway.falls_back else "blocked", ref, None, ())
    if placement.use_node_ip:
        by_name = {node.name: node for node in resolved.gateways[policy.gateway.name].nodes}
        own = (by_name[name].address(family) for name in allocation.slots[placement.slot].order)
        sources = tuple(format_address(family, value) for value in own if value is not None)
        return Decision("node-ip", ref, placement.slot, sources) if sources else Decision("blocked", ref, None, ())
    value = placement.eip.of(family)
    if value is None or family not in resolved.families:
        return Decision("blocked", ref, None, ())
    return Decision("eip", ref, placement.slot, (format_address(family, value),))
