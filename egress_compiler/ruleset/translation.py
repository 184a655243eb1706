"""The gateway role: answer number -> EIP.  It knows no pod, no policy and no destination."""

from __future__ import annotations

from collections.abc import Iterator

from egress_compiler.contract.names import TUNNEL_DEVICE
from egress_compiler.contract.numbers import (
    GATEWAY_MARK_PREFIX,
    GATEWAY_PREFIX_MASK,
    NUMBER_MASK,
    OWN_POD_MARK_PREFIX,
)
from egress_compiler.contract.plan import GatewayRole, NodePlan, VethPair
from egress_compiler.net import FAMILIES
from egress_compiler.ruleset import replies, uplinks
from egress_compiler.ruleset.hooks import ARRIVED, FORWARD, POSTROUTING, PREROUTING
from egress_compiler.ruleset.model import Chain, Element, Feature, Rule, Set
from egress_compiler.ruleset.words import (
    ADDRESS,
    CT_NUMBER,
    IP,
    address_set,
    devices,
    giver,
    inwards,
    mark,
    onwards,
    same,
    set_ct_number,
    set_mark,
)

IN_GATEWAY_ROLE = f"ct mark & {GATEWAY_PREFIX_MASK:#010x} == {mark(GATEWAY_MARK_PREFIX)}"


def translation(plan: NodePlan) -> Feature:
    gateway, veth = plan.gateway, plan.kernel.veth
    if gateway is None or veth is None:
        return Feature()
    leaving = f"oifname != {onwards(plan)} {IN_GATEWAY_ROLE}"
    base = {
        ARRIVED.name: tuple(_remembered(gateway, veth)),
        PREROUTING.name: (
            Rule(f"iifname {inwards(plan)}", verdict="goto from_worker"),
            Rule(f"ct direction reply {replies.of_own_pod(gateway)}", verdict="goto to_own_pod"),
        ),
        FORWARD.name: (Rule(f"oifname {devices(veth.gateway)}", set_mark(GATEWAY_MARK_PREFIX)),),
        POSTROUTING.name: (
            Rule(leaving, verdict="jump translate"),
            Rule(leaving, verdict="drop", counter=True, comment="unknown answer number, or no address of this family"),
        ),
    }
    note = "What a worker sent, or this node's own worker role over the veth pair, leaves here or not at all."
    chains = (
        Chain("from_worker", (Rule(statement=set_mark(GATEWAY_MARK_PREFIX)), *uplinks.chosen(gateway)), (note,)),
        Chain("to_own_pod", (Rule(statement=set_mark(replies.OWN_PODS)),)),
        _translate(gateway),
    )
    return Feature(tuple(_sets(gateway)), base, chains)


def _sets(gateway: GatewayRole) -> Iterator[Set]:
    reasons = same("What each answer number leaves with.")
    for family in FAMILIES:
        elements = tuple(
            Element(mark(t.number), address, giver(t))
            for t in gateway.translations
            if (address := t.addresses.of(family)) is not None
        )
        yield Set(f"answers{family}", "mark", elements, reasons[family], ADDRESS[family])
    reason = "All answer numbers that leave by this gateway."
    yield Set("numbers", "mark", tuple(Element(mark(t.number)) for t in gateway.translations), reason)
    reasons = same("Egress IPs that this gateway owns while it is master.")
    for family in FAMILIES:
        yield address_set(f"eips{family}", family, gateway.eips.of(family), reasons[family])
    reasons = same("Source addresses that governed traffic may leave this node with.")
    for family in FAMILIES:
        yield address_set(f"leave_with{family}", family, gateway.leave_with.of(family), reasons[family])


def _remembered(gateway: GatewayRole, veth: VethPair) -> Iterator[Rule]:
    """The connection's mark, at each packet of the pod: it may have begun at another gateway, or before a change."""
    original = "ct direction original"
    if gateway.sync is not None:
        yield from _told(gateway, f"iifname {devices(veth.gateway, TUNNEL_DEVICE)} {original}")
    if gateway.replies_by_tunnel:
        yield from replies.remembered(gateway, veth)
        return
    for device, prefix in ((veth.gateway, OWN_POD_MARK_PREFIX), (TUNNEL_DEVICE, GATEWAY_MARK_PREFIX)):
        yield Rule(f"iifname {devices(device)} {original}", set_ct_number(prefix))


def _told(gateway: GatewayRole, connection: str) -> Iterator[Rule]:
    """What the kernel tells conntrackd of a connection.

    Not that its mark alone has changed: such an event is without TCP's state, and a peer that makes the connection anew
    from it makes one in which nothing is accepted from the server until the pod speaks. The mark goes with every other.
    """
    events = "new,related,destroy,reply,assured,protoinfo"
    if not any(t.own for t in gateway.translations):
        yield Rule(connection, f"ct event set {events}")
        return
    # The peers cannot use the node's own address, and conntrackd is not told of events without what it asks for.
    number = f"meta mark & {GATEWAY_MARK_PREFIX | NUMBER_MASK:#010x}"
    yield Rule(f"{connection} {number} != @own_address_answers", f"ct event set {events}")
    yield Rule(f"{connection} {number} @own_address_answers", "ct event set label")


def _translate(gateway: GatewayRole) -> Chain:
    return Chain("translate", tuple(Rule(statement=f"snat {IP[f]} to {CT_NUMBER} map @answers{f}") for f in FAMILIES))
