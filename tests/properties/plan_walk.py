"""One connection's first packet by the NodePlans themselves, before any text is made of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address
from typing import TypeVar

from egress_compiler.ir import NodePlan, SnatAnswer, Source, SteerAnswer
from tests.properties.oracle import covers

IP = IPv4Address | IPv6Address
Answer = TypeVar("Answer", SteerAnswer, SnatAnswer)


def leave(plans: Mapping[str, NodePlan], start: str, source: IP, destination: IP) -> Mapping[str, str]:
    """As ``packet_path.leave``: what a connection leaves with, by the gateway node that is its slot's master."""
    plan = plans[start]
    inside = plan.inside4 if source.version == 4 else plan.inside6
    if covers(inside, destination):
        return {"": "direct"}
    name = _class_of(plan.steer_sources.pods4 if source.version == 4 else plan.steer_sources.pods6, source)
    name = name or _class_of(
        plan.steer_sources.subnets4 if source.version == 4 else plan.steer_sources.subnets6, source
    )
    if name is None:
        return {"": "direct"}
    (steer,) = (c for c in plan.steer_classes if c.name == name)
    answer = _answer(steer.ipv4 if source.version == 4 else steer.ipv6, destination)
    if answer is None:
        return {"": "direct"}
    if answer.slot is None:
        return {"": "direct" if answer.direct else "blocked"}
    assert answer.slot in {slot.number for slot in plan.slots}
    assert any(rule.slot == answer.slot and rule.family == source.version for rule in plan.rules)
    masters = [p for p in plans.values() if any(instance.slot == answer.slot for instance in p.vrrp)]
    assert masters, f"nobody has slot {answer.slot}"
    return {master.node: _translated(master, answer.slot, source, destination) for master in masters}


def _class_of(sources: Iterable[Source], address: IP) -> str | None:
    return next((source.traffic_class for source in sources if covers([source.source], address)), None)


def _answer(answers: Sequence[Answer], destination: IP) -> Answer | None:
    named = [a for a in answers if covers(a.destinations, destination)]
    assert len(named) <= 1, f"{destination} has {len(named)} answers in one class"
    return named[0] if named else next((a for a in answers if not a.destinations), None)


def _translated(plan: NodePlan, slot: int, source: IP, destination: IP) -> str:
    four = source.version == 4
    maps = plan.snat_sources
    name = _class_of(maps.pods4 if four else maps.pods6, source)
    name = name or _class_of(maps.subnets4 if four else maps.subnets6, source)
    assert name is not None, f"{plan.node} could own slot {slot} and does not know {source}"
    (snat,) = (c for c in plan.snat_classes if c.name == name)
    answer = _answer(snat.ipv4 if four else snat.ipv6, destination)
    assert answer is not None
    assert answer.slot == slot
    if answer.address is None:
        return "blocked"
    assert answer.address in (plan.snat_addresses4 if four else plan.snat_addresses6)
    return answer.address
