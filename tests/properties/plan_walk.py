"""One connection's first packet by the NodePlans themselves, before any text is made of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv6Address

from egress_compiler.contract.plan import NodePlan, PolicyAnswer, Source
from tests.properties.oracle import covers

IP = IPv4Address | IPv6Address


def leave(plans: Mapping[str, NodePlan], start: str, source: IP, destination: IP) -> Mapping[str, str]:
    """As ``packet_path.leave``: what a connection leaves with, by the gateway node that is its slot's master."""
    plan, version = plans[start], source.version
    if covers(plan.inside.of(version), destination):
        return {"": "direct"}
    answer = _answer(plan, source, destination)
    if answer is None or answer.direct:
        return {"": "direct"}
    if answer.number is None:
        return {"": "blocked"}
    assert version in plan.kernel.families
    (slot,) = {known.slot for known in plan.worker.answers if known.number == answer.number}
    assert slot in {known.number for known in plan.worker.slots}
    masters = [p for p in plans.values() if p.gateway and slot in {m.slot for m in p.gateway.memberships}]
    assert masters, f"nobody has slot {slot}"
    assert {p.node for p in plans.values() if p.gateway and _knows(p, answer.number)} == {p.node for p in masters}
    return {master.node: _translated(master, answer.number, slot, version) for master in masters}


def _answer(plan: NodePlan, source: IP, destination: IP) -> PolicyAnswer | None:
    """That of the first policy of the source's order which wants the destination."""
    worker, version = plan.worker, source.version
    name = _chain_of(worker.pods.of(version), source) or _chain_of(worker.subnets.of(version), source)
    if name is None:
        return None
    orders = {order.name: order.policies for order in worker.orders}
    policies = {policy.name: policy for policy in worker.policies}
    assert not orders.keys() & policies.keys()
    for policy in orders.get(name, (name,)):
        answer = policies[policy].answers.of(version)
        if answer is not None and (not answer.destinations or covers(answer.destinations, destination)):
            return answer
    return None


def _chain_of(sources: Iterable[Source], address: IP) -> str | None:
    return next((source.chain for source in sources if covers([source.source], address)), None)


def _knows(plan: NodePlan, number: int) -> bool:
    return plan.gateway is not None and any(t.number == number for t in plan.gateway.translations)


def _translated(plan: NodePlan, number: int, slot: int, version: int) -> str:
    assert plan.gateway is not None
    (translation,) = (t for t in plan.gateway.translations if t.number == number)
    assert translation.slot == slot
    address = translation.addresses.of(version)
    if address is None:
        return "blocked"
    assert address in plan.gateway.leave_with.of(version)
    assert translation.own != (address in plan.gateway.eips.of(version))
    return address
