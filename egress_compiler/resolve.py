"""Policies meet the cluster: which gateway, which nodes, which pods, what is inside.

The result still has no numbers: those are allocated in the next stage.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from egress_compiler.diagnostics import Collector, nearest, quoted
from egress_compiler.inside import cluster_inside
from egress_compiler.labels import LabelIndex, LabelSelector
from egress_compiler.model.cluster import Cluster, Node, Pod
from egress_compiler.model.policy import DEFAULT_GATEWAY_LABEL, Gateway, Policy, PolicySet
from egress_compiler.model.settings import Settings
from egress_compiler.net import (
    FAMILIES,
    Family,
    Interval,
    Intervals,
    contains,
    format_address,
    nth,
    rank,
    subtract,
)
from egress_compiler.source import Position


@dataclass(frozen=True, slots=True)
class ResolvedGateway:
    """A gateway and its nodes, sorted by name; without nodes its policies are blocked."""

    gateway: Gateway
    nodes: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class ResolvedPolicy:
    """A policy with its gateway.  ``pods`` are positions in the cluster's pods, ascending.

    ``subnets`` are source addresses that count whether a pod is known there or not.  ``eip`` has what the
    user asked for, a missing partner filled in.
    """

    policy: Policy
    gateway: Gateway
    pods: tuple[int, ...]
    subnets: Mapping[Family, Intervals]
    eip: Mapping[Family, int | None]


@dataclass(frozen=True, slots=True)
class Resolved:
    """``policies`` in the order in which packets meet them."""

    cluster: Cluster
    gateways: Mapping[str, ResolvedGateway]
    policies: tuple[ResolvedPolicy, ...]
    inside: Mapping[Family, Intervals]
    families: tuple[Family, ...]


def resolve(policy_set: PolicySet, cluster: Cluster, settings: Settings, found: Collector) -> Resolved:
    """Everything that follows from policies and cluster together; errors and warnings go to ``found``."""
    gateways = {gateway.name: _gateway(gateway, cluster, found) for gateway in policy_set.gateways}
    chooser = _GatewayChooser(policy_set, cluster)
    selection = _Selection(cluster, found)
    policies: list[ResolvedPolicy] = []
    for policy in sorted(policy_set.policies, key=lambda policy: policy.order):
        gateway = chooser.choose(policy, found)
        if gateway is not None:
            eip = _wanted_eip(policy, gateway, found)
            pods, subnets = selection.sources(policy)
            policies.append(ResolvedPolicy(policy, gateway, pods, subnets, eip))
    inside = cluster_inside(policy_set.cluster_info, cluster, settings, found)
    for resolved in policies:
        _check_destinations(resolved.policy, inside, found)
    return Resolved(cluster, gateways, tuple(policies), inside, _families(policy_set, cluster))


def _families(policy_set: PolicySet, cluster: Cluster) -> tuple[Family, ...]:
    """IPv4 always, as the tunnel needs a family; IPv6 where a node has it."""
    return tuple(family for family in FAMILIES if family == 4 or family in cluster.families)


def _gateway(gateway: Gateway, cluster: Cluster, found: Collector) -> ResolvedGateway:
    nodes = tuple(node for node in cluster.nodes if gateway.node_selector.matches(node.labels))
    if not nodes:
        found.warning(
            "no-gateway-node",
            f"EgressGateway {gateway.name} selects no node: the traffic of its policies is blocked",
            gateway.document.at("spec", "nodeSelector", "selector"),
            hint="label a node so that it matches",
        )
    return ResolvedGateway(gateway, nodes)


class _GatewayChooser:
    """The gateway of a policy: the one it names, else its namespace's default, else the cluster's."""

    def __init__(self, policy_set: PolicySet, cluster: Cluster) -> None:
        self._gateways = {gateway.name: gateway for gateway in policy_set.gateways}
        self._refused = policy_set.refused_gateways
        self._default = next((g for g in policy_set.gateways if g.cluster_default), None)
        self._namespace_labels = {namespace.name: namespace.labels for namespace in cluster.namespaces}

    def choose(self, policy: Policy, found: Collector) -> Gateway | None:
        labels = self._namespace_labels.get(policy.ref.namespace, {})
        name = policy.gateway or labels.get(DEFAULT_GATEWAY_LABEL)
        if name is None:
            if self._default is None and not self._refused:
                found.error(
                    "no-gateway",
                    f"{policy.ref} names no gateway, and there is no default",
                    policy.document.at("spec"),
                    hint=f"set egressGatewayName, the namespace's label {DEFAULT_GATEWAY_LABEL}, "
                    "or clusterDefault: true on one EgressGateway",
                )
            return self._default
        if name not in self._gateways:
            if name not in self._refused:
                by_label = "" if policy.gateway else f" (from the label of namespace {policy.ref.namespace})"
                found.error(
                    "unknown-gateway",
                    f"there is no EgressGateway {quoted(name)}{by_label}",
                    policy.document.at("spec", "egressGatewayName"),
                    hint=nearest(name, self._gateways) or f"there are: {', '.join(sorted(self._gateways)) or 'none'}",
                )
            return None
        return self._gateways[name]


def _wanted_eip(policy: Policy, gateway: Gateway, found: Collector) -> Mapping[Family, int | None]:
    """The addresses that the policy names, checked against the pool, the partner of a pair filled in."""
    eip = dict(policy.eip)
    if policy.use_node_ip:
        return eip
    if not gateway.families:
        found.error(
            "empty-pool",
            f"EgressGateway {gateway.name} has no EIPs: only useNodeIP policies can use it",
            policy.document.at("spec", "egressIP"),
            hint="add addresses to its ippools, or set egressIP.useNodeIP: true",
        )
    for family in FAMILIES:
        value = eip[family]
        if value is not None and not contains(gateway.pool[family], value):
            found.error(
                "not-in-pool",
                f"{format_address(family, value)} is not in the IPv{family} pool of EgressGateway {gateway.name}",
                policy.document.at("spec", "egressIP", f"ipv{family}"),
            )
            return {4: None, 6: None}
    if len(gateway.families) == 2:
        _complete_pair(policy, gateway, eip, found)
    return eip


def _complete_pair(policy: Policy, gateway: Gateway, eip: dict[Family, int | None], found: Collector) -> None:
    both: tuple[tuple[Family, Family], ...] = ((4, 6), (6, 4))
    for family, other in both:
        value = eip[family]
        if value is None:
            continue
        try:
            partner = nth(gateway.pool[other], rank(gateway.pool[family], value))
        except IndexError:
            return
        if eip[other] is None:
            eip[other] = partner
        elif eip[other] != partner:
            found.error(
                "not-a-pair",
                f"{format_address(4, eip[4] or 0)} and {format_address(6, eip[6] or 0)} are no pair of "
                f"EgressGateway {gateway.name}",
                policy.document.at("spec", "egressIP", f"ipv{other}"),
                hint=f"the partner is {format_address(other, partner)}",
            )
            return


class _Selection:
    """Selects pods by namespace and label through inverted indexes built once."""

    def __init__(self, cluster: Cluster, found: Collector) -> None:
        self._cluster = cluster
        self._found = found
        self._pods = LabelIndex([pod.labels for pod in cluster.pods])
        self._namespaces = LabelIndex([namespace.labels for namespace in cluster.namespaces])
        self._names = [namespace.name for namespace in cluster.namespaces]
        self._by_namespace: dict[str, list[int]] = {}
        for position, pod in enumerate(cluster.pods):
            self._by_namespace.setdefault(pod.namespace, []).append(position)

    def sources(self, policy: Policy) -> tuple[tuple[int, ...], Mapping[Family, Intervals]]:
        """The pods a policy selects, and the source subnets that it takes whole."""
        nothing: Mapping[Family, Intervals] = {4: (), 6: ()}
        if policy.pod_subnets is not None and not policy.namespaced and policy.namespace_selector is None:
            return (), policy.pod_subnets
        namespaces = self._namespaces_of(policy)
        if policy.pod_selector is not None:
            pods = self._by_label(policy.pod_selector, namespaces)
            self._name_host_network(policy, policy.pod_selector, namespaces)
        else:
            pods = self._by_subnet(policy.pod_subnets or {}, namespaces)
        if not pods:
            self._found.warning("selects-nothing", f"{policy.ref} selects no pod", _source_place(policy))
        return tuple(pods), nothing

    def _namespaces_of(self, policy: Policy) -> frozenset[str] | None:
        """The namespaces a policy looks into; None for all."""
        if policy.namespaced:
            if self._names and policy.ref.namespace not in self._names:
                self._found.warning(
                    "unknown-namespace",
                    f"the namespace {quoted(policy.ref.namespace)} of {policy.ref} is not in the cluster",
                    policy.document.at("metadata", "namespace"),
                    hint=nearest(policy.ref.namespace, self._names),
                )
            return frozenset({policy.ref.namespace})
        if policy.namespace_selector is None or policy.namespace_selector.empty:
            return None
        return frozenset(self._names[position] for position in self._namespaces.select(policy.namespace_selector))

    def _by_label(self, selector: LabelSelector, namespaces: frozenset[str] | None) -> list[int]:
        pods = self._cluster.pods
        if namespaces is not None and len(namespaces) == 1:
            (namespace,) = namespaces
            inside = self._by_namespace.get(namespace, [])
            if len(inside) < 64:
                return [position for position in inside if selector.matches(pods[position].labels)]
        selected = self._pods.select(selector)
        if namespaces is None:
            return selected
        return [position for position in selected if pods[position].namespace in namespaces]

    def _by_subnet(self, subnets: Mapping[Family, Intervals], namespaces: frozenset[str] | None) -> list[int]:
        pods: Sequence[Pod] = self._cluster.pods
        if namespaces is None:
            positions = range(len(pods))
            chosen = list(positions)
        else:
            chosen = sorted(p for namespace in namespaces for p in self._by_namespace.get(namespace, ()))
        return [p for p in chosen if any(contains(subnets[a.family], a.value) for a in pods[p].addresses)]

    def _name_host_network(self, policy: Policy, selector: LabelSelector, namespaces: frozenset[str] | None) -> None:
        for pod in self._cluster.host_network_pods:
            if (namespaces is None or pod.namespace in namespaces) and selector.matches(pod.labels):
                self._found.warning(
                    "host-network-pod",
                    f"{policy.ref} selects {pod.namespace}/{pod.name}, which has its node's address and is left out",
                    _source_place(policy),
                )


def _source_place(policy: Policy) -> Position:
    key = "podSelector" if policy.pod_selector is not None else "podSubnet"
    return policy.document.key_at("spec", "appliedTo", key)


def _check_destinations(policy: Policy, inside: Mapping[Family, Intervals], found: Collector) -> None:
    if policy.destinations is None:
        return
    given: list[tuple[Family, Interval]] = [(f, i) for f in FAMILIES for i in policy.destinations[f]]
    if given and not any(subtract((interval,), inside[family]) for family, interval in given):
        found.warning(
            "destination-inside",
            f"every destination of {policy.ref} is inside the cluster, where no policy applies",
            policy.document.key_at("spec", "destSubnet"),
        )
