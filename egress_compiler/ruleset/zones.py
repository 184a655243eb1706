"""Conntrack zones: a connection in the gateway role is not the same as in the worker role, whichever node has both."""

from __future__ import annotations

from egress_compiler.contract.elements import inside_set
from egress_compiler.contract.numbers import GATEWAY_MARK_PREFIX, GATEWAY_ZONE, NUMBER_MASK
from egress_compiler.contract.plan import NodePlan
from egress_compiler.net import FAMILIES
from egress_compiler.ruleset.hooks import ZONES
from egress_compiler.ruleset.model import Chain, Element, Feature, Rule, Set
from egress_compiler.ruleset.words import IP, giver, inwards, mark

_GATEWAY = f"{GATEWAY_MARK_PREFIX:#010x}"


def zones(plan: NodePlan) -> Feature:
    """What comes by the tunnel or the veth pair, and what answers an EIP."""
    if plan.gateway is None:
        return Feature()
    own = tuple(
        Element(mark(GATEWAY_MARK_PREFIX | t.number), note=giver(t)) for t in plan.gateway.translations if t.own
    )
    came = (Rule(f"iifname {inwards(plan)}", verdict="goto gateway_zone"),)
    answers = tuple(
        Rule(f"{IP[f]} daddr @eips{f} {IP[f]} saddr != @{inside_set(f)}", f"ct zone set {GATEWAY_ZONE}")
        for f in FAMILIES
    )
    rules = [Rule(statement=f"meta mark set meta mark & {NUMBER_MASK:#010x} | {_GATEWAY}")]
    if own:
        rules.append(Rule("meta mark @own_address_answers", f"ct original zone set {GATEWAY_ZONE}", "accept"))
    rules.append(Rule(statement=f"ct zone set {GATEWAY_ZONE}"))
    note = "The mark that the tunnel brought is the answer number: nothing else of it is believed."
    reason = "Answers that are this node's own address (useNodeIP): replies come among everybody else's, in zone 0."
    sets = (Set("own_address_answers", "mark", own, reason),) if own else ()
    return Feature(sets, {ZONES.name: (*came, *answers)}, (Chain("gateway_zone", tuple(rules), (note,)),))
