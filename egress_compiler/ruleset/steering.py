"""The worker role: source -> its policies in order -> destination -> answer number -> slot.

A pod in one policy goes to the policy's chain, one in several to a chain that walks them in order.  A policy's chain
goes back where the destination is none of its own, and else ends with an answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache, lru_cache

from egress_compiler.contract.elements import inside_set
from egress_compiler.contract.membership_ruleset import verdict
from egress_compiler.contract.numbers import MARK_PREFIX, answer_mark, slot_mark
from egress_compiler.contract.plan import Answer, NodePlan, PolicyAnswer, PolicyChain, PolicyOrder, Slot, Source
from egress_compiler.net import FAMILIES, Family
from egress_compiler.ruleset import fallback, own_slots
from egress_compiler.ruleset.hooks import FORWARD, GUARD, NUMBERED, OUTER, POSTROUTING, PREROUTING
from egress_compiler.ruleset.model import Chain, Element, Feature, Rule, Set
from egress_compiler.ruleset.words import (
    ADDRESS,
    CT_MARK,
    CT_NUMBER,
    CT_PREFIX,
    IP,
    PREFIX,
    PROTOCOL,
    address_set,
    comment,
    giver,
    mark,
    onwards,
    rule_comment,
    same,
    set_ct_mark,
    set_mark,
    underlay_family,
)

GOVERNED = f"{CT_PREFIX} == {mark(MARK_PREFIX)}"
UNMARKED = f"{PREFIX} == 0"
_VERDICT = "verdict"


def steering(plan: NodePlan, descriptions: Mapping[str, str]) -> Feature:
    worker = plan.worker
    into_tunnel = f"oifname {onwards(plan)}"
    answers = has_answers(plan)
    base = {
        PREROUTING.name: (*_classified(answers), *_looked_at(plan)),
        FORWARD.name: (Rule(f"{into_tunnel} {PREFIX} == {mark(MARK_PREFIX)}", verdict="goto to_gateway"),),
        OUTER.name: _outer(plan),
        NUMBERED.name: (Rule(f"{into_tunnel} ct direction original {GOVERNED}", f"meta mark set {CT_NUMBER}"),),
        POSTROUTING.name: (Rule(f"{into_tunnel} {GOVERNED}", verdict="goto keep_source"),),
        GUARD.name: (
            Rule(
                f"ct direction original {GOVERNED} oifname != {onwards(plan)}",
                verdict="drop",
                counter=True,
                comment="governed, and not on the way to a gateway",
            ),
        ),
    }
    slots, own = {slot.number: slot for slot in worker.slots}, own_slots.numbers(plan)
    chains = [
        *_entrances(answers),
        *(_order_chain(order) for order in worker.orders),
        *(policy_chain(policy, descriptions.get(policy.origin, "")) for policy in worker.policies),
        *(answer_chain(answer, slots[answer.slot]) for answer in worker.answers if not answer.gone),
        *(slot_chain(slot, own_slots.rules(slot) if slot.number in own else ()) for slot in worker.slots),
        *_ends(),
    ]
    return Feature(tuple(_sets(plan)), base, tuple(chains))


def has_answers(plan: NodePlan) -> bool:
    """Whether the node gives answers, or may when it has pods."""
    return bool(plan.worker.answers) or plan.follow is not None


def _sets(plan: NodePlan) -> Iterator[Set]:
    worker = plan.worker
    reasons = same("Inside the cluster: never sent through a gateway.")
    for family in FAMILIES:
        yield address_set(inside_set(family), family, plan.inside.of(family), reasons[family], interval=True)
    orders = frozenset(order.name for order in worker.orders)
    reasons = same("Governed pods of this node, and the policies that each of them meets.")
    for family in FAMILIES:
        elements = _source_elements(worker.pods.of(family), orders)
        yield Set(f"governed_pods{family}", ADDRESS[family], elements, reasons[family], _VERDICT)
    reasons = same("Governed source subnets, for pods that are not listed above.")
    for family in FAMILIES:
        elements = _source_elements(worker.subnets.of(family), orders)
        yield Set(f"governed_subnets{family}", ADDRESS[family], elements, reasons[family], _VERDICT, interval=True)
    reasons = same("Where this node's pods have their addresses from; the last resort of routing asks the same.")
    for family in FAMILIES:
        ranges = plan.last_resort.ranges.of(family)
        if ranges or plan.follow is not None:
            yield address_set(f"pod_ranges{family}", family, ranges, reasons[family], interval=True)
    if has_answers(plan):
        elements = tuple(
            Element(mark(answer_mark(a.number)), f"goto slot.{a.slot}", giver(a))
            for a in sorted(worker.answers, key=lambda a: a.number)
        )
        yield Set("answer_slots", "mark", elements, "The slot of each answer that this node gives.", _VERDICT)


def _source_elements(sources: Sequence[Source], orders: frozenset[str]) -> tuple[Element, ...]:
    """``orders`` are the chains of several policies; all others are of one."""
    return tuple(Element(s.source, verdict(s, orders), s.owner) for s in sources)


@cache
def _classified(answers: bool) -> tuple[Rule, ...]:
    rules = [
        Rule("ct state != { established, related }", verdict="jump classify"),
        # Its address and port were another pod's, whose EIP it must not have.
        Rule(
            f"ct state established ct direction original {GOVERNED} tcp flags & (fin | syn | rst | ack) == syn",
            verdict="reject with tcp reset",
            counter=True,
            comment="the address was another pod's",
        ),
    ]
    if answers:
        rules.append(Rule(f"ct direction original {CT_MARK}", verdict="vmap @answer_slots"))
        rules.append(Rule(f"ct direction original {GOVERNED} {UNMARKED}", verdict="jump adopt"))
    return tuple(rules)


def _looked_at(plan: NodePlan) -> Iterator[Rule]:
    """Whoever takes the table away empties maps at once and sets later, and a packet that found no answer in the maps
    above must find none here: so the last question is a map's."""
    for family in FAMILIES:
        if plan.last_resort.ranges.of(family) or plan.follow is not None:
            match = f"{UNMARKED} {IP[family]} saddr @pod_ranges{family} meta nfproto"
            yield Rule(match, verdict=f"vmap {{ {PROTOCOL[family]} : goto looked_at }}")


def _outer(plan: NodePlan) -> tuple[Rule, ...]:
    """It was routed with the number; nobody else is to judge it by that."""
    match = f"udp dport {plan.kernel.tunnel.port} {IP[underlay_family(plan)]} daddr @tunnel_peers meta mark != 0"
    return (Rule(match, "meta mark set 0"),)


@cache
def _entrances(answers: bool) -> tuple[Chain, ...]:
    rules = [Rule(f"{IP[f]} daddr @{inside_set(f)}", verdict="return") for f in FAMILIES]
    rules += [Rule("fib saddr type local", verdict="return"), Rule("fib daddr type local", verdict="return")]
    for family in FAMILIES:
        rules += [Rule(f"{IP[family]} saddr", verdict=f"vmap @governed_{kind}{family}") for kind in ("pods", "subnets")]
    note = "A node's own addresses, known or not, are no pods', and what goes to one of them is not leaving."
    entrance = Chain("classify", tuple(rules), (note,))
    if not answers:
        return (entrance,)
    note = "The answer of an open connection is none of this node's any more: it gets the one that new ones get."
    return entrance, Chain("adopt", (Rule(verdict="jump classify"),), (note,))


@lru_cache(maxsize=65_536)
def _order_chain(order: PolicyOrder) -> Chain:
    rules = tuple(Rule(verdict=f"jump policy.{name}") for name in order.policies)
    return Chain(f"order.{order.name}", rules)


@lru_cache(maxsize=65_536)
def policy_chain(policy: PolicyChain, description: str) -> Chain:
    rules = [
        _answer_rule(policy, family, answer) for family in FAMILIES if (answer := policy.answers.of(family)) is not None
    ]
    words = comment(policy.origin) + (f" - {comment(description)}" if description else "")
    return Chain(f"policy.{policy.name}", tuple(rules), (words,))


def _answer_rule(policy: PolicyChain, family: Family, answer: PolicyAnswer) -> Rule:
    verdict = "goto blocked" if answer.number is None else f"goto answer.{answer.number}"
    verdict = "goto direct" if answer.direct else verdict
    said = rule_comment(policy.origin)
    if not answer.destinations:
        return Rule(f"meta nfproto {PROTOCOL[family]}", verdict=verdict, comment=said, origin=policy.origin)
    return Rule(
        verdict=verdict,
        comment=said,
        origin=policy.origin,
        address="ip" if family == 4 else "ip6",
        destinations=answer.destinations,
    )


@lru_cache(maxsize=65_536)
def answer_chain(answer: Answer, slot: Slot) -> Chain:
    number = Rule(statement=set_ct_mark(answer_mark(answer.number)), origin=answer.origin)
    before, after = fallback.around(answer.slot) if slot.falls_back else ((), ())
    rules = (
        Rule(verdict="jump governed"),
        *before,
        number,
        *after,
        Rule(verdict=f"jump slot.{answer.slot}"),
        Rule(verdict="accept"),
    )
    return Chain(f"answer.{answer.number}", rules)


@lru_cache(maxsize=4096)
def slot_chain(slot: Slot, own: tuple[Rule, ...] = ()) -> Chain:
    words = f"Slot {slot.number}: EgressGateway {comment(slot.gateway)}, prefers {comment(slot.preferred_node)}"
    note = f"{words}, tunnel VIP {' '.join(slot.tunnel_vips)}"
    return Chain(f"slot.{slot.number}", (Rule(statement=set_mark(slot_mark(slot.number))), *own), (note,))


@cache
def _ends() -> tuple[Chain, ...]:
    return (
        Chain(
            "governed",
            (
                Rule("ct state { invalid, untracked }", verdict="drop", counter=True, comment="cannot be translated"),
                Rule("fib saddr . iif oif missing", verdict="drop", counter=True, comment="forged source"),
            ),
            ("What no governed packet may be.",),
        ),
        Chain(
            "blocked",
            (
                Rule(
                    verdict="reject with icmpx type admin-prohibited",
                    counter=True,
                    comment="no egress IP to leave with",
                ),
            ),
            ("Governed, but no address to leave with: refused, never leaked.",),
        ),
        Chain(
            "direct",
            (Rule(statement=set_mark(MARK_PREFIX)), Rule(verdict="accept")),
            ("Governed, and left to the node's own routes; no further policy is asked.",),
        ),
        Chain(
            "looked_at",
            (Rule(statement=set_mark(MARK_PREFIX)),),
            ("The last resort of routing is for what is not marked.",),
        ),
        Chain(
            "to_gateway",
            (Rule("tcp flags syn", "tcp option maxseg size set rt mtu"), Rule(statement="meta mark set 0")),
            ("Routing is done; nobody else is to judge the packet by our mark.",),
        ),
        Chain("keep_source", tuple(Rule(statement=f"snat {IP[f]} to {IP[f]} saddr") for f in FAMILIES)),
    )
