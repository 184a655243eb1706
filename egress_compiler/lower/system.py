"""Kernel settings that the datapath needs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

from egress_compiler.contract.names import GATEWAY_DEVICE, TUNNEL_DEVICE, WORKER_DEVICE
from egress_compiler.contract.plan import Sysctl, UplinkTable
from egress_compiler.net import Family

RETRANS_MS = 100
"""Between two solicitations of a neighbour. A new master asks for its next hop with the EIP as source, at a moment when
the kernel may not take the IPv6 answer yet; by default it asks again after a whole second."""


ASKED_AGAIN_MS = 500
"""Of a tunnel VIP that does not answer, where an EgressGateway falls back.  Six times in vain, and nobody has it:
that is longer than the gateways take to agree on a new master."""
REACHABLE_MS = 3000
"""For so long, on average, an answer counts."""


def fallback_sysctls(families: Sequence[Family], advert_ms: int) -> tuple[Sysctl, ...]:
    """How soon a node with slots that fall back notices that no gateway answers."""
    wanted = {
        "base_reachable_time_ms": REACHABLE_MS,
        "delay_first_probe_time": 1,
        "retrans_time_ms": max(ASKED_AGAIN_MS, advert_ms),
    }
    return tuple(
        Sysctl(f"net/ipv{family}/neigh/{TUNNEL_DEVICE}/{key}", str(value), "who falls back notices soon")
        for family in families
        for key, value in wanted.items()
    )


@lru_cache(maxsize=1024)
def node_sysctls(
    is_gateway: bool,
    families: tuple[Family, ...],
    uplink: str,
    further: tuple[UplinkTable, ...] = (),
    more: tuple[Sysctl, ...] = (),
) -> tuple[Sysctl, ...]:
    """The settings of one node with ``more``, sorted by key; slashes separate, as the device's name has a dot."""
    wanted = [
        *more,
        Sysctl("net/ipv4/ip_forward", "1", "a node routes for its pods"),
        Sysctl(
            f"net/ipv4/conf/{TUNNEL_DEVICE}/rp_filter",
            "2",
            "pods behind the tunnel are routed by the uplink; the kernel takes the larger of all and this",
        ),
    ]
    wanted += [
        Sysctl(
            f"net/ipv4/conf/{way.interface}/rp_filter",
            "2",
            "replies to EIPs of this uplink come by it, and the way back to who sends them is the main one",
        )
        for way in further
        if way.cidrs.ipv4
    ]
    if 6 in families:
        wanted.append(Sysctl("net/ipv6/conf/all/forwarding", "1", "a node routes for its pods"))
    own = (TUNNEL_DEVICE, WORKER_DEVICE, GATEWAY_DEVICE) if is_gateway else (TUNNEL_DEVICE,)
    wanted += _passing(families, own, (uplink, *(way.interface for way in further)))
    if is_gateway:
        wanted += _gateway_sysctls(families, tuple(dict.fromkeys((uplink, *(way.interface for way in further)))))
    return tuple(sorted(wanted, key=lambda sysctl: sysctl.key))


def _passing(families: Sequence[Family], own: Sequence[str], uplinks: Sequence[str]) -> Iterator[Sysctl]:
    """Each device may be kept from forwarding by itself, whatever the switches for all of them say."""
    for family in families:
        for device in (*own, *uplinks):
            yield Sysctl(f"net/ipv{family}/conf/{device}/forwarding", "1", "packets of pods come in by this device")
    if 6 in families:
        for device in own:
            yield Sysctl(f"net/ipv6/conf/{device}/disable_ipv6", "0", "IPv6 passes this device")


def _gateway_sysctls(families: Sequence[Family], uplinks: Sequence[str]) -> Iterator[Sysctl]:
    for family in families:
        for device in uplinks:
            reason = "a new master finds its next hop, even if the first answer is lost"
            yield Sysctl(f"net/ipv{family}/neigh/{device}/retrans_time_ms", str(RETRANS_MS), reason)
    if 4 in families:
        for device in uplinks:
            reason = (
                "neighbours are asked from the node's own address: from an EIP they would take this node for its owner"
            )
            yield Sysctl(f"net/ipv4/conf/{device}/arp_announce", "2", reason)
    for device in (GATEWAY_DEVICE, WORKER_DEVICE):
        yield Sysctl(f"net/ipv4/conf/{device}/rp_filter", "2", "neither end of the veth pair is the way back")
    yield Sysctl(
        f"net/ipv4/conf/{GATEWAY_DEVICE}/accept_local",
        "1",
        "what the node says of packets to its own pods leaves by its gateway role",
    )
    yield Sysctl(
        "net/netfilter/nf_conntrack_tcp_be_liberal",
        "1",
        "who becomes master again has outdated windows of the connections that it had before",
    )
    yield Sysctl("net/netfilter/nf_conntrack_tcp_loose", "1", "a new master picks up open connections in mid-stream")
