"""The policy language as frozen values, addresses already in ints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from egress_compiler.document import Path, Places
from egress_compiler.labels import LabelSelector
from egress_compiler.net import Family, Interval, Intervals

NAMESPACED_PRIORITY = 1000
CLUSTER_PRIORITY = 32768
RELEASED_KEY = "egressgateway.spidernet.io/released-eips"
DEFAULT_GATEWAY_LABEL = "spidernet.io/egressgateway-default"


class Ref(NamedTuple):
    """Names an object; sorts by kind, namespace, name."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


class Item(NamedTuple):
    """One line of a list of addresses: its path in the object's document, its text, and the addresses that it gives."""

    path: Path
    text: str
    family: Family
    interval: Interval


@dataclass(frozen=True, slots=True)
class Gateway:
    """An EgressGateway.  ``pool`` has the usable addresses by family; a default of None means the pool's first.

    ``pool_items`` are the lines of the pool that are right, each with its usable addresses.

    ``released`` are addresses that policies may lose: the user says so, and takes them out of the pool.

    With ``falls_back`` new connections leave with the address of the pod's node while no gateway node answers,
    else not at all.
    """

    name: str
    description: str
    pool: Mapping[Family, Intervals]
    default_eip: Mapping[Family, int | None]
    node_selector: LabelSelector
    cluster_default: bool
    falls_back: bool
    released: Mapping[Family, Intervals]
    document: Places = field(repr=False, compare=False)
    pool_items: Mapping[Family, tuple[Item, ...]] = field(repr=False, compare=False)

    @property
    def families(self) -> tuple[Family, ...]:
        return tuple(family for family in (4, 6) if self.pool[family])


@dataclass(frozen=True, slots=True)
class Policy:
    """An EgressPolicy or EgressClusterPolicy; exactly one of ``pod_selector`` and ``pod_subnets`` is given.

    ``destinations`` is None where everything outside the cluster is meant.  With ``cut`` a change ends what is open.
    ``uid`` is what the cluster's own export of the policy says, empty elsewhere.  The items are the lines of
    destSubnet and podSubnet that are right.
    """

    ref: Ref
    description: str
    gateway: str | None
    eip: Mapping[Family, int | None]
    allocator: Literal["default", "rr"]
    use_node_ip: bool
    pod_selector: LabelSelector | None
    pod_subnets: Mapping[Family, Intervals] | None
    namespace_selector: LabelSelector | None
    destinations: Mapping[Family, Intervals] | None
    priority: int
    cut: bool
    uid: str = field(repr=False, compare=False)
    document: Places = field(repr=False, compare=False)
    destination_items: tuple[Item, ...] = field(repr=False, compare=False)
    pod_subnet_items: tuple[Item, ...] = field(repr=False, compare=False)

    @property
    def namespaced(self) -> bool:
        return bool(self.ref.namespace)

    @property
    def order(self) -> tuple[int, bool, str, str]:
        """Sorts policies as packets meet them."""
        return (self.priority, not self.namespaced, self.ref.namespace, self.ref.name)


@dataclass(frozen=True, slots=True)
class ClusterInfo:
    """EgressClusterInfo ``default``, or the defaults where there is none (``document`` is None)."""

    node_ip: bool = True
    cluster_ip: bool = True
    pod_cidr_mode: Literal["k8s", "calico", "auto", ""] = "auto"
    extra: Mapping[Family, Intervals] = field(default_factory=lambda: {4: (), 6: ()})
    document: Places | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class PolicySet:
    """All policy objects of a run, each list sorted.

    ``refused_gateways`` had errors, and ``broken`` policies too: only what is right in them can be checked further.
    ``incomplete``: some document could not be read, so what is named and not there may be in it.
    """

    gateways: tuple[Gateway, ...]
    policies: tuple[Policy, ...]
    cluster_info: ClusterInfo
    refused_gateways: frozenset[str] = frozenset()
    broken: tuple[Policy, ...] = ()
    incomplete: bool = False
