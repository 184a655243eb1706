"""The cluster's objects to one Cluster value: nodes, pods, namespaces, Services and their CIDRs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from egress_compiler.diagnostics import Collector, Related, quoted
from egress_compiler.load.files import find_files
from egress_compiler.load.objects import Object, ObjectFile, load_objects
from egress_compiler.model.cluster import Cluster, HostNetworkPod, Namespace, Node, Pod
from egress_compiler.net import (
    FAMILIES,
    Address,
    AddressError,
    Family,
    Interval,
    Intervals,
    parse_address,
    parse_span,
    union,
)

_DNS_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\Z")
FINISHED = frozenset({"Succeeded", "Failed"})
_RANGE_FLAG = re.compile(r"--service-cluster-ip-range[= ](\S+)")
_KUBEADM_SUBNET = re.compile(r"^\s*serviceSubnet:\s*[\"']?([0-9a-fA-F:.,/]+)", re.MULTILINE)


def load_cluster(paths: Iterable[Path], found: Collector) -> Cluster:
    """The cluster that the files describe together; the order of files and objects does not matter."""
    builder = _ClusterBuilder(found)
    for path in find_files(paths, found):
        file = load_objects(path, found)
        if file is not None:
            builder.add(file)
    return builder.cluster()


class _ClusterBuilder:
    def __init__(self, found: Collector) -> None:
        self._found = found
        self._seen: dict[tuple[str, str, str], ObjectFile] = {}
        self._nodes: list[Node] = []
        self._pods: list[Pod] = []
        self._host_network: list[HostNetworkPod] = []
        self._namespaces: list[Namespace] = []
        self._services: dict[Address, str] = {}
        self._service_cidrs: list[tuple[int, Sequence[str], ObjectFile, str]] = []
        self._calico: dict[Family, list[Interval]] = {4: [], 6: []}

    def add(self, file: ObjectFile) -> None:
        for item in file.objects:
            metadata = item.metadata
            key = (item.kind, metadata.namespace or "", metadata.name)
            if not self._named(key, file) or (item.kind != "ConfigMap" and self._twice(key, file)):
                continue
            match item.kind:
                case "Node":
                    self._node(item, file)
                case "Pod":
                    self._pod(item, file)
                case "Namespace":
                    self._namespaces.append(Namespace(metadata.name, metadata.labels or {}))
                case "Service":
                    self._service(item, file)
                case "ServiceCIDR":
                    self._service_cidrs.append((0, item.spec.cidrs or (), file, metadata.name))
                case "IPPool":
                    self._ip_pool(item, file)
                case _:
                    self._config_map(item, file)

    def cluster(self) -> Cluster:
        return Cluster(
            nodes=tuple(sorted(self._nodes, key=lambda node: node.name)),
            pods=tuple(sorted(self._pods, key=lambda pod: (pod.namespace, pod.name))),
            host_network_pods=tuple(sorted(self._host_network, key=lambda pod: (pod.namespace, pod.name))),
            namespaces=tuple(sorted(self._namespaces, key=lambda namespace: namespace.name)),
            service_addresses=dict(sorted(self._services.items())),
            service_cidrs=self._best_service_cidrs(),
            calico_pools={family: union(self._calico[family]) for family in FAMILIES},
        )

    def _named(self, key: tuple[str, str, str], file: ObjectFile) -> bool:
        """Whether the names are DNS-1123: they become paths and configuration."""
        kind, namespace, name = key
        for text in (name, namespace):
            if not _DNS_NAME.match(text) and (text or text is name):
                self._found.error(
                    "bad-name",
                    f"{quoted(text)} is not possible as name of a {kind}",
                    file.find(text, text),
                    hint="a DNS-1123 subdomain: lower-case letters, digits, - and .",
                )
                return False
        return True

    def _twice(self, key: tuple[str, str, str], file: ObjectFile) -> bool:
        if key not in self._seen:
            self._seen[key] = file
            return False
        first = self._seen[key]
        kind, namespace, name = key
        shown = f"{kind} {namespace}/{name}" if namespace else f"{kind} {name}"
        related = (Related("first defined here", first.find(name, name)),)
        self._found.error("duplicate-object", f"{shown} is defined twice", file.find(name, name), related=related)
        return True

    def _addresses(self, texts: Iterable[str], owner: str, file: ObjectFile) -> tuple[Address, ...]:
        parsed: list[Address] = []
        for text in texts:
            try:
                parsed.append(parse_address(text))
            except AddressError as problem:
                self._found.error("bad-address", f"{owner}: {problem}", file.find(owner, text))
        return tuple(dict.fromkeys(parsed))

    def _cidrs(self, texts: Iterable[str], owner: str, file: ObjectFile) -> dict[Family, Intervals]:
        gathered: dict[Family, list[Interval]] = {4: [], 6: []}
        for text in texts:
            try:
                span = parse_span(text, ranges=False)
                gathered[span.family].append(span.interval)
            except AddressError as problem:
                self._found.error("bad-address", f"{owner}: {problem}", file.find(owner, text))
        return {family: union(intervals) for family, intervals in gathered.items()}

    def _node(self, item: Object, file: ObjectFile) -> None:
        name = item.metadata.name
        internal = [entry.address for entry in item.status.addresses or () if entry.type == "InternalIP"]
        addresses = self._addresses(internal, name, file)
        if not addresses:
            self._found.error("node-address", f"the node {quoted(name)} has no InternalIP", file.find(name, name))
        cidrs = item.spec.podCIDRs or ([item.spec.podCIDR] if item.spec.podCIDR else [])
        self._nodes.append(Node(name, item.metadata.labels or {}, addresses, self._cidrs(cidrs, name, file)))

    def _pod(self, item: Object, file: ObjectFile) -> None:
        metadata, spec, status = item.metadata, item.spec, item.status
        namespace = metadata.namespace or "default"
        if namespace == "kube-system":
            self._api_server_flags(item, file)
        if status.phase in FINISHED:
            return
        labels = metadata.labels or {}
        if spec.hostNetwork:
            self._host_network.append(HostNetworkPod(namespace, metadata.name, labels))
            return
        texts = [entry.ip for entry in status.podIPs or () if entry.ip] or ([status.podIP] if status.podIP else [])
        if not texts:
            return
        addresses = self._addresses(texts, metadata.name, file)
        self._pods.append(Pod(namespace, metadata.name, labels, spec.nodeName or "", addresses))

    def _service(self, item: Object, file: ObjectFile) -> None:
        metadata = item.metadata
        texts = item.spec.clusterIPs or ([item.spec.clusterIP] if item.spec.clusterIP else [])
        shown = f"{metadata.namespace or 'default'}/{metadata.name}"
        for address in self._addresses((t for t in texts if t and t != "None"), metadata.name, file):
            self._services[address] = shown

    def _ip_pool(self, item: Object, file: ObjectFile) -> None:
        if item.spec.cidr and not item.spec.disabled:
            for family, intervals in self._cidrs([item.spec.cidr], item.metadata.name, file).items():
                self._calico[family] += intervals

    def _config_map(self, item: Object, file: ObjectFile) -> None:
        if item.metadata.name == "kubeadm-config" and item.data:
            subnet = _KUBEADM_SUBNET.search(item.data.get("ClusterConfiguration", ""))
            if subnet:
                self._service_cidrs.append((1, subnet[1].split(","), file, item.metadata.name))

    def _api_server_flags(self, item: Object, file: ObjectFile) -> None:
        for container in item.spec.containers or ():
            flag = _RANGE_FLAG.search(" ".join([*(container.command or ()), *(container.args or ())]))
            if flag:
                self._service_cidrs.append((2, flag[1].split(","), file, item.metadata.name))

    def _best_service_cidrs(self) -> dict[Family, Intervals]:
        """ServiceCIDR objects, else kubeadm-config, else the control plane's flags."""
        if not self._service_cidrs:
            return {4: (), 6: ()}
        best = min(rank for rank, *_ in self._service_cidrs)
        gathered: dict[Family, list[Interval]] = {4: [], 6: []}
        for rank, texts, file, owner in self._service_cidrs:
            if rank == best:
                for family, intervals in self._cidrs(texts, owner, file).items():
                    gathered[family] += intervals
        return {family: union(intervals) for family, intervals in gathered.items()}
