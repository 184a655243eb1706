"""Replies to pods of other nodes by the tunnel (``gatewayReplyRoute``), where the network has no other way to them.

A connection remembers the pod's node then, in its mark beside the answer number.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from egress_compiler.contract.elements import inside_set
from egress_compiler.contract.names import TUNNEL_DEVICE
from egress_compiler.contract.numbers import (
    GATEWAY_MARK_PREFIX,
    MARK_PREFIX,
    NODE_MASK,
    OWN_POD_MARK_PREFIX,
    PREFIX_MASK,
    REPLY_MARK_PREFIX,
    node_mark,
    reply_mark,
)
from egress_compiler.contract.plan import GatewayRole, NodePlan, TunnelPeer, VethPair
from egress_compiler.net import FAMILIES
from egress_compiler.ruleset.hooks import FORWARD, PREROUTING, ZONES
from egress_compiler.ruleset.model import Chain, Element, Feature, Rule, Set
from egress_compiler.ruleset.words import CT_PREFIX, IP, comment, devices, mark, set_ct_number, set_mark

OWN_PODS = reply_mark(0)
"""The mark of replies to the gateway's own pods, by the veth pair."""
_TUNNEL = devices(TUNNEL_DEVICE)
_CT_NODE = f"ct mark & {NODE_MASK:#010x}"


def _returning(plan: NodePlan) -> Sequence[TunnelPeer]:
    return [peer for peer in plan.kernel.peers if peer.reply_index is not None]


def replies(plan: NodePlan) -> Feature:
    if plan.gateway is None or not plan.gateway.replies_by_tunnel:
        return Feature()
    peers = _returning(plan)
    here = [inside_set(f) for f in FAMILIES if plan.inside.of(f)]
    here += [f"pod_ranges{f}" for f in FAMILIES if plan.last_resort.ranges.of(f)]
    families = [IP[6] if name.endswith("6") else IP[4] for name in here]
    to_pods = (f"{ip} daddr @{name}" for ip, name in zip(families, here, strict=True))
    by_tunnel = f"iifname {_TUNNEL} ct direction reply"
    base = {
        # What comes by the tunnel to a pod is a reply that another gateway sends back, to the worker role.
        ZONES.name: tuple(Rule(f"iifname {_TUNNEL} {to_pod}", "meta mark set 0", "accept") for to_pod in to_pods),
        PREROUTING.name: (
            Rule(by_tunnel, set_mark(MARK_PREFIX), "accept"),
            Rule(f"ct direction reply {_CT_NODE}", verdict="vmap @reply_nodes"),
        ),
        FORWARD.name: (
            Rule(f"{by_tunnel} {CT_PREFIX} == {mark(MARK_PREFIX)}", verdict="goto back_to_pod"),
            Rule(
                f"oifname {_TUNNEL} ct direction reply meta mark & {PREFIX_MASK:#010x} == {mark(REPLY_MARK_PREFIX)}",
                verdict="goto back_by_tunnel",
            ),
        ),
    }
    chains = [
        Chain(
            "back_by_tunnel",
            (Rule("tcp flags syn", "tcp option maxseg size set rt mtu"), Rule(statement="meta mark set 0")),
            ("No answer number: the packet has been answered.",),
        ),
        Chain(
            "back_to_pod",
            (Rule("tcp flags syn", verdict="goto shorter_segments"),),
            ("A reply that another gateway sent back by the tunnel.",),
        ),
    ]
    for peer in peers:
        index = peer.reply_index or 0
        note = f"{comment(peer.node)}: a connection remembers the pod's node, and its replies go there."
        chains.append(Chain(f"of_node.{index}", (Rule(statement=set_ct_number(node_mark(index))),), (note,)))
        chains.append(Chain(f"reply.{index}", (Rule(statement=set_mark(reply_mark(index))),)))
    return Feature(tuple(_sets(peers)), base, tuple(chains))


def _sets(peers: Sequence[TunnelPeer]) -> Iterator[Set]:
    nodes = tuple(Element(mark(node_mark(p.reply_index or 0)), f"goto reply.{p.reply_index}", p.node) for p in peers)
    yield Set("reply_nodes", "mark", nodes, "The node that a connection's replies go to.", "verdict")
    macs = tuple(Element(peer.mac, f"jump of_node.{peer.reply_index}", peer.node) for peer in peers)
    yield Set("tunnel_macs", "ether_addr", macs, "The node that a packet comes from.", "verdict")


def of_own_pod(gateway: GatewayRole) -> str:
    """Of connections of the gateway's own pods."""
    if gateway.replies_by_tunnel:
        return f"{_CT_NODE} == {mark(node_mark(gateway.node_index))}"
    return f"{CT_PREFIX} == {mark(OWN_POD_MARK_PREFIX)}"


def remembered(gateway: GatewayRole, veth: VethPair) -> Iterator[Rule]:
    """The pod's node, at each packet of the pod."""
    original = "ct direction original"
    yield Rule(f"iifname {devices(veth.gateway)} {original}", set_ct_number(node_mark(gateway.node_index)))
    yield Rule(f"iifname {_TUNNEL} ct state new", set_ct_number(GATEWAY_MARK_PREFIX))
    yield Rule(f"iifname {_TUNNEL} {original} ether saddr", verdict="vmap @tunnel_macs")
