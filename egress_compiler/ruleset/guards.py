"""What may not pass: strangers at the tunnel, unknown numbers, egress IPs that answer, packets that would leak."""

from __future__ import annotations

from collections.abc import Iterator

from egress_compiler.contract.elements import inside_set
from egress_compiler.contract.numbers import NUMBER_MASK, PREFIX_MASK
from egress_compiler.contract.plan import GatewayRole, NodePlan
from egress_compiler.net import FAMILIES
from egress_compiler.ruleset.hooks import FORWARD, GUARD, INPUT
from egress_compiler.ruleset.model import Chain, Feature, Rule, Set
from egress_compiler.ruleset.translation import IN_GATEWAY_ROLE
from egress_compiler.ruleset.words import CT_NUMBER, IP, address_set, inwards, same, underlay_family

_VRRP = {4: "ip protocol 112 @nh,168,8", 6: "ip6 nexthdr 112 @nh,328,8"}
"""Protocol 112 is VRRP, a name that only /etc/protocols knows.  Behind it the second byte of the VRRP packet, after an
IP header without options: the virtual router's number."""


def guards(plan: NodePlan) -> Feature:
    base = {FORWARD.name: tuple(_forward(plan)), INPUT.name: tuple(_input(plan))}
    chains: tuple[Chain, ...] = ()
    if plan.gateway is not None:
        base[GUARD.name] = (Rule(f"ct direction original {IN_GATEWAY_ROLE}", verdict="goto leave_or_drop"),)
        chains = (*_leaving(), _leave_or_drop(plan))
    return Feature(tuple(_sets(plan)), base, chains)


def _dropped(match: str, comment: str) -> Rule:
    return Rule(match, verdict="drop", counter=True, comment=comment)


def _sets(plan: NodePlan) -> Iterator[Set]:
    family = underlay_family(plan)
    nodes = tuple(sorted({peer.underlay for peer in plan.kernel.peers}))
    yield address_set("tunnel_peers", family, nodes, "Nodes that may send VXLAN to this one.")
    if plan.gateway is None:
        return
    reason = "Gateways that share slots with this one: VRRP and connection tracking come from them alone."
    yield address_set("gateway_peers", family, tuple(sorted(plan.gateway.peers)), reason)
    reasons = same("Where governed pods of all nodes have their addresses from: nothing else comes from a worker.")
    for family in FAMILIES:
        sources = plan.gateway.sources.of(family)
        yield address_set(f"governed_ranges{family}", family, sources, reasons[family], interval=True)


def _forward(plan: NodePlan) -> Iterator[Rule]:
    """A pod has no part in the tunnel, also where its node would masquerade it."""
    underlay = IP[underlay_family(plan)]
    port = plan.kernel.tunnel.port
    yield _dropped(f"udp dport {port} {underlay} daddr @tunnel_peers", "vxlan: from a pod")
    if plan.gateway is not None:
        yield Rule(f"iifname {inwards(plan)}", verdict="goto leaving")


def _leaving() -> Iterator[Chain]:
    """Where a connection goes and where it comes from are asked once, as neither changes afterwards."""
    rules = (
        Rule("ct state != established", verdict="jump first_packet"),
        _dropped(f"ct direction original {CT_NUMBER} != @numbers", "unknown answer number"),
    )
    yield Chain("leaving", rules, ("What came from a worker, by the tunnel or the veth pair.",))
    first = [_dropped("ct state { invalid, untracked }", "cannot be translated")]
    first += [_dropped(f"{IP[f]} daddr @{inside_set(f)}", "no path into the cluster") for f in FAMILIES]
    first += [_dropped(f"ct state new {IP[f]} saddr != @governed_ranges{f}", "no pod's address") for f in FAMILIES]
    yield Chain("first_packet", tuple(first))


def _leave_or_drop(plan: NodePlan) -> Chain:
    """What leaves bears no mark of ours."""
    clean = f"meta mark set meta mark & {0xFFFFFFFF ^ PREFIX_MASK ^ NUMBER_MASK:#010x}"
    rules = [_dropped(f"oifname {inwards(plan)}", "came from a worker, and would go back")]
    rules += [Rule(f"{IP[f]} saddr @leave_with{f}", clean, "return") for f in FAMILIES]
    rules.append(_dropped("", "no egress IP of this gateway"))
    return Chain("leave_or_drop", tuple(rules))


def _input(plan: NodePlan) -> Iterator[Rule]:
    underlay = IP[underlay_family(plan)]
    tunnel = f"udp dport {plan.kernel.tunnel.port} {underlay}"
    yield _dropped(f"{tunnel} saddr != @tunnel_peers", "vxlan: unknown peer")
    if plan.gateway is None:
        return
    yield Rule(f"{tunnel} daddr {plan.kernel.tunnel.underlay}", verdict="accept")
    yield from _of_gateways(plan, plan.gateway, f"{underlay} saddr != @gateway_peers")
    # An EIP is for leaving only; neighbour discovery must go on.
    yield Rule("icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert }", verdict="accept")
    yield _dropped(f"iifname {inwards(plan)} meta l4proto != {{ icmp, icmpv6 }}", "no path to the node")
    for family in FAMILIES:
        yield _dropped(f"{IP[family]} daddr @eips{family} ct state != {{ established, related }}", "eip: unsolicited")


def _of_gateways(plan: NodePlan, gateway: GatewayRole, from_others: str) -> Iterator[Rule]:
    if gateway.vrrp:
        ours = ", ".join(str(vrid) for vrid in sorted({instance.vrid for instance in gateway.vrrp}))
        yield _dropped(f"{_VRRP[underlay_family(plan)]} {{ {ours} }} {from_others}", "vrrp: unknown peer")
    if gateway.sync is not None:
        yield _dropped(f"udp dport {gateway.sync.port} {from_others}", "conntrackd: unknown peer")
