"""Slots that a gateway node may have itself: who has the tunnel VIP is master, and its pods go over the veth pair."""

from __future__ import annotations

from egress_compiler.contract.numbers import OWN_SLOT_MARK
from egress_compiler.contract.plan import NodePlan, Slot
from egress_compiler.net import FAMILIES
from egress_compiler.ruleset.model import Chain, Feature, Rule
from egress_compiler.ruleset.words import IP, set_mark


def own_slots(plan: NodePlan) -> Feature:
    if not numbers(plan):
        return Feature()
    note = "The kernel is asked for the tunnel VIP as if the packet went there, and nobody else has a say."
    back = tuple(Rule(statement=f"{IP[f]} daddr set ct reply {IP[f]} saddr") for f in FAMILIES)
    return Feature(chains=(Chain("keep_destination", back, (note,)),))


def numbers(plan: NodePlan) -> frozenset[int]:
    """Of the slots that the node's own pods use and the node may have."""
    if plan.gateway is None:
        return frozenset()
    used = {slot.number for slot in plan.worker.slots}
    return frozenset(membership.slot for membership in plan.gateway.memberships if membership.slot in used)


def rules(slot: Slot) -> tuple[Rule, ...]:
    """What the chain of such a slot has besides its mark."""
    asked = tuple(
        Rule(
            statement=f"{'ip6' if ':' in vip else 'ip'} daddr set {vip} fib daddr type local {set_mark(OWN_SLOT_MARK)}"
        )
        for vip in slot.tunnel_vips
    )
    return (*asked, Rule(verdict="goto keep_destination"))
