"""Who leaves with an EIP: policies by what they were given, sources by who wins."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from egress_compiler.contract.plan import GatewayRole, NodePlan
from egress_compiler.explain.lines import Generated
from egress_compiler.explain.model import EipExplanation, Gateway, Line, User
from egress_compiler.net import Address, Family, contains, format_address, format_interval, nth, rank
from egress_compiler.pipeline import Analysis
from egress_compiler.resolve import ResolvedGateway
from egress_compiler.ruleset.words import mark


def explain_address(analysis: Analysis, address: Address) -> EipExplanation | None:
    """Who leaves with ``address``: an EIP, used or not, or a gateway node's own; None where it is neither."""
    for name, gateway in analysis.resolved.gateways.items():
        if contains(gateway.gateway.pool[address.family], address.value):
            return _eip(analysis, name, address)
    text = format_address(*address)
    for node in analysis.nodes.gateways:
        policies = _translated(analysis.nodes.plan(node), address.family, text)
        if policies:
            place = f"node {node}'s own address, for useNodeIP"
            users = tuple(_users(analysis, address.family, policies))
            return EipExplanation(text, "", "", place, None, (), policies, users, ())
    return None


def _translated(plan: NodePlan, family: Family, address: str) -> tuple[str, ...]:
    """The policies whose answer numbers a gateway translates to the address."""
    given = plan.gateway.translations if plan.gateway is not None else ()
    return tuple(sorted(one.origin for one in given if one.addresses.of(family) == address and not one.gone))


def _eip(analysis: Analysis, name: str, address: Address) -> EipExplanation:
    gateway, text = analysis.resolved.gateways[name], format_address(*address)
    partner, place = _partner(analysis, gateway, address)
    nodes = _nodes(analysis, text)
    plan = analysis.nodes.plan(nodes[0].node) if nodes else None
    role = plan.gateway if plan is not None else None
    slot = next((m.slot for m in role.memberships if any(e.address == text for e in m.eips)), None) if role else None
    return EipExplanation(
        address=text,
        partner=partner,
        gateway=name,
        place=place,
        slot=slot,
        nodes=nodes,
        policies=_policies(analysis, name, address),
        users=tuple(_users(analysis, address.family, _translated(plan, address.family, text))) if plan else (),
        lines=tuple(_lines(Generated(analysis.nodes, nodes[0].node), slot, address)) if slot is not None else (),
    )


def _nodes(analysis: Analysis, text: str) -> tuple[Gateway, ...]:
    """The gateway nodes that may have the EIP, the preferred one first."""
    found: list[tuple[int, Gateway]] = []
    for node in analysis.nodes.gateways:
        role = analysis.nodes.plan(node).gateway
        for membership in role.memberships if role is not None else ():
            if role is not None and any(eip.address == text for eip in membership.eips):
                found.append((membership.place, Gateway(node, _priority(role, membership.slot), text)))
    return tuple(gateway for _, gateway in sorted(found))


def _priority(role: GatewayRole, slot: int) -> int:
    return next(instance.priority for instance in role.vrrp if slot in instance.slots)


def _partner(analysis: Analysis, gateway: ResolvedGateway, address: Address) -> tuple[str, str]:
    """The addresses that are used with it, or the pair's other one; and which of the pool it is."""
    pool = gateway.gateway.pool
    index = rank(pool[address.family], address.value)
    other: Family = 6 if address.family == 4 else 4
    given = (e for e in analysis.allocation.lock.policies.values() if e.gateway == gateway.gateway.name)
    couples = [(e.ipv4, e.ipv6) if address.family == 4 else (e.ipv6, e.ipv4) for e in given]
    used = sorted({partner for own, partner in couples if own == format_address(*address) and partner})
    if not used and pool[other]:
        used = [format_address(other, nth(pool[other], index))]
    return ", ".join(used), f"number {index + 1} of the pool"


def _policies(analysis: Analysis, gateway: str, address: Address) -> tuple[str, ...]:
    return tuple(
        str(policy.policy.ref)
        for policy in analysis.resolved.policies
        if policy.gateway.name == gateway
        and analysis.allocation.placements[policy.policy.ref].eip.of(address.family) == address.value
    )


def _users(analysis: Analysis, family: Family, policies: tuple[str, ...]) -> Iterator[User]:
    """Sources of which one of the policies wins some destination."""
    classified, resolved = analysis.classified, analysis.resolved
    if family not in resolved.families:
        return
    names, known = [str(entry.policy.ref) for entry in resolved.policies], resolved.cluster.pods
    pods = ((format_address(family, p.value), known[p.pod].key, p.order) for p in classified.pods[family])
    subnets = ((format_interval(family, s.interval), "podSubnet", s.order) for s in classified.subnets[family])
    for source, owner, order in chain(pods, subnets):
        for win in classified.wins(order, family):
            if names[win.policy] in policies:
                texts = () if win.rest else tuple(format_interval(family, i) for i in win.region.intervals)
                yield User(source, owner, texts, names[win.policy])


def _lines(files: Generated, slot: int, address: Address) -> Iterator[Line]:
    """What makes the gateway have the EIP, and leave with it."""
    text = format_address(*address)
    yield from files.keepalived("instance", slot)
    yield from files.keepalived("priority", slot)
    yield from files.keepalived("eip", slot, text)
    for one in files.plan.gateway.translations if files.plan.gateway is not None else ():
        if one.addresses.of(address.family) == text and not one.gone:
            yield from files.element(f"answers{address.family}", mark(one.number))
