"""Policies that select nothing, and pods that a policy selects in vain."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from operator import itemgetter

from egress_compiler.diagnostics import Collector, counted, listing, nearest, quoted
from egress_compiler.labels import LabelIndex, Requirement
from egress_compiler.model.cluster import HostNetworkPod, Pod
from egress_compiler.model.policy import Policy
from egress_compiler.resolve import Resolved, ResolvedPolicy
from egress_compiler.source import Position


def check_selection(resolved: Resolved, policies: Iterable[ResolvedPolicy], found: Collector) -> None:
    """Of ``policies`` those whose namespace does not exist, without pods, or for pods with their node's address."""
    namespaces = [namespace.name for namespace in resolved.cluster.namespaces]
    known, hosts, values = frozenset(namespaces), _HostNetwork(resolved), _LabelValues(resolved)
    for policy in policies:
        namespace = policy.policy.ref.namespace
        if namespace and known and namespace not in known:
            _report_unknown_namespace(policy.policy, namespaces, found)
            continue
        left_out = hosts.selected_by(policy.policy)
        if left_out:
            _report_host_network(policy.policy, left_out, found)
            continue
        in_vain = not policy.pods and not policy.unserved and not any(policy.subnets.values())
        if in_vain and (known or not _selects_namespaces(policy.policy)):
            message, why = f"{policy.policy.ref} selects no pod", values.why_nothing(policy.policy)
            found.warning("selects-nothing", message, source_place(policy.policy), hint=why)


def _report_unknown_namespace(policy: Policy, namespaces: Sequence[str], found: Collector) -> None:
    name = policy.ref.namespace
    found.warning(
        "unknown-namespace",
        f"the namespace {quoted(name)} of {policy.ref} is not in the cluster, so the policy selects no pod",
        policy.document.at("metadata", "namespace"),
        hint=nearest(name, namespaces) or "create it, or take a new snapshot",
    )


def _report_host_network(policy: Policy, pods: Sequence[str], found: Collector) -> None:
    whose = "it has its" if len(pods) == 1 else "they have their"
    found.warning(
        "host-network-pod",
        f"{policy.ref} selects {counted(len(pods), 'pod')} with hostNetwork ({listing(pods)}): {whose} node's address, "
        "and no policy applies",
        source_place(policy),
        hint="make the selector narrower, or accept the warning",
    )


def source_place(policy: Policy) -> Position:
    """Where a policy says which pods it is for."""
    return policy.document.key_at("spec", "appliedTo", "podSelector" if policy.pod_selector else "podSubnet")


def check_namespaces_known(resolved: Resolved, found: Collector) -> None:
    """An error where policies select namespaces, and the cluster files have none."""
    selecting = [p.policy for p in resolved.policies if _selects_namespaces(p.policy)]
    if selecting and not resolved.cluster.namespaces:
        first = selecting[0]
        more = f" and {counted(len(selecting) - 1, 'other policy', 'other policies')}" if len(selecting) > 1 else ""
        found.error(
            "namespaces-unknown",
            f"{first.ref}{more} {'select' if more else 'selects'} namespaces, and there is no Namespace in the cluster "
            "files",
            first.document.key_at("spec", "appliedTo", "namespaceSelector"),
            hint="add 'kubectl get namespaces -o json' to them",
        )


def _selects_namespaces(policy: Policy) -> bool:
    return policy.namespace_selector is not None and not policy.namespace_selector.empty


class _HostNetwork:
    """Pods with their node's address, by namespace and label."""

    def __init__(self, resolved: Resolved) -> None:
        self._pods: dict[str, list[HostNetworkPod]] = {}
        for pod in resolved.cluster.host_network_pods:
            self._pods.setdefault(pod.namespace, []).append(pod)
        self._indexes = {name: LabelIndex([pod.labels for pod in pods]) for name, pods in self._pods.items()}
        self._labels = {namespace.name: namespace.labels for namespace in resolved.cluster.namespaces}

    def selected_by(self, policy: Policy) -> list[str]:
        """NAMESPACE/NAME of the pods, sorted."""
        selector, by_namespace = policy.pod_selector, policy.namespace_selector
        if selector is None:
            return []
        names = [policy.ref.namespace] if policy.namespaced else sorted(self._pods)
        if by_namespace is not None:
            names = [name for name in names if by_namespace.matches(self._labels.get(name, {}))]
        return [
            f"{name}/{self._pods[name][position].name}"
            for name in names
            if name in self._pods
            for position in self._indexes[name].select(selector)
        ]


class _LabelValues:
    """Explains an empty selection by the first requirement that no pod of the namespace meets."""

    def __init__(self, resolved: Resolved) -> None:
        self._cluster = resolved.cluster

    def _pods_of(self, namespace: str) -> Sequence[Pod]:
        """The cluster's pods are sorted by it."""
        pods = self._cluster.pods
        first, last = (side(pods, namespace, key=itemgetter(0)) for side in (bisect_left, bisect_right))
        return pods[first:last]

    def why_nothing(self, policy: Policy) -> str:
        where = "in the cluster"
        pods: Sequence[Pod] = self._cluster.pods
        if policy.namespaced:
            where = f"in the namespace {policy.ref.namespace}"
            pods = self._pods_of(policy.ref.namespace)
        elif policy.namespace_selector is not None:
            selected = [n.name for n in self._cluster.namespaces if policy.namespace_selector.matches(n.labels)]
            if not selected:
                return "no namespace meets namespaceSelector"
            where = f"in the selected namespaces ({listing(selected)})"
            pods = [pod for name in selected for pod in self._pods_of(name)]
        if policy.pod_selector is None:
            return f"no pod {where} has an address in these CIDRs"
        if not pods:
            return f"there is no pod {where}"
        for requirement in policy.pod_selector.requirements:
            if not any(requirement.matches(pod.labels) for pod in pods):
                return self._unmet(requirement, (pod.labels.get(requirement.key) for pod in pods), where)
        return f"each label is on some pod {where}, but no pod has all of them"

    def _unmet(self, requirement: Requirement, given: Iterable[str | None], where: str) -> str:
        values = {value for value in given if value is not None}
        if requirement.operator != "In":
            return f"no pod {where} meets {requirement.key} {requirement.operator}"
        wanted = sorted(requirement.values)
        shown = f"{requirement.key}={wanted[0]}" if len(wanted) == 1 else f"{requirement.key} in ({', '.join(wanted)})"
        if not values:
            return f"no pod {where} has the label {requirement.key}"
        guess = nearest(wanted[0], values) or f"there are {listing(sorted(values), 5)}"
        return f"no pod {where} has {shown}; {guess}"


def check_nodes_known(resolved: Resolved, found: Collector) -> None:
    """Selected pods on nodes that the cluster files do not have would leave as if there were no policy."""
    cluster = resolved.cluster
    known = {node.name for node in cluster.all_nodes}
    strange = {position for position, pod in enumerate(cluster.pods) if pod.node and pod.node not in known}
    policies = resolved.policies if strange else ()
    lost = sorted({position for policy in policies for position in policy.pods if position in strange})
    if lost:
        nodes = sorted({cluster.pods[position].node for position in lost})
        pods = [cluster.pods[position].key for position in lost]
        runs, whose = ("runs", "its") if len(pods) == 1 else ("run", "their")
        found.warning(
            "pod-on-unknown-node",
            f"{counted(len(pods), 'selected pod')} ({listing(pods)}) {runs} on nodes that the cluster files do not "
            f"have ({listing(nodes)}): nothing steers {whose} traffic",
            None,
            hint="take the snapshot again, nodes and pods at the same moment",
        )
