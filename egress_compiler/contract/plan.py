# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""What one node has to do, in network terms: the value between the decisions and the files, and plan.json.

A NodePlan is complete: the renderers turn it into text without deciding anything, and ``verify`` compares it with the
kernel.  Rules and routes follow from it (``routing``).  Addresses are canonical text, lists are sorted, and each
object names the policy or part that it comes from (``origin``, such as ``EgressPolicy default/test``), never a file
position, so that moving a policy to another file changes nothing here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Generic, Literal, Optional, TypeVar

PLAN_VERSION = 5

Family = Literal[4, 6]
Role = Literal["gateway", "worker"]
FAMILIES: tuple[Family, ...] = (4, 6)

Address = Annotated[str, "address"]
"""An address, or a CIDR."""
Device = Annotated[str, "device"]
Directory = Annotated[str, "directory"]
"""An absolute path."""
Mac = Annotated[str, "mac"]
Sources = Annotated[str, "addresses"]
"""An address, a CIDR, or a range with a hyphen."""

T = TypeVar("T")


@dataclass(frozen=True)
class Both(Generic[T]):
    """The same of both families."""

    ipv4: T
    ipv6: T

    @classmethod
    def made(cls, make: Callable[[Family], T]) -> Both[T]:
        return cls(make(4), make(6))

    def of(self, family: int) -> T:
        return self.ipv4 if family == 4 else self.ipv6


@dataclass(frozen=True)
class Tunnel:
    """The node's VXLAN device.  ``addresses`` carry prefix lengths; ``underlay`` is the node's own address."""

    device: Device
    vni: int
    port: int
    underlay: Address
    mtu: int
    mac: Mac
    addresses: tuple[Address, ...]


@dataclass(frozen=True)
class VethPair:
    """Between a gateway node's two roles: its own pods' packets pass it while the node is master, and the replies.

    ``worker`` is the end of the worker role, ``gateway`` the other; both have one MAC and answer no ARP.
    """

    worker: Device
    gateway: Device
    worker_address: Address
    gateway_address: Address
    mac: Mac
    mtu: int


@dataclass(frozen=True)
class TunnelPeer:
    """A node at the other end of the tunnel: a permanent neighbour for each address, and two FDB entries.

    With ``reply_index`` replies to its pods go to it by the tunnel.
    """

    node: str
    underlay: Address
    mac: Mac
    addresses: tuple[Address, ...]
    reply_index: Optional[int] = None


@dataclass(frozen=True)
class IpRule:
    """An ip rule.  It looks up ``table``, or goes to the preference ``goto``, or does nothing.

    What it has of ``mark``, ``source`` and ``interface`` a packet must have.
    """

    family: Family
    preference: int
    origin: str = ""
    mark: Optional[int] = None
    mask: Optional[int] = None
    source: Optional[str] = None
    interface: Optional[str] = None
    table: Optional[int] = None
    goto: Optional[int] = None


@dataclass(frozen=True)
class IpRoute:
    """A route of a table; without ``destination`` the default route.

    ``kind`` is a type of ip-route(8).  ``unicast`` goes out of ``device``, by ``via`` or else on the device's link.  A
    next hop that is no address of anybody, or in none of the node's subnets, is ``onlink``.
    """

    family: Family
    table: int
    origin: str = ""
    kind: str = "unicast"
    destination: Optional[str] = None
    via: Optional[str] = None
    device: Optional[str] = None
    metric: Optional[int] = None
    onlink: bool = False


@dataclass(frozen=True)
class Sysctl:
    key: Annotated[str, "sysctl"]
    value: Annotated[str, "value"]
    reason: str


@dataclass(frozen=True)
class LastResort:
    """What refuses governed packets when somebody has flushed our nftables table; ``routing`` has the rules.

    What nftables has looked at goes past, and what hosts send (this node, and ``hosts``); what comes from where this
    node's pods have their addresses from (``ranges``) meets one rule for each CIDR of governed ``sources``, which looks
    up a table.  There what is ``inside`` the cluster is thrown back to the rules that follow, and the rest goes
    nowhere.  For IPv4 that is a next hop on ``device``, the uplink, that nobody is, for the kernel's reverse path check
    of replies asks the same and wants to hear of the uplink; IPv6 has no such check, and is unreachable.
    """

    device: Device
    ranges: Both[tuple[Address, ...]]
    hosts: Both[tuple[Address, ...]]
    sources: Both[tuple[Address, ...]]
    inside: Both[tuple[Address, ...]]


@dataclass(frozen=True)
class Slot:
    """One EgressGateway on one preferred node; what moves together at a failover.

    With ``falls_back`` new connections leave with the node's own address while nobody answers for the tunnel VIPs.
    """

    number: int
    gateway: str
    preferred_node: str
    tunnel_vips: tuple[Address, ...]
    falls_back: bool


@dataclass(frozen=True)
class Answer:
    """What a connection leaves with, as the worker role knows it: a number, and the slot that it implies.

    ``addresses`` are those of the EIP; none where it is the address of the gateway node that has the slot.  ``gone``
    where no policy gives it any more: it is for connections that have it.
    """

    number: int
    slot: int
    origin: str
    addresses: Both[Optional[Address]] = Both(None, None)
    gone: bool = False


@dataclass(frozen=True)
class PolicyAnswer:
    """``destinations`` (none: all of the family) leave with the answer ``number``.

    None blocks them, or with ``direct`` leaves them to the node's own routes.
    """

    destinations: tuple[Sources, ...]
    number: Optional[int]
    direct: bool = False


@dataclass(frozen=True)
class PolicyChain:
    """One policy, as each packet that may meet it walks it; None for a family of which it has no destination.

    ``name`` is that of the policy in names of chains.
    """

    name: str
    origin: str
    answers: Both[Optional[PolicyAnswer]]


@dataclass(frozen=True)
class PolicyOrder:
    """Policies that meet in one source, by their chains' names, in the order in which packets walk them."""

    name: str
    policies: tuple[str, ...]


@dataclass(frozen=True)
class Source:
    """A pod address, or a source CIDR or range; ``chain`` names a policy or an order, ``owner`` says whose it is."""

    source: Sources
    chain: str
    owner: str


@dataclass(frozen=True)
class WorkerRole:
    """Decides for the node's own pods.  Exact addresses come first; ``subnets`` answer for what is no known pod."""

    pods: Annotated[Both[tuple[Source, ...]], "pods"]
    subnets: Both[tuple[Source, ...]]
    policies: tuple[PolicyChain, ...]
    orders: tuple[PolicyOrder, ...]
    answers: tuple[Answer, ...]
    slots: tuple[Slot, ...]


@dataclass(frozen=True)
class Translation:
    """What the gateway role gives to an answer number; None for a family that has no address to leave with.

    ``own`` where it is the node's own address: replies come back among everybody else's.  ``uplinks`` has the numbers
    of the further uplinks by which they leave, 0 the main one.  ``gone`` as that of the answer.
    """

    number: int
    slot: int
    origin: str
    addresses: Both[Optional[Address]]
    uplinks: Both[int] = Both(0, 0)
    own: bool = False
    gone: bool = False


@dataclass(frozen=True)
class UplinkTable:
    """A device with a table of its own: packets that leave with an EIP of its subnets look it up.

    ``number`` counts from 1 in the order of the devices' names, the main uplink last.
    """

    interface: Device
    number: int
    cidrs: Both[tuple[Address, ...]]
    next_hops: Both[Optional[Address]]


@dataclass(frozen=True)
class OwnAddress:
    """The node's own IPv6 address on an uplink: what it asks its neighbours there from, instead of from an EIP."""

    interface: Device
    address: Address


@dataclass(frozen=True)
class FloatingAddress:
    """An address that follows the master; ``origin`` says what it is for."""

    address: Address
    device: Device
    origin: str


@dataclass(frozen=True)
class SlotMembership:
    """That this gateway may have a slot, whatever announces it: the addresses, and the members that may have it.

    ``members`` are node names, the preferred one first, and ``place`` is this node's among them, from 0.  Without one
    of the ``tracked`` devices the node cannot have the slot.
    """

    slot: int
    gateway: str
    preferred_node: str
    members: tuple[str, ...]
    place: int
    tunnel_vips: tuple[FloatingAddress, ...]
    eips: tuple[FloatingAddress, ...]
    tracked: tuple[Device, ...] = ()

    def floating(self) -> tuple[FloatingAddress, ...]:
        """Every address that the master of the slot has."""
        return self.tunnel_vips + self.eips


@dataclass(frozen=True)
class VrrpInstance:
    """What announces slots by VRRP; ``advert_ms`` in milliseconds, the highest priority is master.

    One as a rule.  ``slots`` are several, with the same members in the same order, where VRIDs are short.
    """

    name: Annotated[str, "instance"]
    slots: tuple[int, ...]
    vrid: int
    priority: int
    interface: Device
    source: Address
    peers: tuple[Address, ...]
    advert_ms: int
    preempt: bool


@dataclass(frozen=True)
class ConnectionSync:
    """conntrackd's part on a gateway with peers: the entries of ``sources`` go to the other gateways' kernels.

    ``group`` is a multicast address, or empty between two gateways that have only each other.
    """

    interface: Device
    source: Address
    peers: tuple[Address, ...]
    group: str
    port: int
    sources: tuple[Address, ...]


@dataclass(frozen=True)
class GatewayRole:
    """Obeys: what each answer number leaves with, and the slots whose addresses the node may have.

    ``sources`` are CIDRs that governed pods have their addresses from; nothing else may come by the tunnel.
    ``peers`` are underlay addresses of the gateways that share slots with this one.
    """

    translations: tuple[Translation, ...]
    sources: Both[tuple[Address, ...]]
    eips: Both[tuple[Address, ...]]
    leave_with: Both[tuple[Address, ...]]
    uplinks: tuple[UplinkTable, ...]
    own6: tuple[OwnAddress, ...]
    memberships: tuple[SlotMembership, ...]
    vrrp: tuple[VrrpInstance, ...]
    peers: tuple[Address, ...]
    sync: Optional[ConnectionSync]
    replies_by_tunnel: bool
    node_index: int

    def announced(self) -> tuple[tuple[VrrpInstance, tuple[SlotMembership, ...]], ...]:
        """Each instance with the slots that it announces."""
        by_slot = {membership.slot: membership for membership in self.memberships}
        return tuple((instance, tuple(by_slot[slot] for slot in instance.slots)) for instance in self.vrrp)


@dataclass(frozen=True)
class KernelPart:
    """Devices, neighbours and settings; ``families`` are those that pass the tunnel, in the order of its addresses."""

    families: tuple[Family, ...]
    interface: Device
    tunnel: Tunnel
    veth: Optional[VethPair]
    peers: tuple[TunnelPeer, ...]
    sysctls: tuple[Sysctl, ...]


@dataclass(frozen=True)
class Gate:
    """Pods start when their addresses are in force, or after ``timeout_s`` seconds fail or are blocked until then.

    Pods of ``exempt`` namespaces never wait.  The node's container runtime reads ``conf_dir``, and runs CNI plugins of
    ``bin_dir``.
    """

    timeout_s: int
    on_timeout: Literal["fail", "block"]
    exempt: tuple[str, ...]
    conf_dir: Directory = "/etc/cni/net.d"
    bin_dir: Directory = "/opt/cni/bin"


@dataclass(frozen=True)
class Follow:
    """The node finds out by itself which pods its worker role governs; the plan has none (``membership``).

    It asks the API with the node's file ``kubeconfig``, empty for the kubelet's own.  With ``falls_back`` a slot that a
    pod may get falls back.
    """

    kubeconfig: str = ""
    falls_back: bool = False
    gate: Optional[Gate] = None


@dataclass(frozen=True)
class NodePlan:
    """``inside`` is the cluster's, and stands in nftables.nft alone (``elements``).

    ``cut`` names the policies that end open connections which would leave otherwise.
    """

    version: int
    node: str
    role: Role
    inside: Both[tuple[Sources, ...]]
    kernel: KernelPart
    worker: WorkerRole
    gateway: Optional[GatewayRole]
    last_resort: LastResort
    cut: tuple[str, ...]
    follow: Optional[Follow] = None

    def uplink_tables(self) -> tuple[UplinkTable, ...]:
        return self.gateway.uplinks if self.gateway is not None else ()

    def further_uplinks(self) -> tuple[Device, ...]:
        """Devices that the node leaves by besides the main one."""
        return tuple(u.interface for u in self.uplink_tables() if u.interface != self.kernel.interface)

    def floating(self) -> tuple[FloatingAddress, ...]:
        """Every address that the node has only as the master of a slot."""
        memberships = self.gateway.memberships if self.gateway is not None else ()
        return tuple(address for m in memberships for address in m.floating())
