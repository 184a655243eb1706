"""What counts as inside the cluster; traffic there is never sent through a gateway."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from egress_compiler.diagnostics import Collector, counted, listing
from egress_compiler.model.cluster import Cluster, single
from egress_compiler.model.policy import ClusterInfo
from egress_compiler.model.settings import Settings
from egress_compiler.net import (
    FAMILIES,
    Address,
    Family,
    Interval,
    Intervals,
    contains,
    format_address,
    format_interval,
    parse_span,
    subtract,
    union,
)
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
        _add(inside, (address for address, _ in cluster.node_addresses))
        _add(inside, cluster.control_plane_addresses)
    ranges = {family: union(inside[family]) for family in FAMILIES}
    # What is seen outside all ranges counts by itself, as nodes' addresses do; what comes later would not.
    # Where nodes follow their pods, no pod counts.
    followed = settings.membership.followed
    if info.pod_cidr_mode and not followed:
        for family in FAMILIES:
            table = cluster.pod_table[family]
            inside[family] += [single(table.values[place]) for place in table.outside(ranges[family])]
    if info.cluster_ip:
        _add(inside, cluster.service_addresses, ranges)
    if found.errors == errors:
        _check_known_inside(info, cluster, ranges, found, pods_count=bool(info.pod_cidr_mode) and not followed)
    if followed:
        pods = {family: union([*pods[family], *cluster.pod_ranges[family]]) for family in FAMILIES}
    return Inside({family: union(inside[family]) for family in FAMILIES}, pods)


def _add(
    inside: Mapping[Family, list[Interval]],
    addresses: Iterable[Address],
    known: Mapping[Family, Intervals] | None = None,
) -> None:
    """Each by itself, unless it is ``known``."""
    for family, value in addresses:
        if known is None or not contains(known[family], value):
            inside[family].append(single(value))


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
            related=cluster.unread_services,
        )
    return known


def _pod_cidrs(info: ClusterInfo, cluster: Cluster, settings: Settings, found: Collector) -> Mapping[Family, Intervals]:
    known: dict[Family, list[Interval]] = {family: [*settings.pod_cidrs[family]] for family in FAMILIES}
    mode, in_settings = info.pod_cidr_mode, any(settings.pod_cidrs.values())
    pools = cluster.calico_pools if mode in ("calico", "auto") else {}
    from_calico = any(pools.values())
    if mode in ("k8s", "auto"):
        # The ranges that nodes' podCIDRs are cut from count as well: a node that joins has its pods there.
        wide = {f: (*cluster.control_plane_pod_cidrs[f], *cluster.plugin_pod_cidrs[f]) for f in FAMILIES}
        for family in FAMILIES:
            known[family] += wide[family]
            known[family] += (i for node in cluster.all_nodes for i in node.pod_cidrs[family])
        without = [node.name for node in cluster.nodes if not any(node.pod_cidrs.values())]
        if without and not (from_calico or in_settings or any(wide.values())):
            why = f"{counted(len(without), 'node')} ({listing(without)}) without podCIDRs"
            _report_unknown_pod_cidrs(info, cluster, why, found)
    if mode == "calico" and not from_calico and not in_settings:
        _report_unknown_pod_cidrs(info, cluster, "podCidrMode is calico, and no IPPool", found)
    for family, intervals in pools.items():
        known[family] += intervals
    return {family: union(known[family]) for family in FAMILIES}


def _report_unknown_pod_cidrs(info: ClusterInfo, cluster: Cluster, why: str, found: Collector) -> None:
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
        related=cluster.unread_pods if info.pod_cidr_mode != "calico" else (),
    )


def _check_known_inside(
    info: ClusterInfo, cluster: Cluster, ranges: Mapping[Family, Intervals], found: Collector, *, pods_count: bool
) -> None:
    """What is seen with an address in no range shows that something was not detected, or was not to be.

    ``pods_count``: those that are seen are inside all the same.
    """
    tables = [(cluster.pod_table[family], ranges[family]) for family in FAMILIES]
    outside = sorted({table.pods[place] for table, known in tables for place in table.outside(known)})
    pods = [cluster.pods[position].key for position in outside]
    place = _place(info, "autoDetect", "podCidrMode")
    _report_outside(_POD, pods_count, pods, place, found)
    if not info.pod_cidr_mode:
        _report_outside(_POD_RANGE, False, _beyond(cluster.pod_ranges, ranges), place, found)
    known = cluster.service_addresses.items()
    services = sorted({name for (family, value), name in known if not contains(ranges[family], value)})
    place = _place(info, "autoDetect", "clusterIP")
    _report_outside(_SERVICE, info.cluster_ip, services, place, found)
    if not info.cluster_ip:
        _report_outside(_SERVICE_RANGE, False, _beyond(cluster.service_cidrs, ranges), place, found)
    # Nodes and the control plane are without a range; they are outside where nobody wants them inside.
    nodes = [name for (family, value), name in cluster.node_addresses if not contains(ranges[family], value)]
    _report_outside(_NODE, info.node_ip, list(dict.fromkeys(nodes)), _place(info, "autoDetect", "nodeIP"), found)
    plane = cluster.control_plane_addresses.items()
    servers = [f"{format_address(*a)}, {owner}" for a, owner in plane if not contains(ranges[a.family], a.value)]
    _report_outside(_SERVER, info.node_ip, servers, _place(info, "autoDetect", "nodeIP"), found)


def _beyond(known: Mapping[Family, Intervals], ranges: Mapping[Family, Intervals]) -> list[str]:
    """What the files tell of and is not inside."""
    return [format_interval(f, interval) for f in FAMILIES for interval in subtract(known[f], ranges[f])]


class _Seen(NamedTuple):
    """A kind of thing whose addresses are seen; ``setting`` names its CIDRs."""

    code: str
    what: str
    range: str
    setting: str


_POD = _Seen("pod-outside", "pod", "pod CIDR", "podCIDRs")
_SERVICE = _Seen("service-outside", "Service", "Service CIDR", "serviceCIDRs")
_POD_RANGE = _Seen("pod-outside", "pod CIDR", "", "podCIDRs")
_SERVICE_RANGE = _Seen("service-outside", "Service CIDR", "", "serviceCIDRs")
_NODE = _Seen("node-outside", "node", "", "")
_SERVER = _Seen("node-outside", "API server", "", "")


def _report_outside(
    seen: _Seen, detected: bool, names: Sequence[str], place: Position | None, found: Collector
) -> None:
    """``detected``: the addresses that are seen count as inside all the same."""
    if not names:
        return
    one = len(names) == 1
    them, who = ("it", "has") if one else ("them", "have")
    shown = f"{counted(len(names), seen.what)} ({listing(names)})"
    if detected:
        message = f"{shown} {who} addresses in no {seen.range}: those of today count as inside, a new one will not"
    else:
        where = f"in no {seen.range}" if seen.range else "that do not count as inside"
        message = f"{shown} {who} addresses {where}: traffic to {them} counts as leaving the cluster"
    hint = "name their addresses under extraCidr of the EgressClusterInfo, switch autoDetect.nodeIP on, or accept it"
    if seen.setting:
        hint = f"name their CIDR under extraCidr of the EgressClusterInfo, or under {seen.setting} in the settings"
    found.warning(seen.code, message, place, hint=hint)
