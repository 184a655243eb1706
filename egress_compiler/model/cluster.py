"""The cluster as far as egress is concerned: the few fields of the few kinds that matter."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

from egress_compiler.diagnostics import Related
from egress_compiler.net import FAMILIES, Address, Family, Interval, Intervals, union
from egress_compiler.source import Origin


class ReportedAddress(NamedTuple):
    """An entry of a Node's ``status.addresses``: its place there, and the address; None where ``problem`` says why."""

    place: int
    external: bool
    text: str
    address: Address | None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class NodeReport:
    """What a Node object says of itself as far as it tells whether, and by which address, it can be configured.

    ``taints`` are key to value; ``origin`` tells where all this stands.
    """

    addresses: tuple[ReportedAddress, ...] = ()
    operating_system: str = ""
    kubelet: str = ""
    taints: Mapping[str, str] = field(default_factory=dict)
    origin: Origin | None = None


@dataclass(frozen=True, slots=True)
class Node:
    """A Kubernetes node; ``addresses`` are its InternalIPs, the first of a family being the one that is used.

    ``external_addresses``, its ExternalIPs and the InternalIPs that it shares with others, are inside the cluster like
    the others; nothing else uses them.  ``ready`` is what the condition says, or that there is none.
    """

    name: str
    labels: Mapping[str, str]
    addresses: tuple[Address, ...]
    pod_cidrs: Mapping[Family, Intervals]
    external_addresses: tuple[Address, ...] = ()
    ready: bool = True
    report: NodeReport = field(default_factory=NodeReport, repr=False, compare=False)

    def address(self, family: Family) -> int | None:
        return next((a.value for a in self.addresses if a.family == family), None)


@dataclass(frozen=True, slots=True)
class OtherNode:
    """A Node object that gets no configuration.  ``why`` completes a sentence about it: "runs windows".

    ``waiting``: it is a host, and gets its configuration as soon as it has an address; ``hint`` says what would help.
    """

    node: Node
    why: str
    waiting: bool = False
    hint: str = ""


class Pod(NamedTuple):
    """A pod that is Pending or Running with addresses of its own.

    A tuple, as a cluster has many: half the time of a frozen dataclass, and they sort by namespace and name.
    """

    namespace: str
    name: str
    labels: Mapping[str, str]
    node: str
    addresses: tuple[Address, ...]

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class AddressTable:
    """The addresses of one family that pods have, ascending, and of each the position of its pod.

    Questions about ranges look at the ranges, and at none of a hundred thousand addresses in between.
    """

    values: Sequence[int]
    pods: Sequence[int]

    def within(self, intervals: Intervals) -> list[int]:
        """The places in the table of the addresses in ``intervals``, ascending."""
        places: list[int] = []
        for interval in intervals:
            places += self.span(interval)
        return places

    def span(self, interval: Interval) -> range:
        """The same of one interval, where they stand side by side."""
        return range(bisect_left(self.values, interval.first), bisect_left(self.values, interval.last + 1))

    def outside(self, intervals: Intervals) -> list[int]:
        """The places in the table of all other addresses, ascending."""
        places: list[int] = []
        start = 0
        for first, last in intervals:
            places += range(start, bisect_left(self.values, first))
            start = bisect_left(self.values, last + 1)
        return [*places, *range(start, len(self.values))]


def _tables(pods: Sequence[Pod]) -> Mapping[Family, AddressTable]:
    values4: list[int] = []
    values6: list[int] = []
    pods4: list[int] = []
    pods6: list[int] = []
    for position, pod in enumerate(pods):
        for family, value in pod[4]:  # the addresses, by place as a cluster has many
            if family == 4:
                values4.append(value)
                pods4.append(position)
            else:
                values6.append(value)
                pods6.append(position)
    return {4: _table(values4, pods4), 6: _table(values6, pods6)}


def _table(values: Sequence[int], positions: Sequence[int]) -> AddressTable:
    """Pods with the same address stay in their order."""
    # Places are sorted by their value, as pairs would take half as long again.
    places = sorted(range(len(values)), key=values.__getitem__)
    return AddressTable([values[place] for place in places], [positions[place] for place in places])


class Claim(NamedTuple):
    """A pod, and where it says that an address is its own."""

    pod: Pod
    origin: Origin
    path: tuple[str | int, ...]


class SharedAddress(NamedTuple):
    """An address that several pods have, none of which is going away."""

    address: Address
    claims: tuple[Claim, ...]


class BadAddress(NamedTuple):
    """What a pod has for an address and is none."""

    problem: str
    claim: Claim


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


@dataclass(frozen=True)  # without slots, which leave no place for the table
class Cluster:
    """Every tuple is sorted by name.  The CIDRs are what was found of each source, empty where nothing was.

    ``nodes`` are the hosts that are configured, each with an address of the ``underlay`` family, over which all tunnels
    run; ``other_nodes`` are the Node objects that get nothing.  Before ``choose_hosts`` all are among the ``nodes``.
    ``control_plane_pod_cidrs`` are what kubeadm or the control plane's flags say, ``plugin_pod_cidrs`` what Cilium or
    Kube-OVN; ``control_plane_addresses`` are what API servers are reached at, with what told so.  ``unread_services``
    and ``unread_pods`` are places that might have told CIDRs, where nothing did.  ``external_addresses`` are what
    Services have outside the cluster, with their owners: of load balancers, externalIPs.  What is wrong with pods'
    addresses, ``shared_addresses`` and ``bad_addresses``, matters where a policy selects the pod.
    """

    nodes: tuple[Node, ...]
    pods: tuple[Pod, ...]
    host_network_pods: tuple[HostNetworkPod, ...]
    namespaces: tuple[Namespace, ...]
    service_addresses: Mapping[Address, str]
    service_cidrs: Mapping[Family, Intervals]
    calico_pools: Mapping[Family, Intervals]
    control_plane_pod_cidrs: Mapping[Family, Intervals] = field(default_factory=lambda: {4: (), 6: ()})
    plugin_pod_cidrs: Mapping[Family, Intervals] = field(default_factory=lambda: {4: (), 6: ()})
    control_plane_addresses: Mapping[Address, str] = field(default_factory=dict)
    unread_services: tuple[Related, ...] = ()
    unread_pods: tuple[Related, ...] = ()
    external_addresses: Mapping[Address, str] = field(default_factory=dict)
    shared_addresses: tuple[SharedAddress, ...] = ()
    bad_addresses: tuple[BadAddress, ...] = ()
    other_nodes: tuple[OtherNode, ...] = ()
    underlay: Family = 4

    @cached_property
    def pod_table(self) -> Mapping[Family, AddressTable]:
        """The addresses of all pods by family."""
        return _tables(self.pods)

    def without_pods(self) -> Cluster:
        return replace(self, pods=(), host_network_pods=(), shared_addresses=(), bad_addresses=())

    @property
    def all_nodes(self) -> tuple[Node, ...]:
        """Every Node object, configured or not."""
        return (*self.nodes, *(other.node for other in self.other_nodes))

    @property
    def others(self) -> Mapping[str, OtherNode]:
        """The Node objects that get no configuration, by name."""
        return {other.node.name: other for other in self.other_nodes}

    @property
    def families(self) -> tuple[Family, ...]:
        """The families in which nodes have addresses."""
        return tuple(f for f in FAMILIES if any(node.address(f) is not None for node in self.nodes))

    @property
    def pod_ranges(self) -> Mapping[Family, Intervals]:
        """Every range that somebody says pods have their addresses from."""
        ranges = (self.control_plane_pod_cidrs, self.plugin_pod_cidrs, self.calico_pools)
        of_nodes = [node.pod_cidrs for node in self.all_nodes]
        return {f: union(interval for known in (*ranges, *of_nodes) for interval in known[f]) for f in FAMILIES}

    @property
    def node_addresses(self) -> tuple[tuple[Address, str], ...]:
        """Every address that a Node object shows, inner and outer, with the node's name."""
        return tuple((a, node.name) for node in self.all_nodes for a in (*node.addresses, *node.external_addresses))


def single(value: int) -> Interval:
    return Interval(value, value)
