"""Slots that a gateway node may have itself: who has the tunnel VIP is master, and its pods go over the veth pair."""

from __future__ import annotations

from egress_compiler.contract.numbers import OWN_SLOT_MARK
from egress_compiler.contract.plan import NodePlan, Slot
from egress_compiler.net import FAMILIES
from egress_compiler.ruleset.model import Chain, Feature, Rule
from egress_compiler.ruleset.words import IP, set_mark


def own_slots(plan: NodePlan) -> Feature:
    if not any(rules(plan, slot) for slot in plan.worker.slots):
        return Feature()
    note = "The kernel is asked for the tunnel VIP as if the packet went there, and nobody else has a say."
    back = tuple(Rule(statement=f"{IP[f]} daddr set ct reply {IP[f]} saddr") for f in FAMILIES)
    return Feature(chains=(Chain("keep_destination", back, (note,)),))


def rules(plan: NodePlan, slot: Slot) -> tuple[Rule, ...]:
    """What the chain of a slot has besides its mark, where the node may have the slot."""
    if plan.gateway is None or slot.number not in {m.slot for m in plan.gateway.memberships}:
        return ()
    asked = tuple(
        Rule(
            statement=f"{'ip6' if ':' in vip else 'ip'} daddr set {vip} fib daddr type local {set_mark(OWN_SLOT_MARK)}"
        )
        for vip in slot.tunnel_vips
    )
    return (*asked, Rule(verdict="goto keep_destination"))
