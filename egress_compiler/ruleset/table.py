"""A node's whole table: every feature's part, base chains in the order in which a packet meets them."""

from __future__ import annotations

from collections.abc import Mapping

from egress_compiler.contract.plan import NodePlan
from egress_compiler.ruleset.fallback import fallback
from egress_compiler.ruleset.guards import guards
from egress_compiler.ruleset.hooks import BASE_CHAINS
from egress_compiler.ruleset.icmp_errors import icmp_errors
from egress_compiler.ruleset.members import kept_chains
from egress_compiler.ruleset.model import Ruleset
from egress_compiler.ruleset.neighbours import neighbours
from egress_compiler.ruleset.own_slots import own_slots
from egress_compiler.ruleset.replies import replies
from egress_compiler.ruleset.segment_size import segment_size
from egress_compiler.ruleset.steering import steering
from egress_compiler.ruleset.translation import translation
from egress_compiler.ruleset.uplinks import uplinks
from egress_compiler.ruleset.zones import zones


def ruleset(plan: NodePlan, descriptions: Mapping[str, str]) -> Ruleset:
    """``descriptions`` has the user's words by policy and EgressGateway, for comments.

    The order of the features is that of their rules within a base chain: what comes back from a gateway first, then
    what goes through one, then what begins here, then what nothing else has taken.
    """
    features = (
        replies(plan),
        zones(plan),
        translation(plan),
        uplinks(plan),
        steering(plan, descriptions),
        own_slots(plan),
        fallback(plan),
        guards(plan),
        segment_size(plan),
        icmp_errors(plan),
        neighbours(plan),
    )
    base = ((chain, tuple(r for f in features for r in f.base.get(chain.name, ()))) for chain in BASE_CHAINS)
    return Ruleset(
        node=plan.node,
        role=plan.role,
        sets=tuple(s for feature in features for s in feature.sets),
        base=tuple((chain, rules) for chain, rules in base if rules),
        chains={chain.name: chain for feature in features for chain in feature.chains},
        kept=kept_chains(plan),
    )
