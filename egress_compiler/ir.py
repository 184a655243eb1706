"""What each node has to do, in network terms: the value between the decisions and the files.

A NodePlan is complete: the renderers turn it into text without deciding anything, and ``verify`` compares it
with the kernel.  Addresses are canonical text, lists are sorted, and each object names the policy it comes
from (``origin``, such as ``EgressPolicy default/test``), never a file position, so that moving a policy to
another file changes nothing here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

PLAN_VERSION = 1

Role = Literal["gateway", "worker"]
Part = Literal["slot", "wire", "reply", "uplink"]
"""What rules and routes are for: a slot, a gateway's own pods, replies by the tunnel, a gateway's further uplink."""


@dataclass(frozen=True, slots=True)
class Tunnel:
    """The node's VXLAN device.  ``addresses`` carry prefix lengths; ``underlay`` is the node's own address."""

    device: str
    vni: int
    port: int
    underlay: str
    mtu: int
    mac: str
    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Wire:
    """The veth pair between a gateway node's two sides: its own pods' packets pass it while the node is master.

    ``worker`` is the end at the worker side, ``gateway`` the other; both have one MAC and answer no ARP.  Replies that
    carry ``reply_mark`` go back over it.
    """

    worker: str
    gateway: str
    worker_address: str
    gateway_address: str
    mac: str
    mtu: int
    reply_mark: int


@dataclass(frozen=True, slots=True)
class TunnelPeer:
    """A node at the other end of the tunnel: a permanent neighbour for each address, and two FDB entries.

    With ``reply_mark`` replies to its pods go to it by the tunnel.
    """

    node: str
    underlay: str
    mac: str
    addresses: tuple[str, ...]
    reply_mark: int | None = None


@dataclass(frozen=True, slots=True)
class Slot:
    """One EgressGateway on one preferred node; what moves together at a failover.

    With ``falls_back`` new connections leave with the node's own address while nobody answers for the tunnel VIPs.
    """

    number: int
    gateway: str
    preferred_node: str
    mark: int
    table: int
    tunnel_vips: tuple[str, ...]
    falls_back: bool


@dataclass(frozen=True, slots=True)
class SteerRule:
    """An ip rule: packets with the mark look up the table; ``slot`` is None where ``part`` is not slot."""

    family: Literal[4, 6]
    preference: int
    mark: int
    mask: int
    table: int
    slot: int | None
    part: Part = "slot"


@dataclass(frozen=True, slots=True)
class SteerRoute:
    """A route of a table: ``via`` the tunnel VIP or another next hop; unreachable where there is no ``device``.

    ``destination`` is None for the default route; another one is on the device's link where ``via`` is None.  ``slot``
    is None where ``part`` is not slot.  The wire's next hop is no address of anybody, so the route is ``onlink``.
    """

    family: Literal[4, 6]
    table: int
    via: str | None
    device: str | None
    metric: int | None
    slot: int | None
    onlink: bool = False
    destination: str | None = None
    part: Part = "slot"


@dataclass(frozen=True, slots=True)
class UplinkTable:
    """A device with a table of its own: packets that leave with an EIP of its subnets get the mark, and it the table.

    ``number`` counts from 1 in the order of the devices' names.
    """

    interface: str
    number: int
    mark: int
    table: int
    cidrs4: tuple[str, ...]
    cidrs6: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OwnAddress:
    """The node's own IPv6 address on an uplink: what it asks its neighbours there from, instead of from an EIP."""

    interface: str
    address: str


@dataclass(frozen=True, slots=True)
class UnseenRule:
    """An ip rule's packets: those from ``source``, else those that come by ``interface``.

    "lo" are those that the node itself makes (ip-rule(8)); the kernel asks for the way back of what is for the node
    itself as for them, too.
    """

    family: Literal[4, 6]
    source: str | None
    interface: str | None
    owner: str


@dataclass(frozen=True, slots=True)
class LastResort:
    """What refuses governed packets when a stranger has flushed our nftables table.

    The rules look up ``table``: what is inside the cluster, in CIDRs, is thrown back to the rules that follow, and
    the rest goes nowhere.  For IPv4 that is a next hop on the uplink that nobody is, for the kernel's reverse path
    check of replies asks the same and wants to hear of the uplink; IPv6 has no such check, and is unreachable.

    Before them, rules of ``skip_preference`` send what hosts send to the rule of ``end_preference``, which does
    nothing.
    """

    skip_preference: int
    preference: int
    end_preference: int
    mask: int
    table: int
    via4: str
    device4: str
    inside4: tuple[str, ...]
    inside6: tuple[str, ...]
    skips: tuple[UnseenRule, ...]
    rules: tuple[UnseenRule, ...]


@dataclass(frozen=True, slots=True)
class Source:
    """A pod address, or a source CIDR or range, and the class that it belongs to; ``owner`` says whose it is."""

    source: str
    traffic_class: str
    owner: str


@dataclass(frozen=True, slots=True)
class SteerAnswer:
    """Destinations that go to ``slot``; None blocks them, or with ``direct`` leaves them to the node's own routes.

    No destinations means all that no other answer has.
    """

    destinations: tuple[str, ...]
    slot: int | None
    origin: str
    direct: bool = False


@dataclass(frozen=True, slots=True)
class SteerClass:
    """The sources that share one list of policies; destinations are disjoint, priorities are resolved."""

    name: str
    policies: tuple[str, ...]
    ipv4: tuple[SteerAnswer, ...]
    ipv6: tuple[SteerAnswer, ...]


@dataclass(frozen=True, slots=True)
class SnatAnswer:
    """Destinations that leave with ``address``; None drops them.  No destinations: all that no other answer has.

    ``own`` where the address is the node's own: replies come back among everybody else's.  ``uplink`` is the number of
    the further uplink by which they leave, 0 the main one.
    """

    destinations: tuple[str, ...]
    address: str | None
    slot: int
    origin: str
    own: bool = False
    uplink: int = 0


@dataclass(frozen=True, slots=True)
class SnatClass:
    name: str
    policies: tuple[str, ...]
    ipv4: tuple[SnatAnswer, ...]
    ipv6: tuple[SnatAnswer, ...]


@dataclass(frozen=True, slots=True)
class SourceMaps:
    """Sources by family: exact pod addresses first; the subnets answer for what is no known pod."""

    pods4: tuple[Source, ...]
    pods6: tuple[Source, ...]
    subnets4: tuple[Source, ...]
    subnets6: tuple[Source, ...]


@dataclass(frozen=True, slots=True)
class VirtualAddress:
    """An address that follows the master; ``origin`` says what it is for."""

    address: str
    device: str
    origin: str


@dataclass(frozen=True, slots=True)
class VrrpInstance:
    """keepalived's part of a slot on this gateway; ``advert_ms`` in milliseconds, the highest priority is master.

    Without one of the ``tracked`` devices the node is none.
    """

    name: str
    slot: int
    gateway: str
    preferred_node: str
    vrid: int
    priority: int
    interface: str
    source: str
    peers: tuple[str, ...]
    advert_ms: int
    preempt: bool
    tunnel_vips: tuple[VirtualAddress, ...]
    eips: tuple[VirtualAddress, ...]
    tracked: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ConnectionSync:
    """conntrackd's part on a gateway with peers: the entries of ``sources`` go to the other gateways' kernels.

    ``group`` is a multicast address, or empty between two gateways that have only each other.
    """

    interface: str
    source: str
    peers: tuple[str, ...]
    group: str
    port: int
    sources: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Sysctl:
    key: str
    value: str
    reason: str


@dataclass(frozen=True, slots=True)
class NodePlan:
    version: int
    node: str
    role: Role
    interface: str
    tunnel: Tunnel
    wire: Wire | None
    peers: tuple[TunnelPeer, ...]
    inside4: tuple[str, ...]
    inside6: tuple[str, ...]
    slots: tuple[Slot, ...]
    rules: tuple[SteerRule, ...]
    routes: tuple[SteerRoute, ...]
    last_resort: LastResort
    steer_sources: SourceMaps
    steer_classes: tuple[SteerClass, ...]
    snat_sources: SourceMaps
    snat_classes: tuple[SnatClass, ...]
    own_address_sources: SourceMaps
    uplinks: tuple[UplinkTable, ...]
    uplink_sources: SourceMaps
    snat_addresses4: tuple[str, ...]
    snat_addresses6: tuple[str, ...]
    eips4: tuple[str, ...]
    eips6: tuple[str, ...]
    own6: tuple[OwnAddress, ...]
    vrrp: tuple[VrrpInstance, ...]
    cut: tuple[str, ...]
    gateway_peers: tuple[str, ...]
    sync: ConnectionSync | None
    sysctls: tuple[Sysctl, ...]
