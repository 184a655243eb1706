"""The project's settings: numbers and names with their defaults."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from egress_compiler.document import Places
from egress_compiler.labels import LabelSelector
from egress_compiler.net import Address, Family, Interval, Intervals, cidr, parse_address


@dataclass(frozen=True, slots=True)
class TunnelSettings:
    """``subnets`` by family, with their prefix lengths in ``prefixes``; ``mtu`` None: uplink less the overhead.

    ``underlay`` is the family of the packets that carry the tunnel, None where the nodes' addresses decide.
    """

    vni: int = 100
    port: int = 7789
    subnets: Mapping[Family, Interval] = field(
        default_factory=lambda: {
            4: cidr(4, parse_address("172.31.0.0").value, 16),
            6: cidr(6, parse_address("fd11::").value, 112),
        }
    )
    prefixes: Mapping[Family, int] = field(default_factory=lambda: {4: 16, 6: 112})
    mtu: int | None = None
    underlay: Family | None = None


@dataclass(frozen=True, slots=True)
class VrrpSettings:
    """``advert_ms`` between two advertisements; ``first_vrid`` leaves lower ones to other users of the segment.

    ``gateways_per_slot`` bounds who may have a slot, its preferred node among them.
    """

    advert_ms: int = 200
    first_vrid: int = 1
    gateways_per_slot: int = 8
    preempt: bool = True


@dataclass(frozen=True, slots=True)
class SyncSettings:
    """Of connection tracking between gateways; ``groups`` are used where more than two share their slots."""

    enabled: bool = True
    port: int = 3780
    groups: Mapping[Family, str] = field(default_factory=lambda: {4: "225.0.0.50", 6: "ff02::2627"})


@dataclass(frozen=True, slots=True)
class UnknownPods:
    """Sources that are refused towards outside unless the compiler knows a pod there: CIDRs, and nodes' podCIDRs.

    ``named`` has the nodes as the settings list them.
    """

    cidrs: Mapping[Family, Intervals] = field(default_factory=lambda: {4: (), 6: ()})
    named: tuple[str, ...] = ()

    @property
    def nodes(self) -> frozenset[str]:
        return frozenset(self.named)


@dataclass(frozen=True, slots=True)
class UnmanagedNodes:
    """Node objects that are no hosts of ours, by name as the settings list them, and by label."""

    named: tuple[str, ...] = ()
    selector: LabelSelector | None = None

    @property
    def names(self) -> frozenset[str]:
        return frozenset(self.named)


@dataclass(frozen=True, slots=True)
class FurtherUplink:
    """Another device by which a gateway reaches the outside, with its subnets and their next hop by family.

    EIPs of these subnets leave by it.
    """

    interface: str
    cidrs: Mapping[Family, Intervals]
    gateways: Mapping[Family, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ForeignMark:
    """A mark that ip rules of others match, as these compare it: under ``mask``, beyond which ``mark`` has no bits."""

    mark: int
    mask: int = 0xFFFFFFFF

    def matches(self, number: int) -> bool:
        return number & self.mask == self.mark

    def __str__(self) -> str:
        """As ip rule prints it."""
        return f"{self.mark:#x}/{self.mask:#x}"


@dataclass(frozen=True, slots=True)
class GateSettings:
    """How long a pod's start waits for its node to know it, what becomes of it then, and whose pods never wait.

    ``conf_dir`` and ``bin_dir`` are the container runtime's directories on the nodes.
    """

    timeout_s: int = 10
    on_timeout: Literal["fail", "block"] = "fail"
    exempt: tuple[str, ...] = ("kube-system",)
    conf_dir: str = "/etc/cni/net.d"
    bin_dir: str = "/opt/cni/bin"


@dataclass(frozen=True, slots=True)
class MembershipSettings:
    """Whether nodes follow their pods by themselves, and with which file of theirs (empty: the kubelet's own)."""

    followed: bool = False
    kubeconfig: str = ""
    gate: GateSettings | None = None


KUBE_PROXY_MARKS = (ForeignMark(0x4000, 0x4000), ForeignMark(0x8000, 0x8000))
CILIUM_MARKS = tuple(ForeignMark(magic, 0xF00) for magic in (0x200, 0xA00, 0xB00, 0xD00, 0xE00))
"""Those of bpf/lib/common.h that Cilium makes ip rules for: to its proxy, from it, and IPsec and WireGuard."""


@dataclass(frozen=True, slots=True)
class Settings:
    """``uplink_cidrs`` are the subnets of the nodes' uplinks, empty where unknown; ``document`` has the places.

    ``node_addresses`` are addresses to use for a node, whatever it reports.
    """

    interface: str = "eth0"
    uplink_mtu: int = 1500
    endpoint_slice_size: int = 100
    service_cidrs: Mapping[Family, Intervals] = field(default_factory=lambda: {4: (), 6: ()})
    pod_cidrs: Mapping[Family, Intervals] = field(default_factory=lambda: {4: (), 6: ()})
    tunnel: TunnelSettings = field(default_factory=TunnelSettings)
    vrrp: VrrpSettings = field(default_factory=VrrpSettings)
    sync: SyncSettings = field(default_factory=SyncSettings)
    unknown_pods: UnknownPods = field(default_factory=UnknownPods)
    unmanaged: UnmanagedNodes = field(default_factory=UnmanagedNodes)
    node_addresses: Mapping[str, tuple[Address, ...]] = field(default_factory=dict)
    membership: MembershipSettings = field(default_factory=MembershipSettings)
    further_uplinks: tuple[FurtherUplink, ...] = ()
    gateway_reply_route: bool = False
    """Replies go back to the pod's node by the tunnel, not by the gateway's own route to the pod."""
    uplink_cidrs: Mapping[Family, Intervals] = field(default_factory=lambda: {4: (), 6: ()})
    uplink_gateways: Mapping[Family, str] = field(default_factory=dict)
    foreign_marks: tuple[ForeignMark, ...] = KUBE_PROXY_MARKS + CILIUM_MARKS
    """No answer number matches one of them: the tunnel's packets are routed with the number as their mark."""
    quarantine: bool | None = field(default=None, repr=False, compare=False)
    """Objects with errors keep their last good state; None where nothing is said."""
    document: Places | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Uplink:
    """How one node reaches the outside: device, MTU in bytes, and the device's subnets, empty where unknown.

    ``further`` are other devices with subnets of their own, sorted by name; useNodeIP and the tunnel never take them.
    ``gateways`` are the next hops of its subnets by family: packets with an EIP take them and this device, whatever the
    default route is.  ``default_interfaces`` are the devices of the default routes, as far as they are known.
    """

    interface: str
    mtu: int
    cidrs: Mapping[Family, Intervals] = field(default_factory=lambda: {4: (), 6: ()})
    further: tuple[FurtherUplink, ...] = ()
    gateways: Mapping[Family, str] = field(default_factory=dict)
    default_interfaces: Mapping[Family, str] = field(default_factory=dict)

    def next_hops(self) -> Iterator[tuple[str, Mapping[Family, str]]]:
        """The next hops that are known, by device."""
        yield self.interface, self.gateways
        for uplink in self.further:
            yield uplink.interface, uplink.gateways

    def default_device(self, family: Family) -> str:
        """The one of the default route, which is this uplink's where nothing else is known."""
        return self.default_interfaces.get(family, self.interface)


def uplink_of(node: str, settings: Settings, uplinks: Mapping[str, Uplink]) -> Uplink:
    """What the inventory says of the node, else what the settings say of all."""
    return uplinks.get(node) or Uplink(
        settings.interface,
        settings.uplink_mtu,
        settings.uplink_cidrs,
        settings.further_uplinks,
        settings.uplink_gateways,
    )
