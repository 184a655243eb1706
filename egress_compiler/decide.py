"""Which address one packet leaves with, by walking the policies in their order.

This is the language's meaning said plainly, one packet at a time; ``lower`` says the same for all packets at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from egress_compiler.allocate import Allocation
from egress_compiler.model.policy import Ref
from egress_compiler.net import Address, contains, format_address
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


def decide(resolved: Resolved, allocation: Allocation, source: Address, destination: Address) -> Decision:
    """What becomes of a new connection from a pod's address to ``destination``; both of one family."""
    if contains(resolved.inside[destination.family], destination.value):
        return DIRECT
    for policy in matching_source(resolved, source):
        wanted = policy.policy.destinations
        if wanted is None or contains(wanted[destination.family], destination.value):
            return _outcome(resolved, allocation, policy, destination)
    return DIRECT


def matching_source(resolved: Resolved, source: Address) -> Iterator[ResolvedPolicy]:
    """The policies that select ``source``, in the order in which packets meet them.

    None where only pods of nodes without a configuration have the address: their packets meet nothing of ours.
    """
    pods = frozenset(position for position, pod in enumerate(resolved.cluster.pods) if source in pod.addresses)
    others = resolved.cluster.others
    if pods and all(resolved.cluster.pods[position].node in others for position in pods):
        return
    for policy in resolved.policies:
        if not pods.isdisjoint(policy.pods) or contains(policy.subnets[source.family], source.value):
            yield policy


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
