"""Neighbour solicitations of a gateway come from its own address, never from an EIP.

The kernel asks for the next hop from the address of the packet that waits, and whoever is asked takes the asker for its
owner, also one that is no longer master (arp_announce does the same for IPv4).
"""

from __future__ import annotations

from egress_compiler.contract.plan import NodePlan
from egress_compiler.ruleset.hooks import OUTER
from egress_compiler.ruleset.model import Feature, Rule
from egress_compiler.ruleset.words import devices


def neighbours(plan: NodePlan) -> Feature:
    if plan.gateway is None or not plan.gateway.eips.ipv6:
        return Feature()
    rules = tuple(
        Rule(
            f"oifname {devices(own.interface)} icmpv6 type nd-neighbor-solicit ip6 saddr @eips6",
            f"ip6 saddr set {own.address}",
        )
        for own in plan.gateway.own6
    )
    return Feature(base={OUTER.name: rules})
