"""The cluster's objects to one Cluster value: nodes, pods, namespaces, Services and their CIDRs."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path as FilePath

from egress_compiler.diagnostics import Collector, Related, quoted
from egress_compiler.document import Path
from egress_compiler.load.cluster_cidrs import ClusterCidrs, cidrs
from egress_compiler.load.files import find_files
from egress_compiler.load.flags import POD_FLAG, SERVICE_FLAG
from egress_compiler.load.objects import Located, load_objects
from egress_compiler.load.pod_addresses import PodAddresses, parsed, pod_ips
from egress_compiler.model.cluster import Cluster, HostNetworkPod, Namespace, Node, NodeReport, Pod, ReportedAddress
from egress_compiler.net import FAMILIES, Address, Family, Interval, union
from egress_compiler.source import Origin
from egress_compiler.validate.names import is_label_name, is_subdomain

NAMESPACE_NAME_LABEL = "kubernetes.io/metadata.name"
FINISHED = frozenset({"Succeeded", "Failed"})
# Many pods have the same.
_is_namespace = lru_cache(maxsize=16_384)(is_label_name)
_is_node_name = lru_cache(maxsize=16_384)(is_subdomain)

_Text = tuple[str, Path]
"""Of an address, and where it stands."""


def load_cluster(paths: Iterable[FilePath], found: Collector) -> Cluster:
    """The cluster that the files describe together; the order of files and objects does not matter."""
    errors = found.errors
    builder = _ClusterBuilder(found)
    for path in find_files(paths, found):
        for item in load_objects(path, found):
            builder.add(item)
    cluster = builder.cluster()
    if not cluster.nodes and found.errors == errors:
        hint = "export with 'kubectl get nodes,pods,namespaces,services -A -o json'"
        found.error("no-nodes", "there is no Node in the cluster files", None, hint=hint)
    if found.errors > errors:
        found.missing("cluster")
    return cluster


class _ClusterBuilder:
    def __init__(self, found: Collector) -> None:
        self._found = found
        self._seen: dict[tuple[str, str, str], Origin] = {}
        self._seen_pods: dict[tuple[str, str], Origin] = {}
        self._addresses = PodAddresses()
        self._nodes: list[Node] = []
        self._host_network: list[HostNetworkPod] = []
        self._namespaces: list[Namespace] = []
        self._services: dict[Address, str] = {}
        self._external: dict[Address, str] = {}
        self._cidrs = ClusterCidrs(found)
        self._calico: dict[Family, list[Interval]] = {4: [], 6: []}

    def add(self, item: Located) -> None:
        match item.object.kind:
            case "Pod":
                self._pod(item)  # nearly all objects are pods
            case "ServiceCIDR":
                self._cidrs.service_cidr(item)
            case "ConfigMap":
                self._cidrs.config_map(item)
            case "IPPool":
                self._ip_pool(item)
            case "Endpoints" | "EndpointSlice":
                self._cidrs.endpoints(item)
            case "CiliumNode":
                self._cidrs.cilium_node(item)
            case "Subnet":
                self._cidrs.kube_ovn_subnet(item)
            case kind if self._new(item, kind):
                self._named(item, kind)

    def _named(self, item: Located, kind: str) -> None:
        metadata = item.object.metadata
        if kind == "Node":
            self._node(item)
        elif kind == "Namespace":
            # The API server sets it on every Namespace; who writes one by hand leaves it out.
            labels = {NAMESPACE_NAME_LABEL: metadata.name} | (metadata.labels or {})
            self._namespaces.append(Namespace(metadata.name, labels))
        else:
            self._service(item)

    def cluster(self) -> Cluster:
        pods, shared, bad = self._addresses.settled({node.name for node in self._nodes})
        return Cluster(
            nodes=tuple(sorted(self._nodes, key=lambda node: node.name)),
            pods=pods,
            shared_addresses=shared,
            bad_addresses=bad,
            host_network_pods=tuple(sorted(self._host_network, key=lambda pod: (pod.namespace, pod.name))),
            namespaces=tuple(sorted(self._namespaces, key=lambda namespace: namespace.name)),
            service_addresses=dict(sorted(self._services.items())),
            service_cidrs=self._cidrs.services(),
            calico_pools={family: union(self._calico[family]) for family in FAMILIES},
            control_plane_pod_cidrs=self._cidrs.pods(),
            plugin_pod_cidrs=self._cidrs.plugin(),
            control_plane_addresses=dict(sorted(self._cidrs.addresses.items())),
            unread_services=self._cidrs.unread(SERVICE_FLAG),
            unread_pods=self._cidrs.unread(POD_FLAG),
            external_addresses=dict(sorted(self._external.items())),
        )

    def _new(self, item: Located, kind: str) -> bool:
        """Whether the object has a name that is fit for files and comments, and is the first of that name."""
        metadata = item.object.metadata
        namespace = "" if kind in ("Node", "Namespace") else metadata.namespace or "default"
        if not self._well_named(item, kind, namespace):
            return False
        first = self._seen.setdefault((kind, namespace, metadata.name), item.origin)
        if first is not item.origin:
            self._report_twice(item, kind, namespace, first)
            return False
        return True

    def _report_twice(self, item: Located, kind: str, namespace: str, first: Origin) -> None:
        name = item.object.metadata.name
        shown = f"{kind} {namespace}/{name}" if namespace else f"{kind} {name}"
        related = (Related("first defined here", first.at("metadata", "name")),)
        place = item.origin.at("metadata", "name")
        hint = "give every object once: does one file repeat another?"
        self._found.error("duplicate-object", f"{shown} is defined twice", place, hint=hint, related=related)

    def _well_named(self, item: Located, kind: str, namespace: str) -> bool:
        name = item.object.metadata.name
        good = is_label_name(name) if kind == "Namespace" else is_subdomain(name)
        if not good:
            message = f"{quoted(name)} is not possible as the name of a {kind}"
            hint = "names have lower-case letters, digits, '-' and '.' (DNS-1123); no API server takes others"
            self._found.error("bad-name", message, item.origin.at("metadata", "name"), hint=hint)
        elif namespace and not _is_namespace(namespace):
            message = f"{quoted(namespace)} is not possible as the namespace of a {kind}"
            hint = "names have lower-case letters, digits and '-' (DNS-1123); no API server takes others"
            self._found.error("bad-name", message, item.origin.at("metadata", "namespace"), hint=hint)
            good = False
        return good

    def _node(self, item: Located) -> None:
        """What a Node reports is judged later: of an address that nothing uses, no mistake matters."""
        node, origin = item.object, item.origin
        spec, status, info = node.spec, node.status, node.status.nodeInfo
        reported = tuple(
            _reported(index, entry.type == "ExternalIP", entry.address)
            for index, entry in enumerate(status.addresses or ())
            if entry.type in ("InternalIP", "ExternalIP")
        )
        pod_cidrs = (
            cidrs(spec.podCIDRs, origin, ("spec", "podCIDRs"), self._found)
            if spec.podCIDRs
            else cidrs([spec.podCIDR] if spec.podCIDR else [], origin, ("spec", "podCIDR"), self._found)
        )
        report = NodeReport(
            addresses=reported,
            operating_system=(info.operatingSystem if info is not None else None) or "",
            kubelet=(info.kubeletVersion if info is not None else None) or "",
            taints={taint.key: taint.value or "" for taint in spec.taints or ()},
            origin=origin,
        )
        internal, external = (
            tuple(dict.fromkeys(entry.address for entry in reported if entry.address and entry.external == outer))
            for outer in (False, True)
        )
        # Of a node without the condition nobody has said that it is not ready.
        ready = all(condition.status == "True" for condition in status.conditions or () if condition.type == "Ready")
        labels = node.metadata.labels or {}
        self._nodes.append(Node(node.metadata.name, labels, internal, pod_cidrs, external, ready, report))

    def _pod(self, item: Located) -> None:
        pod, origin = item
        metadata, status, spec = pod.metadata, pod.status, pod.spec
        name, namespace = metadata.name, metadata.namespace or "default"
        if not (is_subdomain(name) and _is_namespace(namespace)) and not self._well_named(item, "Pod", namespace):
            return
        first = self._seen_pods.setdefault((namespace, name), origin)
        if first is not origin:
            self._report_twice(item, "Pod", namespace, first)
            return
        if namespace == "kube-system":
            self._cidrs.control_plane_pod(item)
        if status.phase in FINISHED:
            return
        if spec.hostNetwork:
            self._host_network.append(HostNetworkPod(namespace, name, metadata.labels or {}))
            return
        ips = pod_ips(item)
        node = spec.nodeName or ""
        if ips.addresses and node and not _is_node_name(node):
            message = f"{quoted(node)} is not possible as the name of a Node"
            self._found.error("bad-name", message, origin.at("spec", "nodeName"))
        leaves = bool(metadata.deletionTimestamp) or status.phase == "Unknown"
        # As Pod(...), without a call in between.
        known: Pod = tuple.__new__(Pod, (namespace, name, metadata.labels or {}, node, ips.addresses))
        self._addresses.add(known, origin, ips, leaves=leaves)

    def _service(self, item: Located) -> None:
        service, origin = item.object, item.origin
        name = f"{service.metadata.namespace or 'default'}/{service.metadata.name}"
        spec, balancer = service.spec, service.status.loadBalancer
        inner: list[_Text] = [(text, ("spec", "clusterIPs", index)) for index, text in enumerate(spec.clusterIPs or ())]
        if not inner and spec.clusterIP:
            inner = [(spec.clusterIP, ("spec", "clusterIP"))]
        points = (balancer.ingress if balancer is not None else None) or ()
        outer: list[_Text] = [
            (text, ("spec", "externalIPs", index)) for index, text in enumerate(spec.externalIPs or ())
        ]
        outer += [(p.ip, ("status", "loadBalancer", "ingress", index, "ip")) for index, p in enumerate(points) if p.ip]
        for texts, into, shown in ((inner, self._services, name), (outer, self._external, f"Service {name}")):
            for text, path in ((text, path) for text, path in texts if text and text != "None"):
                address, problem = parsed(text)
                if address is not None:
                    into[address] = shown
                else:
                    hint = "it is left out: policies use no address of a Service"
                    self._found.warning("bad-address", problem, origin.at(*path), hint=hint)

    def _ip_pool(self, item: Located) -> None:
        """A disabled pool counts too: it gives no new addresses, but pods may have old ones."""
        spec = item.object.spec
        if spec.cidr and (not spec.allowedUses or set(spec.allowedUses) != {"LoadBalancer"}):
            for family, intervals in cidrs([spec.cidr], item.origin, ("spec", "cidr"), self._found).items():
                self._calico[family] += intervals


def _reported(index: int, external: bool, text: str) -> ReportedAddress:
    return ReportedAddress(index, external, text, *parsed(text))
