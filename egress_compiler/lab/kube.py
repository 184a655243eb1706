"""The few fields of a cluster export that the lab needs: `kubectl get nodes,pods,... -A -o json`, or YAML."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import yaml

from egress_compiler.lab.errors import LabError


class Meta(msgspec.Struct, frozen=True):
    name: str
    namespace: str = ""
    labels: dict[str, str] | None = None


class TypedAddress(msgspec.Struct, frozen=True):
    type: str
    address: str


class NodeSpec(msgspec.Struct, frozen=True):
    podCIDR: str | None = None
    podCIDRs: list[str] | None = None


class NodeStatus(msgspec.Struct, frozen=True):
    addresses: list[TypedAddress] | None = None


class Node(msgspec.Struct, frozen=True):
    metadata: Meta
    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()

    @property
    def internal_ips(self) -> tuple[str, ...]:
        return tuple(a.address for a in self.status.addresses or () if a.type == "InternalIP")

    @property
    def pod_cidrs(self) -> tuple[str, ...]:
        first = [self.spec.podCIDR] if self.spec.podCIDR else []
        return tuple(self.spec.podCIDRs or first)


class PodSpec(msgspec.Struct, frozen=True):
    nodeName: str | None = None
    hostNetwork: bool | None = None


class PodIP(msgspec.Struct, frozen=True):
    ip: str


class PodStatus(msgspec.Struct, frozen=True):
    phase: str = ""
    podIP: str | None = None
    podIPs: list[PodIP] | None = None


class Pod(msgspec.Struct, frozen=True):
    metadata: Meta
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()

    @property
    def ips(self) -> tuple[str, ...]:
        first = [self.status.podIP] if self.status.podIP else []
        return tuple(ip.ip for ip in self.status.podIPs or ()) or tuple(first)


class ServicePort(msgspec.Struct, frozen=True):
    port: int
    protocol: str = "TCP"
    targetPort: int | str | None = None


class ServiceSpec(msgspec.Struct, frozen=True):
    clusterIP: str | None = None
    clusterIPs: list[str] | None = None
    selector: dict[str, str] | None = None
    ports: list[ServicePort] | None = None

    @property
    def cluster_ips(self) -> tuple[str, ...]:
        ips = self.clusterIPs or ([self.clusterIP] if self.clusterIP else [])
        return tuple(ip for ip in ips if ip and ip != "None")


class Service(msgspec.Struct, frozen=True):
    metadata: Meta
    spec: ServiceSpec = ServiceSpec()


class ServiceCIDRSpec(msgspec.Struct, frozen=True):
    cidrs: list[str] | None = None


class ServiceCIDR(msgspec.Struct, frozen=True):
    spec: ServiceCIDRSpec = ServiceCIDRSpec()


class IPPoolSpec(msgspec.Struct, frozen=True):
    cidr: str | None = None


class IPPool(msgspec.Struct, frozen=True):
    spec: IPPoolSpec = IPPoolSpec()


class ClusterExport(msgspec.Struct, frozen=True):
    """Every object of a kind once, in the order of (namespace, name)."""

    nodes: tuple[Node, ...]
    pods: tuple[Pod, ...]
    services: tuple[Service, ...]
    service_cidrs: tuple[str, ...]
    pool_cidrs: tuple[str, ...]


def read_cluster(files: Sequence[Path]) -> ClusterExport:
    """What files, or the *.json, *.yaml and *.yml of directories, say of the cluster. Other kinds are ignored."""
    found: dict[str, dict[tuple[str, str], Any]] = {}
    for file in _expand(files):
        for item in _objects(_parse(file), file):
            kind = str(item.get("kind", ""))
            model = _MODELS.get(kind)
            if model is None:
                continue
            try:
                value = msgspec.convert(item, type=model)
                meta = msgspec.convert(item.get("metadata", {}), type=Meta)
            except msgspec.ValidationError as error:
                raise LabError(f"{file}: {kind}: {error}") from error
            found.setdefault(kind, {})[meta.namespace, meta.name] = value

    def of(kind: str) -> list[Any]:
        return [value for _, value in sorted(found.get(kind, {}).items(), key=lambda entry: entry[0])]

    return ClusterExport(
        nodes=tuple(of("Node")),
        pods=tuple(of("Pod")),
        services=tuple(of("Service")),
        service_cidrs=tuple(cidr for value in of("ServiceCIDR") for cidr in value.spec.cidrs or ()),
        pool_cidrs=tuple(value.spec.cidr for value in of("IPPool") if value.spec.cidr),
    )


_MODELS: dict[str, Any] = {
    "Node": Node,
    "Pod": Pod,
    "Service": Service,
    "ServiceCIDR": ServiceCIDR,
    "IPPool": IPPool,
}


def _expand(files: Sequence[Path]) -> Iterator[Path]:
    for file in files:
        if file.is_dir():
            yield from sorted(p for p in file.iterdir() if p.suffix in {".json", ".yaml", ".yml"})
        else:
            yield file


def _parse(file: Path) -> list[Any]:
    try:
        text = file.read_text(encoding="utf-8")
        if text.lstrip().startswith(("{", "[")):
            return [json.loads(text)]
        return list(yaml.safe_load_all(text))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise LabError(f"cannot read the cluster from {file}: {error}") from error


def _objects(documents: list[Any], file: Path) -> Iterator[dict[str, Any]]:
    for document in documents:
        if document is None:
            continue
        if isinstance(document, list):
            yield from _objects(document, file)
        elif not isinstance(document, dict):
            raise LabError(f"{file}: a Kubernetes object was expected, found {type(document).__name__}")
        elif isinstance(document.get("items"), list):
            yield from _objects(document["items"], file)
        else:
            yield document
