"""Policies meet the cluster: which gateway, which nodes, which pods, what is inside.

The result still has no numbers: those are allocated in the next stage.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from egress_compiler.diagnostics import Collector, Related, listing, nearest, quoted
from egress_compiler.document import Document
from egress_compiler.inside import cluster_inside
from egress_compiler.labels import LabelIndex, LabelSelector
from egress_compiler.model.cluster import Cluster, Node, Pod
from egress_compiler.model.policy import DEFAULT_GATEWAY_LABEL, Gateway, Policy, PolicySet
from egress_compiler.model.settings import Settings
from egress_compiler.net import (
    FAMILIES,
    Family,
    Intervals,
    contains,
    format_address,
    nth,
    rank,
)
from egress_compiler.validate.pools import pool_hint


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

    @property
    def takes_default(self) -> bool:
        """Whether it leaves with the gateway's default EIP, as it names none and asks for none of its own."""
        named = any(value is not None for value in self.eip.values())
        return self.policy.allocator == "default" and not self.policy.use_node_ip and not named


@dataclass(frozen=True, slots=True)
class Resolved:
    """``policies`` in the order in which packets meet them."""

    cluster: Cluster
    gateways: Mapping[str, ResolvedGateway]
    policies: tuple[ResolvedPolicy, ...]
    inside: Mapping[Family, Intervals]
    pod_cidrs: Mapping[Family, Intervals]
    families: tuple[Family, ...]


def resolve(policy_set: PolicySet, cluster: Cluster, settings: Settings, found: Collector) -> Resolved:
    """Everything that follows from policies and cluster together; errors and warnings go to ``found``."""
    gateways = {gateway.name: _gateway(gateway, policy_set, cluster, found) for gateway in policy_set.gateways}
    chooser = _GatewayChooser(policy_set, cluster)
    selection = _Selection(cluster)
    policies: list[ResolvedPolicy] = []
    for policy in sorted(policy_set.policies, key=lambda policy: policy.order):
        gateway = chooser.choose(policy, found)
        if gateway is not None:
            eip = _wanted_eip(policy, gateway, found)
            pods, subnets = selection.sources(policy)
            policies.append(ResolvedPolicy(policy, gateway, pods, subnets, eip))
    _check_broken(policy_set.broken, chooser, found)
    inside = cluster_inside(policy_set.cluster_info, cluster, settings, found)
    return Resolved(cluster, gateways, tuple(policies), inside.everything, inside.pods, _families(policy_set, cluster))


def _families(policy_set: PolicySet, cluster: Cluster) -> tuple[Family, ...]:
    """IPv4 always, as the tunnel needs a family; IPv6 where a node has it."""
    return tuple(family for family in FAMILIES if family == 4 or family in cluster.families)


def _gateway(gateway: Gateway, policy_set: PolicySet, cluster: Cluster, found: Collector) -> ResolvedGateway:
    nodes = tuple(node for node in cluster.nodes if gateway.node_selector.matches(node.labels))
    if not nodes and gateway.name not in policy_set.refused_gateways:
        found.warning(
            "no-gateway-node",
            f"EgressGateway {gateway.name} selects none of the {len(cluster.nodes)} nodes: the traffic of its policies "
            "is blocked",
            gateway.document.key_at("spec", "nodeSelector", "selector"),
            hint="label a node so that it matches, or change the selector",
        )
    return ResolvedGateway(gateway, nodes)


class _GatewayChooser:
    """The gateway of a policy: the one it names, else its namespace's default, else the cluster's."""

    def __init__(self, policy_set: PolicySet, cluster: Cluster) -> None:
        self._gateways = {gateway.name: gateway for gateway in policy_set.gateways}
        self._refused = policy_set.refused_gateways
        # Where something could not be read, the gateway that seems to be missing may stand in there.
        self._quiet = policy_set.incomplete or "" in policy_set.refused_gateways
        self._default = next((g for g in policy_set.gateways if g.cluster_default), None)
        self._namespace_labels = {namespace.name: namespace.labels for namespace in cluster.namespaces}

    def choose(self, policy: Policy, found: Collector) -> Gateway | None:
        """None after reporting, and where the gateway itself has errors that were reported."""
        labels = self._namespace_labels.get(policy.ref.namespace, {})
        name = policy.gateway or labels.get(DEFAULT_GATEWAY_LABEL) or None
        gateway = self._gateways.get(name) if name is not None else self._default
        if gateway is not None:
            return None if gateway.name in self._refused else gateway
        if not self._quiet and name is not None:
            self._report_unknown(policy, name, found)
        elif not self._quiet and not self._refused:
            label = f"label the namespace {DEFAULT_GATEWAY_LABEL}, " if policy.namespaced else ""
            found.error(
                "no-gateway",
                f"{policy.ref} names no gateway, and there is no default",
                policy.document.at("spec", "egressGatewayName")
                if policy.document.has("spec", "egressGatewayName")
                else policy.document.key_at("spec"),
                hint=f"write egressGatewayName ({self._existing()}), {label}or set clusterDefault: true on one "
                "EgressGateway",
            )
        return None

    def _report_unknown(self, policy: Policy, name: str, found: Collector) -> None:
        if nearest(name, self._refused):
            # It may be that gateway's name that is wrong.
            return
        if policy.gateway:
            message, place = f"there is no EgressGateway {quoted(name)}", ("spec", "egressGatewayName")
        else:
            message = f"the label {DEFAULT_GATEWAY_LABEL} of the namespace {policy.ref.namespace} names the "
            message += f"EgressGateway {quoted(name)}, which does not exist"
            place = ("metadata", "namespace")
        hint = nearest(name, self._gateways) or self._existing()
        found.error("unknown-gateway", message, policy.document.at(*place), hint=hint)

    def _existing(self) -> str:
        return f"there are: {listing(sorted(self._gateways), 8)}" if self._gateways else "there is none in the input"


def _check_broken(policies: Sequence[Policy], chooser: _GatewayChooser, found: Collector) -> None:
    """What can be said of policies with errors without knowing what they should have been."""
    for policy in policies:
        document = policy.document
        gateway = None if _gateway_faulty(document) else chooser.choose(policy, found)
        if gateway is not None and not document.faulty("spec", "egressIP"):
            _wanted_eip(policy, gateway, found)


def _gateway_faulty(document: Document) -> bool:
    """Whether the gateway's name is wrong, or stands under a mistyped key or in a wrong place."""
    strangers = [str(fault[-1]) for fault in document.faults if fault and isinstance(fault[-1], str)]
    return document.faulty("spec", "egressGatewayName") or any(nearest(s, ["egressGatewayName"]) for s in strangers)


def _wanted_eip(policy: Policy, gateway: Gateway, found: Collector) -> Mapping[Family, int | None]:
    """The addresses that the policy names, checked against the pool, the partner of a pair filled in."""
    eip = dict(policy.eip)
    if policy.use_node_ip:
        return eip
    if not gateway.families:
        found.error(
            "empty-pool",
            f"EgressGateway {gateway.name} has no EIPs: only policies with useNodeIP can use it",
            policy.document.key_at("spec", "egressGatewayName"),
            hint="add addresses to its ippools, or set egressIP.useNodeIP: true",
            related=(Related("the gateway", gateway.document.at("metadata", "name")),),
        )
        return {4: None, 6: None}
    wanted = ((family, value) for family in FAMILIES if (value := eip[family]) is not None)
    outside = [(family, value) for family, value in wanted if not contains(gateway.pool[family], value)]
    for family, value in outside:
        found.error(
            "not-in-pool",
            f"{format_address(family, value)} is not in the IPv{family} pool of EgressGateway {gateway.name}",
            policy.document.at("spec", "egressIP", f"ipv{family}"),
            hint=pool_hint(family, gateway.pool[family]),
            related=(Related("the pool", gateway.document.key_at("spec", "ippools", f"ipv{family}")),),
        )
    if outside:
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
                hint=f"the partner of {format_address(family, value)} is {format_address(other, partner)}; "
                "one of the two is enough",
            )
            return


class _PodIndex:
    """Positions of pods by namespace and label, each index built when it is first asked."""

    def __init__(self, pods: Sequence[Pod]) -> None:
        self._labels = [pod.labels for pod in pods]
        self._by_namespace: dict[str, list[int]] = {}
        self._indexes: dict[str, LabelIndex] = {}
        for position, pod in enumerate(pods):
            self._by_namespace.setdefault(pod.namespace, []).append(position)

    def inside(self, namespaces: frozenset[str] | None) -> Sequence[int]:
        """The pods of ``namespaces``, None being all; ascending."""
        if namespaces is None:
            return range(len(self._labels))
        return sorted(position for name in namespaces for position in self._by_namespace.get(name, ()))

    def select(self, selector: LabelSelector, namespaces: frozenset[str] | None) -> list[int]:
        """Those of them that ``selector`` matches."""
        if namespaces is None:
            return self._everywhere.select(selector)
        return sorted(position for name in namespaces for position in self._of(name).select(selector))

    @cached_property
    def _everywhere(self) -> LabelIndex:
        return LabelIndex(self._labels)

    def _of(self, namespace: str) -> LabelIndex:
        known = self._indexes.get(namespace)
        if known is None:
            known = self._indexes[namespace] = LabelIndex(self._labels, self._by_namespace.get(namespace, ()))
        return known


class _Selection:
    """Selects pods by namespace and label."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._pods = _PodIndex(cluster.pods)
        self._namespaces = LabelIndex([namespace.labels for namespace in cluster.namespaces])

    def sources(self, policy: Policy) -> tuple[tuple[int, ...], Mapping[Family, Intervals]]:
        """The pods a policy selects, and the source subnets that it takes whole."""
        nothing: Mapping[Family, Intervals] = {4: (), 6: ()}
        if policy.pod_subnets is not None and not policy.namespaced and policy.namespace_selector is None:
            return (), policy.pod_subnets
        namespaces = self._namespaces_of(policy)
        if policy.pod_selector is not None:
            return tuple(self._pods.select(policy.pod_selector, namespaces)), nothing
        return tuple(self._by_subnet(policy.pod_subnets or {}, namespaces)), nothing

    def _namespaces_of(self, policy: Policy) -> frozenset[str] | None:
        """The namespaces a policy looks into; None for all."""
        if policy.namespaced:
            return frozenset({policy.ref.namespace})
        if policy.namespace_selector is None or policy.namespace_selector.empty:
            return None
        names = self._cluster.namespaces
        return frozenset(names[position].name for position in self._namespaces.select(policy.namespace_selector))

    def _by_subnet(self, subnets: Mapping[Family, Intervals], namespaces: frozenset[str] | None) -> list[int]:
        pods = self._cluster.pods
        return [
            p
            for p in self._pods.inside(namespaces)
            if any(contains(subnets[a.family], a.value) for a in pods[p].addresses)
        ]
