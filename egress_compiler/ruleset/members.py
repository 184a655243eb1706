"""What the ruleset has of policies and slots where the node adds its pods by itself: chains that stand ready."""

from __future__ import annotations

from collections.abc import Iterator

from egress_compiler.contract.members import Chains, MemberPolicy, MemberSlot
from egress_compiler.contract.plan import NodePlan, Slot
from egress_compiler.ruleset.fallback import waits
from egress_compiler.ruleset.model import Chain
from egress_compiler.ruleset.steering import answer_chain, policy_chain, slot_chain
from egress_compiler.ruleset.writer import chain_rules


def kept_chains(plan: NodePlan) -> tuple[str, ...]:
    """Names of the chains that a node which follows its pods has without any: those of members.json lead to them."""
    if plan.follow is None:
        return ()
    slots = (name for slot in plan.worker.slots for name in _of_slot(slot))
    return ("governed", "blocked", "direct", *slots)


def policy_lines(policy: MemberPolicy, slot: Slot | None) -> Chains:
    """The chains of a policy, and of its answer where it has one, which implies the slot."""
    # Without the user's words, which are no rules.
    chains = [policy_chain(policy.chain, "")]
    if policy.answer is not None and slot is not None:
        chains.append(answer_chain(policy.answer, slot))
    return _lines(chains)


def slot_lines(member: MemberSlot) -> Chains:
    """The chains of a slot on a node that cannot have it itself."""
    slot = member.slot
    return _lines([slot_chain(slot), *([waits(slot.number)] if slot.falls_back else [])])


def _lines(chains: list[Chain]) -> Chains:
    return {chain.name: chain_rules(chain) for chain in chains}


def _of_slot(slot: Slot) -> Iterator[str]:
    yield f"slot.{slot.number}"
    if slot.falls_back:
        yield f"waits.{slot.number}"
