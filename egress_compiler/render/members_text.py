"""members.json: a policy, a slot or a gone answer a line, so that a diff shows which."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from egress_compiler.contract.members import MEMBERS_VERSION, NOWHERE, MemberPolicy, MemberSlot
from egress_compiler.contract.plan import Answer, Slot
from egress_compiler.contract.selectors import LabelSelector
from egress_compiler.render.plan_text import one_line
from egress_compiler.ruleset.members import policy_lines, slot_lines

FIRST_POLICY = 4
"""The number of its line, from 1; policies stand by rank, and behind two lines more the slots."""


def members_json(policies: Iterable[MemberPolicy], slots: Iterable[MemberSlot], gone: Iterable[Answer]) -> str:
    """Each kind in its order; the chains are made here."""
    by_number = {member.slot.number: member for member in slots}
    parts = {
        "policies": (_policy(policy, by_number) for policy in policies),
        "slots": (_slot(member) for member in by_number.values()),
        "gone": map(one_line, gone),
    }
    lists = (f' "{name}": [' + _listed(lines) + "\n ]" for name, lines in parts.items())
    return "{\n" + ",\n".join([f' "version": {MEMBERS_VERSION}', *lists]) + "\n}\n"


def _listed(lines: Iterable[str]) -> str:
    return ",".join(f"\n  {line}" for line in lines)


def _policy(policy: MemberPolicy, slots: Mapping[int, MemberSlot]) -> str:
    """What has its default is not said."""
    answer = policy.answer
    slot: Slot | None = slots[answer.slot].slot if answer is not None else None
    return _object(
        {
            "namespace": _json(policy.namespace),
            "namespaces": _selector(policy.namespaces),
            "pods": _selector(policy.pods),
            "within": "" if policy.within == NOWHERE else _json(policy.within),
            "whole": "" if policy.whole == NOWHERE else _json(policy.whole),
            "cut": "true" if policy.cut else "",
            "chain": one_line(policy.chain),
            "answer": "" if answer is None else one_line(answer),
            "chains": _json(policy_lines(policy, slot)),
        }
    )


def _slot(member: MemberSlot) -> str:
    return _object({"slot": one_line(member.slot), "chains": _json(slot_lines(member))})


def _selector(selector: LabelSelector | None) -> str:
    """Its requirements, sorted, as all of them must hold."""
    if selector is None:
        return ""
    said: Iterator[dict[str, Any]] = (
        {"key": r.key, "operator": r.operator} | ({"values": sorted(r.values)} if r.values else {})
        for r in selector.requirements
    )
    return "[" + ",".join(sorted(map(_json, said))) + "]"


def _object(values: Mapping[str, str]) -> str:
    """Of texts in JSON; empty ones are left out."""
    return "{" + ",".join(f'"{name}":{text}' for name, text in values.items() if text) + "}"


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
