"""Uplinks with tables of their own: the path is chosen before the address, by the same answer number."""

from __future__ import annotations

from collections.abc import Iterator

from egress_compiler.contract.numbers import PREFIX_MASK, uplink_mark
from egress_compiler.contract.plan import GatewayRole, NodePlan
from egress_compiler.net import FAMILIES, Family
from egress_compiler.ruleset.model import Chain, Element, Feature, Rule, Set
from egress_compiler.ruleset.words import ADDRESS, CT_NUMBER, IP, PROTOCOL, giver, mark

_REST = f"{0xFFFFFFFF ^ PREFIX_MASK:#010x}"


def uplinks(plan: NodePlan) -> Feature:
    gateway = plan.gateway
    if gateway is None or not gateway.uplinks:
        return Feature()
    sets: list[Set] = []
    for family in FAMILIES:
        elements = tuple(
            Element(cidr, f"goto uplink.{uplink.number}")
            for uplink in gateway.uplinks
            for cidr in uplink.cidrs.of(family)
        )
        reason = "Whose EIP an open connection has: its uplink."
        sets.append(Set(f"uplink_subnets{family}", ADDRESS[family], elements, reason, "verdict", interval=True))
        sets += _answers(gateway, family)
    note = "A connection goes on by the uplink of the EIP that it has, whatever new ones get."
    paths = tuple(Rule(f"ct reply {IP[f]} daddr", verdict=f"vmap @uplink_subnets{f}") for f in FAMILIES)
    chains = [Chain("open_path", paths, (note,))]
    for uplink in gateway.uplinks:
        prefix = Rule(statement=f"meta mark set meta mark & {_REST} | {mark(uplink_mark(uplink.number))}")
        chains.append(Chain(f"uplink.{uplink.number}", (prefix,), (uplink.interface,)))
    return Feature(tuple(sets), {}, tuple(chains))


def _answers(gateway: GatewayRole, family: Family) -> Iterator[Set]:
    elements = tuple(
        Element(mark(t.number), f"goto uplink.{t.uplinks.of(family)}", giver(t))
        for t in gateway.translations
        if t.uplinks.of(family)
    )
    if elements:
        reason = "The uplink of each answer number that does not leave by the node's own routes."
        yield Set(f"uplink_answers{family}", "mark", elements, reason, "verdict")


def chosen(gateway: GatewayRole) -> Iterator[Rule]:
    """Where what came from a worker goes on."""
    if not gateway.uplinks:
        return
    yield Rule("ct status snat", verdict="goto open_path")
    for family in FAMILIES:
        if any(t.uplinks.of(family) for t in gateway.translations):
            yield Rule(f"meta nfproto {PROTOCOL[family]} {CT_NUMBER}", verdict=f"vmap @uplink_answers{family}")
