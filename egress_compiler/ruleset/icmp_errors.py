"""ICMP errors that a node itself sends about packets for a governed pod."""

from __future__ import annotations

from egress_compiler.contract.numbers import MARK_PREFIX
from egress_compiler.contract.plan import NodePlan
from egress_compiler.ruleset.hooks import ICMP_ERRORS, ICMP_ERRORS_ROUTED
from egress_compiler.ruleset.model import Feature, Rule
from egress_compiler.ruleset.steering import has_answers
from egress_compiler.ruleset.words import CT_MARK, PREFIX, mark

_ICMP = "meta l4proto { icmp, icmpv6 }"


def icmp_errors(plan: NodePlan) -> Feature:
    if not has_answers(plan):
        return Feature()
    related = f"{_ICMP} ct state related ct direction original {CT_MARK}"
    base = {
        ICMP_ERRORS.name: (Rule(related, verdict="vmap @answer_slots"),),
        ICMP_ERRORS_ROUTED.name: (Rule(f"{_ICMP} {PREFIX} == {mark(MARK_PREFIX)}", "meta mark set 0"),),
    }
    return Feature(base=base)
