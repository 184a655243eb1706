"""What counts as inside the cluster; traffic there is never sent through a gateway."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from egress_compiler.diagnostics import Collector, counted, listing
from egress_compiler.model.cluster import Cluster, single
from egress_compiler.model.policy import ClusterInfo
from egress_compiler.model.settings import Settings
from egress_compiler.net import FAMILIES, Family, Interval, Intervals, contains, parse_span, union
from egress_compiler.source import Position

SPECIAL = (
    "127.0.0.0/8",
    "169.254.0.0/16",
    "224.0.0.0/4",
    "255.255.255.255",
    "::1",
    "fe80::/10",
    "ff00::/8",
)
"""Loopback, link-local, multicast, broadcast (RFC 6890)."""


@dataclass(frozen=True, slots=True)
class Inside:
    """What counts as inside, and of it the part that pods have their addresses from."""

    everything: Mapping[Family, Intervals]
    pods: Mapping[Family, Intervals]


def cluster_inside(info: ClusterInfo, cluster: Cluster, settings: Settings, found: Collector) -> Inside:
    """The inside by family.  What should be detected and cannot be is an error that names the setting for it."""
    inside: dict[Family, list[Interval]] = {family: [*inside_by_files(info)[family]] for family in FAMILIES}
    errors = found.errors
    pods = _pod_cidrs(info, cluster, settings, found)
    services = _service_cidrs(info, cluster, settings, found)
    for family in FAMILIES:
        inside[family].append(settings.tunnel.subnets[family])
        inside[family] += pods[family]
        inside[family] += services[family]
        if info.node_ip:
            inside[family] += [Interval(a.value, a.value) for a, _ in cluster.node_addresses if a.family == family]
        if info.pod_cidr_mode:
            # Where virtual nodes' pods have their addresses from, no podCIDR tells.
            others = cluster.others
            inside[family] += [
                single(a.value)
                for pod in cluster.pods
                if pod.node in others
                for a in pod.addresses
                if a.family == family
            ]
    merged = {family: union(inside[family]) for family in FAMILIES}
    if found.errors == errors:
        _check_known_inside(info, cluster, merged, found)
    return Inside(merged, pods)


def inside_by_files(info: ClusterInfo) -> Mapping[Family, Intervals]:
    """What is inside in every cluster, and what the EgressClusterInfo adds to it."""
    inside: dict[Family, list[Interval]] = {family: [*info.extra[family]] for family in FAMILIES}
    for text in SPECIAL:
        span = parse_span(text)
        inside[span.family].append(span.interval)
    return {family: union(inside[family]) for family in FAMILIES}


def _place(info: ClusterInfo, *path: str) -> Position | None:
    return info.document.at("spec", *path) if info.document is not None else None


def _service_cidrs(
    info: ClusterInfo, cluster: Cluster, settings: Settings, found: Collector
) -> Mapping[Family, Intervals]:
    if not info.cluster_ip:
        return settings.service_cidrs
    known = {f: union([*cluster.service_cidrs[f], *settings.service_cidrs[f]]) for f in FAMILIES}
    if not any(known.values()):
        found.error(
            "service-cidr-unknown",
            "the cluster files do not tell the Service CIDRs: traffic to Services would count as traffic to outside",
            _place(info, "autoDetect", "clusterIP"),
            hint="add 'kubectl get servicecidrs -o json', the ConfigMap kubeadm-config or the pods of kube-system to "
            "the cluster files, or write serviceCIDRs in the settings",
        )
    return known


def _pod_cidrs(info: ClusterInfo, cluster: Cluster, settings: Settings, found: Collector) -> Mapping[Family, Intervals]:
    known: dict[Family, list[Interval]] = {family: [*settings.pod_cidrs[family]] for family in FAMILIES}
    mode, in_settings = info.pod_cidr_mode, any(settings.pod_cidrs.values())
    pools = cluster.calico_pools if mode in ("calico", "auto") else {}
    from_calico = any(pools.values())
    if mode in ("k8s", "auto"):
        for node in cluster.all_nodes:
            for family in FAMILIES:
                known[family] += node.pod_cidrs[family]
        without = [node.name for node in cluster.nodes if not any(node.pod_cidrs.values())]
        if without and not from_calico and not in_settings:
            # The range that the control plane cuts the nodes' podCIDRs from.
            for family in FAMILIES:
                known[family] += cluster.control_plane_pod_cidrs[family]
            if not any(cluster.control_plane_pod_cidrs.values()):
                _report_unknown_pod_cidrs(
                    info, f"{counted(len(without), 'node')} ({listing(without)}) without podCIDRs", found
                )
    if mode == "calico" and not from_calico and not in_settings:
        _report_unknown_pod_cidrs(info, "podCidrMode is calico, and no IPPool", found)
    for family, intervals in pools.items():
        known[family] += intervals
    return {family: union(known[family]) for family in FAMILIES}


def _report_unknown_pod_cidrs(info: ClusterInfo, why: str, found: Collector) -> None:
    pools = "'kubectl get ippools.crd.projectcalico.org -o json'"
    control_plane = "the ConfigMap kubeadm-config or the pods of kube-system"
    add = {
        "auto": f"add {pools} to the cluster files if Calico gives the addresses, else {control_plane}",
        "calico": f"add {pools} to the cluster files",
        "k8s": f"add {control_plane} to the cluster files, or set podCidrMode to calico if Calico gives the addresses",
    }
    found.error(
        "pod-cidr-unknown",
        f"the cluster files do not tell the pod CIDRs: {why}",
        _place(info, "autoDetect", "podCidrMode"),
        hint=f"{add[info.pod_cidr_mode]}; or write podCIDRs in the settings",
    )


def _check_known_inside(
    info: ClusterInfo, cluster: Cluster, inside: Mapping[Family, Intervals], found: Collector
) -> None:
    """What is seen with an address that is not inside shows that something was not detected."""
    if info.pod_cidr_mode:
        pods = [pod.key for pod in cluster.pods if not all(contains(inside[a.family], a.value) for a in pod.addresses)]
        _report_outside("pod-outside", "pod", pods, "podCIDRs", _place(info, "autoDetect", "podCidrMode"), found)
    if info.cluster_ip:
        addresses = cluster.service_addresses.items()
        services = sorted({name for (family, value), name in addresses if not contains(inside[family], value)})
        place = _place(info, "autoDetect", "clusterIP")
        _report_outside("service-outside", "Service", services, "serviceCIDRs", place, found)


def _report_outside(
    code: str, what: str, names: Sequence[str], setting: str, place: Position | None, found: Collector
) -> None:
    if names:
        found.warning(
            code,
            f"{counted(len(names), what)} ({listing(names)}) {'has' if len(names) == 1 else 'have'} addresses in no "
            f"{what} CIDR: traffic to {'it' if len(names) == 1 else 'them'} counts as leaving the cluster",
            place,
            hint=f"name their CIDR under extraCidr of the EgressClusterInfo, or under {setting} in the settings",
        )
