"""Policies meet the cluster: which gateway, which nodes, which pods, what is inside.

The result still has no numbers: those are allocated in the next stage.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from egress_compiler.asked import Asked, pods_asked
from egress_compiler.diagnostics import Collector, counted
from egress_compiler.hosts import NO_HOSTS, Hosts, hosts_of
from egress_compiler.inside import cluster_inside, inside_by_files
from egress_compiler.labels import LabelIndex, LabelSelector
from egress_compiler.model.cluster import Cluster, Node, Pod
from egress_compiler.model.policy import Gateway, Policy, PolicySet
from egress_compiler.model.settings import Settings
from egress_compiler.net import (
    FAMILIES,
    Family,
    Intervals,
    intersect,
    subtract,
)
from egress_compiler.wanted import wanted_by

_NOTHING: Mapping[Family, Intervals] = {4: (), 6: ()}
"""Most policies take no subnet whole."""


@dataclass(frozen=True, slots=True)
class ResolvedGateway:
    """A gateway and its nodes, sorted by name; without nodes its policies are blocked."""

    gateway: Gateway
    nodes: tuple[Node, ...]

    @property
    def families(self) -> tuple[Family, ...]:
        """The families that its nodes can carry; all where it has none, as it carries nothing anyway."""
        return tuple(f for f in FAMILIES if not self.nodes or any(node.address(f) is not None for node in self.nodes))


@dataclass(frozen=True, slots=True)
class ResolvedPolicy:
    """A policy with its gateway.  ``pods`` are positions in the cluster's pods, ascending.

    ``unserved`` are those of pods that it selects on nodes without a configuration, where nothing can steer them.
    ``subnets`` are source addresses that count whether a pod is known there or not; hosts' addresses among them are
    taken out, and are in ``hosts``.  ``eip`` has what the user asked for, a missing partner filled in.
    """

    policy: Policy
    gateway: Gateway
    pods: tuple[int, ...]
    subnets: Mapping[Family, Intervals]
    hosts: Mapping[Family, Intervals]
    eip: Mapping[Family, int | None]
    unserved: tuple[int, ...] = ()

    @property
    def takes_default(self) -> bool:
        """Whether it leaves with the gateway's default EIP, as it names none and asks for none of its own."""
        named = any(value is not None for value in self.eip.values())
        return self.policy.allocator == "default" and not self.policy.use_node_ip and not named


@dataclass(frozen=True, slots=True)
class Resolved:
    """``policies`` in the order in which packets meet them.

    Where nodes follow their pods by themselves (``followed``), nothing but the policies' own ``pods`` depends on pods.
    """

    cluster: Cluster
    gateways: Mapping[str, ResolvedGateway]
    policies: tuple[ResolvedPolicy, ...]
    inside: Mapping[Family, Intervals]
    pod_cidrs: Mapping[Family, Intervals]
    hosts: Hosts
    families: tuple[Family, ...]
    followed: bool = False

    def without_pods(self) -> Resolved:
        """The same for a cluster in which nobody has seen a pod."""
        policies = tuple(replace(policy, pods=(), unserved=()) for policy in self.policies)
        return replace(self, cluster=self.cluster.without_pods(), policies=policies)


def resolve(
    policy_set: PolicySet, cluster: Cluster, settings: Settings, found: Collector, asked: Asked | None = None
) -> Resolved:
    """Everything that follows from policies and cluster together; errors and warnings go to ``found``.

    With a question policies select pods only among those that its answer depends on.
    """
    gateways = {gateway.name: _gateway(gateway, policy_set, cluster, found) for gateway in policy_set.gateways}
    labels = {namespace.name: namespace.labels for namespace in cluster.namespaces}
    followed = settings.membership.followed
    hosts = hosts_of(cluster.without_pods() if followed else cluster, policy_set.gateways, settings)
    inside = cluster_inside(policy_set.cluster_info, cluster, settings, found)
    among: Sequence[int] = range(len(cluster.pods))
    if asked is not None:
        gateway_nodes = (node.name for gateway in gateways.values() for node in gateway.nodes)
        among = pods_asked(asked, cluster, gateway_nodes, inside.pods)
    policies = _policies(policy_set, _Selection(cluster, among), hosts, labels, found)
    families = _families(policy_set, cluster)
    return Resolved(cluster, gateways, policies, inside.everything, inside.pods, hosts, families, followed)


def selected_among(pods: Sequence[Pod], resolved: Resolved) -> frozenset[int]:
    """Positions of those of ``pods``, which need not be the cluster's, that a policy selects."""
    selection = _Selection(replace(resolved.cluster, pods=tuple(pods)), range(len(pods)))
    return frozenset(p for policy in resolved.policies for p in selection.sources(policy.policy)[0])


def resolve_files(policy_set: PolicySet, found: Collector) -> Resolved:
    """What of it the policy files decide by themselves: no node, no pod, and of the inside what they name."""
    cluster = Cluster((), (), (), (), {}, {4: (), 6: ()}, {4: (), 6: ()})
    gateways = {gateway.name: ResolvedGateway(gateway, ()) for gateway in policy_set.gateways}
    policies = _policies(policy_set, _Selection(cluster, ()), NO_HOSTS, None, found)
    inside = inside_by_files(policy_set.cluster_info)
    return Resolved(cluster, gateways, policies, inside, {4: (), 6: ()}, NO_HOSTS, FAMILIES)


def _policies(
    policy_set: PolicySet,
    selection: _Selection,
    hosts: Hosts,
    labels: Mapping[str, Mapping[str, str]] | None,
    found: Collector,
) -> tuple[ResolvedPolicy, ...]:
    policies: list[ResolvedPolicy] = []
    for one in wanted_by(policy_set, labels, found):
        pods, unserved, whole = selection.sources(one.policy)
        subnets = covered = whole
        if whole is not _NOTHING:
            subnets = {family: subtract(whole[family], hosts.addresses[family]) for family in FAMILIES}
            covered = {family: intersect(whole[family], hosts.addresses[family]) for family in FAMILIES}
        policies.append(ResolvedPolicy(one.policy, one.gateway, pods, subnets, covered, one.eip, unserved))
    return tuple(policies)


def _families(policy_set: PolicySet, cluster: Cluster) -> tuple[Family, ...]:
    """IPv4 always, as the tunnel needs a family; IPv6 where a node has it."""
    return tuple(family for family in FAMILIES if family == 4 or family in cluster.families)


def _gateway(gateway: Gateway, policy_set: PolicySet, cluster: Cluster, found: Collector) -> ResolvedGateway:
    nodes = tuple(node for node in cluster.nodes if gateway.node_selector.matches(node.labels))
    place = gateway.document.key_at("spec", "nodeSelector", "selector")
    foreign = [o for o in cluster.other_nodes if not o.waiting and gateway.node_selector.matches(o.node.labels)]
    if foreign:
        more = f" (and {counted(len(foreign) - 1, 'more such node')})" if foreign[1:] else ""
        found.warning(
            "foreign-gateway-node",
            f"EgressGateway {gateway.name} selects {foreign[0].node.name}{more}, which {foreign[0].why}",
            place,
            hint="no such node becomes a gateway: change the selector, or the node's label",
        )
    if not nodes and gateway.name not in policy_set.refused_gateways:
        found.warning(
            "no-gateway-node",
            f"EgressGateway {gateway.name} selects none of the {len(cluster.nodes)} nodes: the traffic of its policies "
            "is blocked",
            place,
            hint="label a node so that it matches, or change the selector",
        )
    return ResolvedGateway(gateway, nodes)


class _PodIndex:
    """Positions of pods by namespace and label, each index built when it is first asked."""

    def __init__(self, pods: Sequence[Pod], among: Sequence[int]) -> None:
        """Of the pods at the positions ``among``, which ascend."""
        self._labels = [pod.labels for pod in pods]
        self._among = among
        self._by_namespace: dict[str, list[int]] = {}
        self._indexes: dict[str, LabelIndex] = {}
        for position in among:
            self._by_namespace.setdefault(pods[position].namespace, []).append(position)

    def inside(self, namespaces: frozenset[str] | None) -> Sequence[int]:
        """The pods of ``namespaces``, None being all; ascending."""
        if namespaces is None:
            return self._among
        return sorted(position for name in namespaces for position in self._by_namespace.get(name, ()))

    def select(self, selector: LabelSelector, namespaces: frozenset[str] | None) -> list[int]:
        """Those of them that ``selector`` matches."""
        if namespaces is None:
            return self._everywhere.select(selector)
        having = (name for name in namespaces if name in self._by_namespace)
        return sorted(position for name in having for position in self._of(name).select(selector))

    @cached_property
    def _everywhere(self) -> LabelIndex:
        return LabelIndex(self._labels, self._among)

    def _of(self, namespace: str) -> LabelIndex:
        known = self._indexes.get(namespace)
        if known is None:
            known = self._indexes[namespace] = LabelIndex(self._labels, self._by_namespace[namespace])
        return known


class _Selection:
    """Selects pods by namespace and label, of those at the positions ``among``, which ascend."""

    def __init__(self, cluster: Cluster, among: Sequence[int]) -> None:
        self._cluster = cluster
        self._pods = _PodIndex(cluster.pods, among)
        self._namespaces = LabelIndex([namespace.labels for namespace in cluster.namespaces])
        others = frozenset(cluster.others)
        self._unserved = frozenset(p for p in (among if others else ()) if cluster.pods[p].node in others)

    def sources(self, policy: Policy) -> tuple[tuple[int, ...], tuple[int, ...], Mapping[Family, Intervals]]:
        """The pods a policy selects on hosts, those that it selects elsewhere, and the subnets that it takes whole."""
        if policy.pod_subnets is not None and not policy.namespaced and policy.namespace_selector is None:
            elsewhere = self._within(policy.pod_subnets, sorted(self._unserved))
            return (), tuple(elsewhere), policy.pod_subnets
        namespaces = self._namespaces_of(policy)
        if policy.pod_selector is not None:
            pods = self._pods.select(policy.pod_selector, namespaces)
        else:
            pods = self._within(policy.pod_subnets or {}, self._pods.inside(namespaces))
        if not self._unserved:
            return tuple(pods), (), _NOTHING
        served = tuple(p for p in pods if p not in self._unserved)
        return served, tuple(p for p in pods if p in self._unserved), _NOTHING

    def _namespaces_of(self, policy: Policy) -> frozenset[str] | None:
        """The namespaces a policy looks into; None for all."""
        if policy.namespaced:
            return frozenset({policy.ref.namespace})
        if policy.namespace_selector is None or policy.namespace_selector.empty:
            return None
        names = self._cluster.namespaces
        return frozenset(names[position].name for position in self._namespaces.select(policy.namespace_selector))

    def _within(self, subnets: Mapping[Family, Intervals], positions: Iterable[int]) -> list[int]:
        tables = self._cluster.pod_table
        inside = {tables[f].pods[place] for f in subnets for place in tables[f].within(subnets[f])}
        return [position for position in positions if position in inside]
