"""Small plans by hand, each with what a feature of the table needs and little more."""

from __future__ import annotations

from dataclasses import replace

from egress_compiler.contract.names import (
    GATEWAY_DEVICE,
    TUNNEL_DEVICE,
    VETH_ADDRESSES,
    VETH_MAC,
    WORKER_DEVICE,
)
from egress_compiler.contract.numbers import tunnel_mac
from egress_compiler.contract.plan import (
    PLAN_VERSION,
    Answer,
    Both,
    ConnectionSync,
    FloatingAddress,
    Follow,
    GatewayRole,
    KernelPart,
    LastResort,
    NodePlan,
    OwnAddress,
    PolicyAnswer,
    PolicyChain,
    PolicyOrder,
    Slot,
    SlotMembership,
    Source,
    Translation,
    Tunnel,
    TunnelPeer,
    UplinkTable,
    VethPair,
    VrrpInstance,
    WorkerRole,
)

WEB, REST, NODE_IP = "EgressPolicy shop/web", "EgressClusterPolicy rest", "EgressClusterPolicy monitoring"
NONE = Both[tuple[str, ...]]((), ())
BOTH_POLICIES = "egp.shop.web_and1_0123456789"


def _kernel(number: int) -> KernelPart:
    """Of node 1, the gateway, or 2, the worker."""
    other = 3 - number
    return KernelPart(
        families=(4, 6),
        interface="eth0",
        tunnel=Tunnel(
            device=TUNNEL_DEVICE,
            vni=100,
            port=7789,
            underlay=f"192.0.2.{number}",
            mtu=1450,
            mac=tunnel_mac(number),
            addresses=(f"172.31.0.{number}/16", f"fd11::{number}/112"),
        ),
        veth=None,
        peers=(
            TunnelPeer(
                node=("gate", "work")[other - 1],
                underlay=f"192.0.2.{other}",
                mac=tunnel_mac(other),
                addresses=(f"172.31.0.{other}", f"fd11::{other}"),
            ),
        ),
        sysctls=(),
    )


_ROLE = WorkerRole(
    pods=Both(
        (Source("10.1.2.10", "egp.shop.web", "shop/web-1"), Source("10.1.2.11", BOTH_POLICIES, "shop/web-2")), ()
    ),
    subnets=Both((Source("10.1.2.128/25", "egcp.rest", "podSubnet"),), ()),
    policies=(
        PolicyChain("egcp.rest", REST, Both(PolicyAnswer((), 7), PolicyAnswer((), None))),
        PolicyChain(
            "egp.shop.web",
            WEB,
            Both(PolicyAnswer(("198.51.100.7-198.51.100.9", "203.0.113.0/24"), 3), None),
        ),
    ),
    orders=(PolicyOrder(BOTH_POLICIES, ("egp.shop.web", "egcp.rest")),),
    answers=(Answer(3, 1, WEB, Both("192.0.2.66", None)), Answer(7, 1, REST, Both("192.0.2.67", None))),
    slots=(Slot(1, "edge", "gate", ("172.31.255.254", "fd11::fffe"), falls_back=False),),
)

WORKER = NodePlan(
    version=PLAN_VERSION,
    node="work",
    role="worker",
    inside=Both(("10.1.0.0/16", "192.0.2.1-192.0.2.2"), ("fd00:1::/48",)),
    kernel=_kernel(2),
    worker=_ROLE,
    gateway=None,
    last_resort=LastResort("eth0", Both(("10.1.2.0/24",), ()), NONE, NONE, NONE),
    cut=(),
)
"""Two policies, a pod in one, a pod in both, and a podSubnet."""

IDLE = replace(
    WORKER, worker=WorkerRole(Both((), ()), Both((), ()), (), (), (), ()), last_resort=LastResort("eth0", *[NONE] * 4)
)
"""A node of whose pods no policy knows."""

FOLLOWING = replace(IDLE, follow=Follow(falls_back=True))
"""The same of one that follows its pods by itself."""

FALLING_BACK = replace(WORKER, worker=replace(_ROLE, slots=(replace(_ROLE.slots[0], falls_back=True),)))

DIRECT = replace(
    WORKER,
    worker=replace(
        _ROLE,
        policies=(
            PolicyChain("egcp.rest", REST, Both(PolicyAnswer((), None, direct=True), None)),
            _ROLE.policies[1],
        ),
        answers=_ROLE.answers[:1],
    ),
)
"""One policy's gateway has no node, and falls back."""

ONCE = replace(
    WORKER,
    worker=replace(_ROLE, answers=(*_ROLE.answers, Answer(9, 1, WEB, Both("192.0.2.68", None), gone=True))),
)
"""An answer that no policy gives any more."""

_GATEWAY_ROLE = GatewayRole(
    translations=(
        Translation(3, 1, WEB, Both("192.0.2.66", None), Both(0, 0)),
        Translation(5, 1, NODE_IP, Both("192.0.2.1", "2001:db8::1"), Both(0, 0), own=True),
        Translation(7, 1, REST, Both("192.0.2.67", "2001:db8::67"), Both(0, 0)),
    ),
    sources=Both(("10.1.0.0/16",), ("fd00:1::/48",)),
    eips=Both(("192.0.2.66", "192.0.2.67"), ("2001:db8::67",)),
    leave_with=Both(("192.0.2.66", "192.0.2.67", "192.0.2.1"), ("2001:db8::67", "2001:db8::1")),
    uplinks=(),
    own6=(OwnAddress("eth0", "2001:db8::1"),),
    memberships=(
        SlotMembership(
            slot=1,
            gateway="edge",
            preferred_node="gate",
            members=("gate", "gate2"),
            place=0,
            tunnel_vips=tuple(
                FloatingAddress(vip, TUNNEL_DEVICE, "tunnel VIP") for vip in ("172.31.255.254", "fd11::fffe")
            ),
            eips=(FloatingAddress("192.0.2.66", "eth0", WEB),),
        ),
    ),
    vrrp=(VrrpInstance("vrid_41", (1,), 41, 250, "eth0", "192.0.2.1", ("192.0.2.3",), 200, preempt=True),),
    peers=("192.0.2.3",),
    sync=ConnectionSync("eth0", "192.0.2.1", ("192.0.2.3",), "", 3780, ("10.1.0.0/16",)),
    replies_by_tunnel=False,
    node_index=1,
)

GATEWAY = replace(
    WORKER,
    node="gate",
    role="gateway",
    kernel=replace(
        _kernel(1),
        veth=VethPair(WORKER_DEVICE, GATEWAY_DEVICE, VETH_ADDRESSES[0], VETH_ADDRESSES[1], VETH_MAC, 1450),
    ),
    gateway=_GATEWAY_ROLE,
)
"""Two EIPs and the node's own address, one slot, which the node may have itself, and another gateway."""

RETURNING = replace(
    GATEWAY,
    kernel=replace(GATEWAY.kernel, peers=(replace(GATEWAY.kernel.peers[0], reply_index=2),)),
    gateway=replace(_GATEWAY_ROLE, replies_by_tunnel=True),
)
"""With gatewayReplyRoute."""

TWO_UPLINKS = replace(
    GATEWAY,
    gateway=replace(
        _GATEWAY_ROLE,
        translations=(
            _GATEWAY_ROLE.translations[0],
            replace(_GATEWAY_ROLE.translations[2], uplinks=Both(1, 0)),
        ),
        uplinks=(UplinkTable("vlan20", 1, Both(("192.0.2.64/28",), ()), Both("192.0.2.254", None)),),
    ),
)
"""One EIP of IPv4 leaves by another device."""
