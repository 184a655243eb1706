"""What counts as inside the cluster; traffic there is never sent through a gateway."""

from __future__ import annotations

from collections.abc import Mapping

from egress_compiler.diagnostics import Collector, quoted
from egress_compiler.model.cluster import Cluster
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


def cluster_inside(
    info: ClusterInfo, cluster: Cluster, settings: Settings, found: Collector
) -> Mapping[Family, Intervals]:
    """The inside by family.  What should be detected and cannot be is an error that names the setting for it."""
    inside: dict[Family, list[Interval]] = {family: [*info.extra[family]] for family in FAMILIES}
    for text in SPECIAL:
        span = parse_span(text)
        inside[span.family].append(span.interval)
    pods = _pod_cidrs(info, cluster, settings, found)
    services = _service_cidrs(info, cluster, settings, found)
    for family in FAMILIES:
        inside[family].append(settings.tunnel.subnets[family])
        inside[family] += pods[family]
        inside[family] += services[family]
        if info.node_ip:
            inside[family] += [
                Interval(a.value, a.value) for node in cluster.nodes for a in node.addresses if a.family == family
            ]
    merged = {family: union(inside[family]) for family in FAMILIES}
    if info.pod_cidr_mode:
        _check_pods_inside(info, cluster, merged, found)
    return merged


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
            "the Service CIDRs cannot be told from the cluster snapshot",
            _place(info, "autoDetect", "clusterIP"),
            hint="add 'kubectl get servicecidrs' or the ConfigMap kube-system/kubeadm-config to it, or name them in "
            "the settings under serviceCIDRs",
        )
    return known


def _pod_cidrs(info: ClusterInfo, cluster: Cluster, settings: Settings, found: Collector) -> Mapping[Family, Intervals]:
    known: dict[Family, list[Interval]] = {family: [*settings.pod_cidrs[family]] for family in FAMILIES}
    mode = info.pod_cidr_mode
    from_calico = mode == "calico" or (mode == "auto" and any(cluster.calico_pools.values()))
    if mode in ("k8s", "auto"):
        for node in cluster.nodes:
            for family in FAMILIES:
                known[family] += node.pod_cidrs[family]
            if not any(node.pod_cidrs.values()) and not from_calico and not any(settings.pod_cidrs.values()):
                found.error(
                    "pod-cidr-unknown",
                    f"the node {quoted(node.name)} has no podCIDRs, and there are no Calico IPPools",
                    _place(info, "autoDetect", "podCidrMode"),
                    hint="add 'kubectl get ippools' to the snapshot, or name them in the settings under podCIDRs",
                )
    if from_calico:
        if not any(cluster.calico_pools.values()) and not any(settings.pod_cidrs.values()):
            found.error(
                "pod-cidr-unknown",
                "podCidrMode is calico, and the cluster snapshot has no IPPools",
                _place(info, "autoDetect", "podCidrMode"),
                hint="add 'kubectl get ippools' to it, or name the pod CIDRs in the settings under podCIDRs",
            )
        for family in FAMILIES:
            known[family] += cluster.calico_pools[family]
    return {family: union(known[family]) for family in FAMILIES}


def _check_pods_inside(
    info: ClusterInfo, cluster: Cluster, inside: Mapping[Family, Intervals], found: Collector
) -> None:
    strangers = [pod for pod in cluster.pods if not all(contains(inside[a.family], a.value) for a in pod.addresses)]
    if strangers:
        found.warning(
            "pod-outside",
            f"{len(strangers)} pods have addresses outside the pod CIDRs, the first is {strangers[0].key}: traffic "
            "to them counts as leaving the cluster",
            _place(info, "autoDetect", "podCidrMode"),
            hint="name their CIDR under extraCidr of the EgressClusterInfo",
        )
