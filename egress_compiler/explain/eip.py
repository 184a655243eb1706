"""Who leaves with an EIP, read from the plan of the gateway that prefers it."""

from __future__ import annotations

from collections.abc import Iterator

from egress_compiler.explain.lines import Files, gathered
from egress_compiler.explain.model import EipExplanation, Gateway, Line, User
from egress_compiler.ir import NodePlan, VrrpInstance
from egress_compiler.net import Address, Family, contains, format_address, nth, rank
from egress_compiler.pipeline import Analysis
from egress_compiler.resolve import ResolvedGateway


def explain_address(analysis: Analysis, address: Address) -> EipExplanation | None:
    """Who leaves with ``address``: an EIP, used or not, or a gateway node's own; None where it is neither."""
    text = format_address(*address)
    plans = {node: analysis.nodes.plan(node) for node in analysis.nodes.gateways}
    for name, gateway in analysis.resolved.gateways.items():
        if contains(gateway.gateway.pool[address.family], address.value):
            return _eip(analysis, plans, name, address)
    for plan in plans.values():
        if text in (*plan.snat_addresses4, *plan.snat_addresses6):
            users = tuple(_users(plan, address.family, text))
            policies = tuple(sorted({user.policy for user in users}))
            return EipExplanation(
                text, "", "", f"node {plan.node}'s own address, for useNodeIP", None, (), policies, users, ()
            )
    return None


def _eip(analysis: Analysis, plans: dict[str, NodePlan], name: str, address: Address) -> EipExplanation:
    gateway, text = analysis.resolved.gateways[name], format_address(*address)
    partner, place = _partner(analysis, gateway, address)
    instances = [(v.priority, plan.node, v) for plan in plans.values() for v in plan.vrrp if _has(v, text)]
    instances.sort(key=lambda entry: (-entry[0], entry[1]))
    nodes = tuple(Gateway(node, priority, text) for priority, node, _ in instances)
    users = tuple(_users(plans[nodes[0].node], address.family, text)) if nodes else ()
    return EipExplanation(
        address=text,
        partner=partner,
        gateway=name,
        place=place,
        slot=instances[0][2].slot if instances else None,
        nodes=nodes,
        policies=_policies(analysis, name, address),
        users=users,
        lines=_lines(Files(analysis.nodes.text), nodes[0].node, instances[0][2], text) if instances else (),
    )


def _has(instance: VrrpInstance, address: str) -> bool:
    return any(eip.address == address for eip in instance.eips)


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


def _users(plan: NodePlan, family: Family, address: str) -> Iterator[User]:
    """Sources whose class gives some destination the address."""
    answers = {
        snat.name: [a for a in (snat.ipv4 if family == 4 else snat.ipv6) if a.address == address]
        for snat in plan.snat_classes
    }
    maps = plan.snat_sources
    for source in (*maps.pods4, *maps.subnets4) if family == 4 else (*maps.pods6, *maps.subnets6):
        for answer in answers[source.traffic_class]:
            yield User(source.source, source.owner, answer.destinations, answer.origin)


def _lines(files: Files, node: str, instance: VrrpInstance, address: str) -> tuple[Line, ...]:
    keepalived, nft = f"nodes/{node}/keepalived.conf", f"nodes/{node}/nftables.nft"
    head = f"vrrp_instance {instance.name} {{"
    return gathered(
        files.line(keepalived, head),
        files.within(keepalived, head, "priority "),
        files.within(keepalived, head, f"{address}/"),
        files.line(nft, "snat ip", f" to {address} "),
    )
