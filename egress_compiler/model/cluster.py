"""The cluster as far as egress is concerned: the few fields of the few kinds that matter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from egress_compiler.net import FAMILIES, Address, Family, Interval, Intervals


@dataclass(frozen=True, slots=True)
class Node:
    """A Kubernetes node; ``addresses`` are its InternalIPs, the first of a family being the one that is used.

    ``external_addresses``, its ExternalIPs, are inside the cluster like the others; nothing else uses them.
    """

    name: str
    labels: Mapping[str, str]
    addresses: tuple[Address, ...]
    pod_cidrs: Mapping[Family, Intervals]
    external_addresses: tuple[Address, ...] = ()

    def address(self, family: Family) -> int | None:
        return next((a.value for a in self.addresses if a.family == family), None)

    @property
    def underlay_family(self) -> Family:
        """Of the packets that the node's tunnel sends."""
        return 4 if self.address(4) is not None else 6


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod that is Pending or Running with addresses of its own."""

    namespace: str
    name: str
    labels: Mapping[str, str]
    node: str
    addresses: tuple[Address, ...]

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class HostNetworkPod:
    """A pod with its node's address: never selected, named in warnings."""

    namespace: str
    name: str
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Namespace:
    name: str
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Cluster:
    """Every tuple is sorted by name.  The CIDRs are what was found of each source, empty where nothing was.

    ``control_plane_pod_cidrs`` are what kubeadm or the control plane's flags say; ``external_addresses`` are what nodes
    and Services have outside the cluster, with their owners: ExternalIPs, of load balancers, externalIPs.
    """

    nodes: tuple[Node, ...]
    pods: tuple[Pod, ...]
    host_network_pods: tuple[HostNetworkPod, ...]
    namespaces: tuple[Namespace, ...]
    service_addresses: Mapping[Address, str]
    service_cidrs: Mapping[Family, Intervals]
    calico_pools: Mapping[Family, Intervals]
    control_plane_pod_cidrs: Mapping[Family, Intervals] = field(default_factory=lambda: {4: (), 6: ()})
    external_addresses: Mapping[Address, str] = field(default_factory=dict)

    @property
    def families(self) -> tuple[Family, ...]:
        """The families in which nodes have addresses."""
        return tuple(f for f in FAMILIES if any(node.address(f) is not None for node in self.nodes))


def single(value: int) -> Interval:
    return Interval(value, value)
