"""``fallback: nodeIP``: while no gateway answers, new connections leave with the address of the pod's node."""

from __future__ import annotations

from egress_compiler.contract.numbers import (
    FOREIGN_BITS,
    MARK_MASK,
    MARK_PREFIX,
    WITHOUT_GATEWAY_S,
    answer_mark,
    slot_mark,
)
from egress_compiler.contract.plan import NodePlan
from egress_compiler.ruleset.hooks import NO_GATEWAY
from egress_compiler.ruleset.model import Chain, Element, Feature, Rule, Set
from egress_compiler.ruleset.words import CT_MARK, CT_PREFIX, giver, mark, set_mark

_SLOT = f"meta mark & {MARK_MASK:#010x}"


def fallback(plan: NodePlan) -> Feature:
    slots = [slot for slot in plan.worker.slots if slot.falls_back]
    if not slots and not (plan.follow is not None and plan.follow.falls_back):
        return Feature()
    numbers = {slot.number for slot in slots}
    waiting = tuple(
        Element(mark(answer_mark(a.number)), f"jump waits.{a.slot}", giver(a))
        for a in plan.worker.answers
        if a.slot in numbers
    )
    sets = (
        Set(
            "without_gateway",
            "mark",
            (),
            "Slots for which nobody has answered lately; the kernel keeps it.",
            options=("flags dynamic,timeout", f"timeout {WITHOUT_GATEWAY_S}s"),
        ),
        Set("answers_that_fall_back", "mark", waiting, "Answers of slots that fall back.", "verdict"),
    )
    errors = (
        "icmp type destination-unreachable icmp code host-unreachable",
        "icmpv6 type destination-unreachable icmpv6 code addr-unreachable",
    )
    told = tuple(
        Rule(f"{error} ct state related ct direction reply {CT_MARK}", verdict="vmap @answers_that_fall_back")
        for error in errors
    )
    return Feature(sets, {NO_GATEWAY.name: told}, tuple(waits(slot.number) for slot in slots))


def waits(slot: int) -> Chain:
    """The mark is a set's element for a moment, as nft takes no constant for one."""
    return Chain(
        f"waits.{slot}",
        (
            Rule(statement=set_mark(slot_mark(slot))),
            Rule(statement=f"update @without_gateway {{ {_SLOT} }}"),
            Rule(statement=f"meta mark set meta mark & {FOREIGN_BITS:#010x}"),
        ),
    )


def around(slot: int) -> tuple[tuple[Rule, ...], tuple[Rule, ...]]:
    """What an answer of a slot that falls back has before and behind its number."""
    before = (
        Rule(
            f"ct status & confirmed != 0 {CT_PREFIX} != {mark(MARK_PREFIX)}",
            verdict="goto direct",
            comment="began with the node's address",
        ),
    )
    after = (
        Rule(statement=set_mark(slot_mark(slot))),
        Rule(
            f"ct status & confirmed == 0 {_SLOT} @without_gateway",
            f"ct mark set ct mark & {FOREIGN_BITS:#010x}",
            "goto direct",
            counter=True,
            comment="no gateway answers: the node's address",
        ),
    )
    return before, after
