"""Which hosts a lab has and which addresses they hold, from the cluster JSON that the compiler reads too."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from egress_compiler import net
from egress_compiler.diagnostics import Collector
from egress_compiler.fleet import choose_hosts
from egress_compiler.lab import addressing, kube
from egress_compiler.lab.addressing import Network
from egress_compiler.lab.errors import LabError
from egress_compiler.load import load_cluster
from egress_compiler.model.lock import Lock
from egress_compiler.model.settings import Settings
from egress_compiler.net import BITS, FAMILIES, Family

MAX_HOSTS = 48
"""Nodes and pods of one lab, together."""
DEFAULT_MTU = 1500
FAR_ADDRESSES = ("203.0.113.10", "198.51.100.10", "2001:db8:ffff::10")
"""Outside servers beyond the uplink subnet; one that lies inside the cluster is left out."""
RESERVED_HOSTS = frozenset({"outside", "controller", "fabric"})

_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")
_INTERFACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,14}")
_OWN_INTERFACE = re.compile(r"lo|lab[0-9]*")


@dataclass(frozen=True, slots=True)
class LabNode:
    """A Kubernetes node: its InternalIPs, the CIDRs that the others route to it, its uplink device."""

    name: str
    addresses: tuple[str, ...]
    pod_cidrs: tuple[str, ...]
    interface: str = "eth0"
    mtu: int = DEFAULT_MTU
    port: str = ""
    """The fabric's side of the uplink."""


@dataclass(frozen=True, slots=True)
class LabPod:
    """A running pod with a network of its own; `device` is the node's side of its veth."""

    namespace: str
    name: str
    node: str
    addresses: tuple[str, ...]
    device: str
    mtu: int = DEFAULT_MTU

    @property
    def host(self) -> str:
        """How the lab's functions call it: namespace/name."""
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class LabService:
    """One port of a Service in one family: connections to it reach a backend, in turn."""

    address: str
    protocol: str
    port: int
    backends: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Outside:
    """The world outside of the cluster: a router and a server in one host. None: the lab lacks the family."""

    gateway4: str | None
    gateway6: str | None
    uplink4: str | None
    uplink6: str | None
    """Server addresses in the uplink subnet."""
    far4: tuple[str, ...]
    far6: tuple[str, ...]
    """Server addresses that nodes reach through the gateway address."""
    extra: tuple[str, ...]
    """Server addresses that the caller asked for and that lie in the uplink subnet."""

    @property
    def gateways(self) -> tuple[str, ...]:
        return _present(self.gateway4, self.gateway6)

    @property
    def on_uplink(self) -> tuple[str, ...]:
        return (*_present(self.uplink4, self.uplink6), *self.extra)

    @property
    def servers(self) -> tuple[str, ...]:
        """Every address that the echo service answers on."""
        return (*self.on_uplink, *self.far4, *self.far6)


@dataclass(frozen=True, slots=True)
class LabSegment:
    """A network besides the uplinks', such as a VLAN: some nodes have a device in it, and the outside is a router."""

    interface: str
    """The nodes' device."""
    nodes: tuple[str, ...]
    routers: tuple[str, ...]
    """The outside's addresses, with prefix lengths."""


@dataclass(frozen=True, slots=True)
class LabTopology:
    """Everything that `up` needs to know; sorted, and the same for the same input."""

    nodes: tuple[LabNode, ...]
    pods: tuple[LabPod, ...]
    services: tuple[LabService, ...]
    outside: Outside
    controller: tuple[str, ...]
    uplinks: tuple[str, ...]
    """The uplink subnet of each family."""
    pod_cidrs: tuple[str, ...]
    service_cidrs: tuple[str, ...]
    segments: tuple[LabSegment, ...] = ()

    @property
    def hosts(self) -> tuple[str, ...]:
        """The names of all hosts, as the lab's functions take them."""
        return (*(n.name for n in self.nodes), *(p.host for p in self.pods), *sorted(RESERVED_HOSTS))

    def node(self, name: str) -> LabNode:
        """LabError when there is no such node."""
        found = next((n for n in self.nodes if n.name == name), None)
        if found is None:
            raise LabError(f"no node {name!r} in the lab; there are {', '.join(n.name for n in self.nodes)}")
        return found

    def pod(self, host: str) -> LabPod:
        """The pod `namespace/name`; LabError when there is none."""
        found = next((p for p in self.pods if p.host == host), None)
        if found is None:
            raise LabError(f"no pod {host!r} in the lab; there are {', '.join(p.host for p in self.pods)}")
        return found


def build_topology(
    cluster_files: Sequence[Path],
    *,
    interfaces: Mapping[str, str] | None = None,
    mtus: Mapping[str, int] | None = None,
    extra_addresses: Sequence[str] = (),
    outside_addresses: Sequence[str] = (),
    segments: Sequence[LabSegment] = (),
) -> LabTopology:
    """The lab for a cluster. LabError when it is too large, lacks what is needed or does not fit together.

    `interfaces` names uplink devices by node (else eth0); `mtus` gives the MTU of a node's uplink, and with it that of
    its pods, by node name, or of one pod by namespace/name. `extra_addresses` (addresses, ranges, CIDRs: EIP pools) are
    kept inside the uplink subnet and given to nobody. `outside_addresses` are held by the outside server too.
    `segments` are further networks, whose addresses are nobody's but the outside's.
    """
    cluster = _without_others(kube.read_cluster(cluster_files), cluster_files)
    nodes = _nodes(cluster, interfaces or {}, mtus or {})
    pods = _pods(cluster, nodes, mtus or {})
    if len(nodes) + len(pods) > MAX_HOSTS:
        raise LabError(
            f"{len(nodes)} nodes and {len(pods)} pods are {len(nodes) + len(pods)} hosts; a lab has at most {MAX_HOSTS}"
        )
    held = [(ip, f"node {node.name}") for node in nodes for ip in node.addresses]
    held += [(ip, f"pod {pod.host}") for pod in pods for ip in pod.addresses]
    _check_unique([*held, *((ip, "the outside server") for ip in outside_addresses)])
    inside = _pod_networks(cluster, nodes, pods)
    services = tuple(
        addressing.parse_network(cidr, "Service CIDR")
        for cidr in cluster.service_cidrs or [ip for service in cluster.services for ip in service.spec.cluster_ips]
    )
    outside, controller, uplinks = _outside(nodes, inside + services, extra_addresses, outside_addresses)
    return LabTopology(
        nodes=nodes,
        pods=pods,
        services=_services(cluster, pods),
        outside=outside,
        controller=controller,
        uplinks=tuple(str(network) for network in uplinks),
        pod_cidrs=_texts(inside),
        service_cidrs=_texts(services),
        segments=tuple(segments),
    )


def _without_others(cluster: kube.ClusterExport, files: Sequence[Path]) -> kube.ClusterExport:
    """Without the Node objects that are no Linux hosts, and their pods: no namespace could stand for those."""
    found = Collector()
    known = choose_hosts(load_cluster(files, found), (), Settings(), Lock(), found)
    others = {other.node.name for other in known.other_nodes if not other.waiting}
    nodes = tuple(node for node in cluster.nodes if node.metadata.name not in others)
    pods = tuple(pod for pod in cluster.pods if pod.spec.nodeName not in others)
    return msgspec.structs.replace(cluster, nodes=nodes, pods=pods)


def _nodes(cluster: kube.ClusterExport, interfaces: Mapping[str, str], mtus: Mapping[str, int]) -> tuple[LabNode, ...]:
    nodes = []
    for index, node in enumerate(cluster.nodes):
        name = node.metadata.name
        if not usable_name(name) or name in RESERVED_HOSTS:
            raise LabError(f"node {name!r}: the lab cannot use this name")
        addresses = tuple(one_address(ip, f"node {name}") for ip in node.internal_ips)
        if not addresses:
            raise LabError(f"node {name}: no InternalIP in status.addresses")
        interface = interfaces.get(name, "eth0")
        if not _INTERFACE.fullmatch(interface) or _OWN_INTERFACE.fullmatch(interface):
            raise LabError(f"node {name}: the lab cannot use {interface!r} as name of an uplink device")
        cidrs = tuple(str(addressing.parse_network(cidr, f"node {name}")) for cidr in node.pod_cidrs)
        nodes.append(LabNode(name, addresses, cidrs, interface, mtus.get(name, DEFAULT_MTU), f"n{index}"))
    if not nodes:
        raise LabError("the cluster has no nodes")
    return tuple(nodes)


def _pods(cluster: kube.ClusterExport, nodes: Sequence[LabNode], mtus: Mapping[str, int]) -> tuple[LabPod, ...]:
    by_name = {node.name: node for node in nodes}
    count = dict.fromkeys(by_name, 0)
    pods = []
    for pod in cluster.pods:
        meta, node = pod.metadata, pod.spec.nodeName or ""
        if pod.status.phase != "Running" or pod.spec.hostNetwork or not pod.ips:
            continue
        host = f"{meta.namespace}/{meta.name}"
        if node not in by_name:
            raise LabError(f"pod {host}: it runs on node {node!r}, which the cluster does not have")
        if not usable_name(meta.name) or not usable_name(meta.namespace):
            raise LabError(f"pod {host!r}: the lab cannot use this name")
        addresses = tuple(one_address(ip, f"pod {host}") for ip in pod.ips)
        mtu = mtus.get(host, by_name[node].mtu)
        pods.append(LabPod(meta.namespace, meta.name, node, addresses, f"lab{count[node]}", mtu))
        count[node] += 1
    return tuple(pods)


def _pod_networks(cluster: kube.ClusterExport, nodes: Sequence[LabNode], pods: Sequence[LabPod]) -> tuple[Network, ...]:
    """Pod CIDRs of nodes and IP pools, and each pod address that lies in none of them."""
    texts = [*(cidr for node in nodes for cidr in node.pod_cidrs), *cluster.pool_cidrs]
    networks = [addressing.parse_network(text, "pod CIDR") for text in texts]
    single = [addressing.parse_network(ip, "pod") for pod in pods for ip in pod.addresses]
    return (*networks, *(ip for ip in single if not any(addressing.overlap(ip, network) for network in networks)))


def _services(cluster: kube.ClusterExport, pods: Sequence[LabPod]) -> tuple[LabService, ...]:
    """Service ports with running backends; a targetPort that is a name is left out."""
    labels = {f"{pod.metadata.namespace}/{pod.metadata.name}": pod.metadata.labels or {} for pod in cluster.pods}
    found = []
    for service in cluster.services:
        wanted, namespace = (service.spec.selector or {}).items(), service.metadata.namespace
        behind = [p for p in pods if p.namespace == namespace and wanted and wanted <= labels[p.host].items()]
        for ip in service.spec.cluster_ips:
            family = _family(ip)
            addresses = [a for p in behind for a in p.addresses if _family(a) == family]
            for port in service.spec.ports or ():
                target = port.targetPort if port.targetPort is not None else port.port
                if isinstance(target, int) and addresses and port.protocol in {"TCP", "UDP"}:
                    backends = tuple((address, target) for address in addresses)
                    found.append(LabService(one_address(ip, "Service"), port.protocol.lower(), port.port, backends))
    return tuple(found)


def _outside(
    nodes: Sequence[LabNode], inside: Sequence[Network], extra: Sequence[str], wanted: Sequence[str]
) -> tuple[Outside, tuple[str, ...], tuple[Network, ...]]:
    """The outside host, the controller's addresses and the uplink subnets."""
    reserved = [addressing.parse(text, "address to reserve") for text in extra]
    requested = [one_address(text, "outside address") for text in wanted]
    uplinks: list[Network] = []
    free: dict[Family, list[str]] = {}
    for family in FAMILIES:
        used = [_interval(ip) for node in nodes for ip in node.addresses if _family(ip) == family]
        if not used:
            continue
        used += [span.interval for span in reserved if span.family == family]
        network = addressing.uplink_network(family, used, free=3)
        used += [_interval(ip) for ip in requested if _inside(ip, network)]
        network = addressing.uplink_network(family, used, free=3)
        uplinks.append(network)
        free[family] = addressing.free_addresses(network, used, 3)
    _check_overlaps(uplinks, inside, requested)
    beyond = [ip for ip in (*FAR_ADDRESSES, *requested) if not any(_inside(ip, n) for n in (*inside, *uplinks))]

    def nth(family: Family, index: int) -> str | None:
        return free[family][index] if family in free else None

    outside = Outside(
        gateway4=nth(4, 0),
        gateway6=nth(6, 0),
        uplink4=nth(4, 1),
        uplink6=nth(6, 1),
        far4=tuple(ip for ip in dict.fromkeys(beyond) if _family(ip) == 4 and 4 in free),
        far6=tuple(ip for ip in dict.fromkeys(beyond) if _family(ip) == 6 and 6 in free),
        extra=tuple(ip for ip in dict.fromkeys(requested) if any(_inside(ip, n) for n in uplinks)),
    )
    return outside, _present(nth(4, 2), nth(6, 2)), tuple(uplinks)


def _check_overlaps(uplinks: Iterable[Network], inside: Sequence[Network], requested: Iterable[str]) -> None:
    for uplink in uplinks:
        for network in inside:
            if addressing.overlap(uplink, network):
                raise LabError(f"the uplink subnet {uplink} overlaps {network} of the cluster")
    for ip in requested:
        if any(_inside(ip, network) for network in inside):
            raise LabError(f"outside address {ip} lies inside the cluster")


def _check_unique(held: Iterable[tuple[str, str]]) -> None:
    """LabError when two of the (address, holder) pairs have one address."""
    holders: dict[str, str] = {}
    for address, holder in held:
        if address in holders:
            raise LabError(f"{holders[address]} and {holder} have the same address {address}")
        holders[address] = holder


def usable_name(name: str) -> bool:
    """Whether a node, a pod or a namespace of the lab can be called so."""
    return _NAME.fullmatch(name) is not None


def one_address(text: str, what: str) -> str:
    """The address as the kernel prints it; LabError names `what` where the text is none."""
    span = addressing.parse(text, what)
    if span.interval.first != span.interval.last or "/" in text:
        raise LabError(f"{what}: {text} is not one address")
    return net.format_address(span.family, span.interval.first)


def _family(text: str) -> Family:
    return 6 if ":" in text else 4


def _interval(address: str) -> net.Interval:
    return addressing.parse(address, "address").interval


def _inside(address: str, network: Network) -> bool:
    return addressing.overlap(addressing.parse_network(address, "address"), network)


def _texts(networks: Iterable[Network]) -> tuple[str, ...]:
    return tuple(str(network) for network in sorted(set(networks), key=lambda n: (n.family, n.interval)))


def _present(*addresses: str | None) -> tuple[str, ...]:
    return tuple(address for address in addresses if address is not None)


def prefix_length(topology: LabTopology, address: str) -> int:
    """The prefix length of the uplink subnet of the address's family."""
    uplink = next(text for text in topology.uplinks if _family(text) == _family(address))
    return int(uplink.partition("/")[2])


def host_route(address: str) -> str:
    """The address as a CIDR of one."""
    return f"{address}/{BITS[_family(address)]}"
