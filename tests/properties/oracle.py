"""What POLICY.md means, said a second time: one packet, one policy after the other.

Written from the language's description alone and sharing no code with the compiler: plain dicts as they stand in
YAML and JSON, and the standard library's addresses.  Which EIP and which node a policy got is the compiler's
business; the oracle takes both from the reported statuses, and checks the rules that they must keep.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any, Literal, NamedTuple

Json = Mapping[str, Any]
IP = IPv4Address | IPv6Address
Key = tuple[str, str, str]
"""Kind, namespace, name."""


class Answer(NamedTuple):
    """``addresses`` are the sources that are right: one EIP, or with ``node-ip`` those of the gateway's nodes."""

    outcome: Literal["direct", "eip", "node-ip", "blocked"]
    addresses: frozenset[str] = frozenset()


DIRECT = Answer("direct")
BLOCKED = Answer("blocked")

ALWAYS_INSIDE = (
    "127.0.0.0/8",
    "::1",
    "169.254.0.0/16",
    "fe80::/10",
    "224.0.0.0/4",
    "ff00::/8",
    "255.255.255.255",
)
TUNNEL_SUBNETS = {"ipv4Subnet": "172.31.0.0/16", "ipv6Subnet": "fd11::/112"}
FALLBACK = "egressgateway.spidernet.io/fallback"
DEFAULT_LABEL = "spidernet.io/egressgateway-default"


@cache
def bounds(text: str) -> tuple[IP, IP]:
    """First and last address of an address, a range or a CIDR."""
    if "-" in text:
        first, last = text.split("-")
        return ip_address(first.strip()), ip_address(last.strip())
    network = ip_network(text, strict=False)
    return network[0], network[-1]


def covers(texts: Iterable[str], address: IP) -> bool:
    for text in texts:
        first, last = bounds(text)
        if first.version == address.version and int(first) <= int(address) <= int(last):
            return True
    return False


def selects(selector: Json, labels: Mapping[str, str]) -> bool:
    """A LabelSelector as the Kubernetes documentation describes it."""
    for key, value in selector.get("matchLabels", {}).items():
        if labels.get(key) != value:
            return False
    for expression in selector.get("matchExpressions", []):
        key, operator, values = expression["key"], expression["operator"], expression.get("values", [])
        if operator == "In" and labels.get(key) not in values:
            return False
        if operator == "NotIn" and key in labels and labels[key] in values:
            return False
        if operator == "Exists" and key not in labels:
            return False
        if operator == "DoesNotExist" and key in labels:
            return False
    return True


def pool_addresses(texts: Iterable[str]) -> list[IP]:
    """Every usable address of a pool, each once, sorted."""
    found: set[IP] = set()
    for text in texts:
        first, last = bounds(text)
        if "/" in text and first.version == 4 and int(last) - int(first) + 1 > 2:
            first, last = first + 1, last - 1
        found |= {first + i for i in range(int(last) - int(first) + 1)}
    return sorted(found, key=int)


def pool_of(gateway: Json, family: int) -> list[IP]:
    return pool_addresses(gateway["spec"].get("ippools", {}).get(f"ipv{family}", []))


def key_of(document: Json) -> Key:
    metadata = document["metadata"]
    namespace = metadata.get("namespace", "default") if document["kind"] == "EgressPolicy" else ""
    return document["kind"], namespace, metadata["name"]


def labels_of(item: Json) -> Mapping[str, str]:
    return item["metadata"].get("labels") or {}


class Oracle:
    """``documents`` are the policy objects, ``objects`` the cluster's, ``status`` what the compiler reports."""

    def __init__(self, documents: Sequence[Json], objects: Sequence[Json], settings: Json, status: Sequence[Json]):
        self.gateways = {d["metadata"]["name"]: d for d in documents if d["kind"] == "EgressGateway"}
        self.own = own_addresses(objects)
        underlay = _underlay(self.own, objects, [d for d in documents if d["kind"] == "EgressGateway"])
        every = {o["metadata"]["name"]: o for o in objects if o["kind"] == "Node"}
        self.nodes = [every[name] for name, own in self.own.items() if any(a.version == underlay for a in own)]
        self.elsewhere = every.keys() - {node["metadata"]["name"] for node in self.nodes}
        self.pods = [o for o in objects if o["kind"] == "Pod" and _counts(o)]
        self.namespaces = {o["metadata"]["name"]: labels_of(o) for o in objects if o["kind"] == "Namespace"}
        self.status = {key_of(item): item.get("status", {}) for item in status}
        self.policies = sorted(
            (d for d in documents if d["kind"] in ("EgressPolicy", "EgressClusterPolicy")), key=_precedence
        )
        infos = [d for d in documents if d["kind"] == "EgressClusterInfo"]
        spec = infos[0]["spec"] if infos else {}
        self.inside = _inside(spec, objects, settings)
        # Where nodes follow their pods, those of the files decide nothing but what they themselves leave with.
        followed = settings.get("membership") == "followed"
        if spec.get("autoDetect", {}).get("podCidrMode", "auto") and not followed:
            self.inside += [str(a) for pod in self.pods for a in pod_addresses(pod)]
        of_pods = {a for pod in self.pods if not self.is_elsewhere(pod) for a in pod_addresses(pod)}
        self.hosts = [
            str(a)
            for name, node in every.items()
            for a in node_addresses(node)
            if name not in self.elsewhere or a not in of_pods or followed
        ]
        self.hosts += [t for g in self.gateways.values() for v in (4, 6) for t in map(str, pool_of(g, v))]
        self.hosts += [settings.get("tunnel", {}).get(key, subnet) for key, subnet in TUNNEL_SUBNETS.items()]
        self.versions = {ip.version for node in self.nodes for ip in self.own[node["metadata"]["name"]]}
        self.pod_cidrs = {n["metadata"]["name"]: n["spec"].get("podCIDRs", []) for n in self.nodes}
        self.settled = {pod["spec"]["nodeName"] for pod in self.pods}
        if followed or any(o["kind"] == "IPPool" for o in objects) or not all(map(self._is_at_home, self.pods)):
            self.settled = set()

    # ------------------------------------------------------------------------------------------ one packet's way

    def answer(self, source: IP, destination: IP) -> Answer:
        """What a new connection from ``source`` (a pod's address) to ``destination`` leaves with."""
        if covers(self.inside, destination):
            return DIRECT
        senders = [pod for pod in self.pods if source in pod_addresses(pod)]
        if senders and all(map(self.is_elsewhere, senders)):
            return DIRECT
        for policy in self.policies:
            if self.takes_source(policy, source) and takes_destination(policy, destination):
                return self.leaves_with(policy, source.version)
        return DIRECT

    def takes_source(self, policy: Json, source: IP) -> bool:
        applied = policy["spec"]["appliedTo"]
        whole_cidr = policy["kind"] == "EgressClusterPolicy" and "namespaceSelector" not in applied
        if applied.get("podSubnet") and whole_cidr:
            return covers(applied["podSubnet"], source) and not covers(self.hosts, source)
        return any(
            source in pod_addresses(pod) and self.takes_pod(policy, pod)
            for pod in self.pods
            if not self.is_elsewhere(pod)
        )

    def may_begin(self, node: str, source: IP) -> bool:
        """Whether a packet with this source can be from a pod of the node.

        Where all pods have their addresses from their node's podCIDRs, and a node has pods, one of another node's
        podCIDRs cannot.
        """
        own = [cidr for cidr in self.pod_cidrs[node] if bounds(cidr)[0].version == source.version]
        if node not in self.settled or not own or covers(own, source):
            return True
        return not any(covers(cidrs, source) for cidrs in self.pod_cidrs.values())

    def _is_at_home(self, pod: Json) -> bool:
        home = self.pod_cidrs.get(pod["spec"]["nodeName"])
        return home is None or all(covers(home, address) for address in pod_addresses(pod))

    def is_elsewhere(self, pod: Json) -> bool:
        """Whether its node is none that is configured, so that nothing steers it."""
        return pod["spec"]["nodeName"] in self.elsewhere

    def takes_pod(self, policy: Json, pod: Json) -> bool:
        applied, namespace = policy["spec"]["appliedTo"], pod["metadata"]["namespace"]
        if policy["kind"] == "EgressPolicy":
            if namespace != policy["metadata"].get("namespace", "default"):
                return False
        elif applied.get("namespaceSelector") not in (None, {}):
            if namespace not in self.namespaces:
                return False
            if not selects(applied["namespaceSelector"], self.namespaces[namespace]):
                return False
        if applied.get("podSubnet"):
            return any(covers(applied["podSubnet"], address) for address in pod_addresses(pod))
        return selects(applied["podSelector"], labels_of(pod))

    def leaves_with(self, policy: Json, version: int) -> Answer:
        gateway, status = self.gateway_of(policy), self.status[key_of(policy)]
        nodes = self.nodes_of(gateway)
        if not nodes and gateway["metadata"].get("annotations", {}).get(FALLBACK) == "nodeIP":
            return DIRECT
        if not nodes or version not in self.versions:
            return BLOCKED
        if policy["spec"].get("egressIP", {}).get("useNodeIP"):
            all_own = [self.own[node["metadata"]["name"]] for node in nodes]
            own = [next((a for a in some if a.version == version), None) for some in all_own]
            possible = frozenset(str(address) for address in own if address is not None)
            return Answer("node-ip", possible) if possible else BLOCKED
        address = status["eip"].get(f"ipv{version}")
        return Answer("eip", frozenset({address})) if address else BLOCKED

    def gateway_of(self, policy: Json) -> Json:
        name = policy["spec"].get("egressGatewayName")
        if not name and policy["kind"] == "EgressPolicy":
            namespace = policy["metadata"].get("namespace", "default")
            name = self.namespaces.get(namespace, {}).get(DEFAULT_LABEL)
        if name:
            return self.gateways[name]
        return next(g for g in self.gateways.values() if g["spec"].get("clusterDefault"))

    def nodes_of(self, gateway: Json) -> list[Json]:
        selector = gateway["spec"]["nodeSelector"]["selector"]
        return [node for node in self.nodes if selects(selector, labels_of(node))]

    # ------------------------------------------------------------------------------------- what allocations keep

    def broken_rules(self, *, fresh: bool) -> list[str]:
        """The rules that the reported EIPs and nodes break.  ``fresh``: compiled without a lock file."""
        broken = [problem for policy in self.policies for problem in self._broken_by(policy, fresh=fresh)]
        for name, gateway in self.gateways.items():
            users = [p for p in self.policies if self.gateway_of(p) is gateway and not _uses_node_ip(p)]
            homes: dict[str, set[str]] = {}
            for policy in users:
                status = self.status[key_of(policy)]
                for address in status["eip"].values():
                    homes.setdefault(address, set()).add(status["node"])
            broken += [f"{name}: {eip} is on {sorted(nodes)}" for eip, nodes in homes.items() if len(nodes) > 1]
            if fresh and users:
                broken += self._broken_round_robin(name, gateway, users)
        return broken

    def _broken_by(self, policy: Json, *, fresh: bool) -> list[str]:
        gateway, status, wanted = (
            self.gateway_of(policy),
            self.status[key_of(policy)],
            policy["spec"].get("egressIP", {}),
        )
        names = {node["metadata"]["name"] for node in self.nodes_of(gateway)}
        broken = []
        if status["node"] not in (names or {""}):
            broken.append(f"{key_of(policy)}: its node {status['node']!r} is none of {sorted(names)}")
        eip = {version: ip_address(a) for version in (4, 6) if (a := status["eip"].get(f"ipv{version}"))}
        if _uses_node_ip(policy):
            return [*broken, f"{key_of(policy)}: useNodeIP and yet {eip}"] if eip else broken
        pools = {version: pool_of(gateway, version) for version in (4, 6)}
        carried = self._carried(gateway)
        for version in (4, 6):
            promised = bool(pools[version]) and version in carried
            if promised != (version in eip) or (version in eip and eip[version] not in pools[version]):
                broken.append(f"{key_of(policy)}: {eip} does not fit the pool")
                return broken
            if wanted.get(f"ipv{version}") and version in eip and ip_address(wanted[f"ipv{version}"]) != eip[version]:
                broken.append(f"{key_of(policy)}: asked for {wanted} and got {eip}")
        explicit = wanted.get("ipv4") or wanted.get("ipv6")
        if explicit or wanted.get("allocatorPolicy", "default") != "default":
            pair = len(eip) < 2 or pools[4].index(eip[4]) == pools[6].index(eip[6])
            if not pair and fresh:
                broken.append(f"{key_of(policy)}: {eip} is no pair")
            return broken
        # What is not written may be what it was before.
        default = self._default(gateway, pools) if fresh else self._written(gateway)
        if any(default.get(version, eip[version]) != eip[version] for version in eip):
            broken.append(f"{key_of(policy)}: {eip} is not the default EIP")
        return broken

    def carried(self, policy: Json) -> set[int]:
        return self._carried(self.gateway_of(policy))

    def _carried(self, gateway: Json) -> set[int]:
        """The families that some node of the gateway has; all of a gateway without nodes, which carries nothing."""
        nodes = self.nodes_of(gateway)
        return {address.version for node in nodes for address in node_addresses(node)} if nodes else {4, 6}

    @staticmethod
    def _written(gateway: Json) -> dict[int, IP]:
        given = gateway["spec"].get("ippools", {})
        texts = {version: given.get(f"ipv{version}DefaultEIP") for version in (4, 6)}
        return {version: ip_address(text) for version, text in texts.items() if text}

    def _default(self, gateway: Json, pools: Mapping[int, list[IP]]) -> dict[int, IP]:
        """What is written; of one that is, its partner; else the first of both pools."""
        given = self._written(gateway)
        index = next((pools[version].index(value) for version, value in given.items()), 0)
        return {version: given.get(version, pools[version][index]) for version in (4, 6) if pools[version]}

    def _broken_round_robin(self, name: str, gateway: Json, users: Sequence[Json]) -> list[str]:
        """An EIP is one of the pool's numbers; a policy uses those of both its addresses."""
        pools = {version: [str(a) for a in pool_of(gateway, version)] for version in (4, 6)}
        used = Counter(dict.fromkeys(range(max(map(len, pools.values()))), 0))
        by_rr: Counter[int] = Counter()
        for policy in users:
            eip = self.status[key_of(policy)]["eip"]
            numbers = {pools[version].index(eip[f"ipv{version}"]) for version in (4, 6) if f"ipv{version}" in eip}
            wanted = policy["spec"].get("egressIP", {})
            used.update(numbers)
            if wanted.get("allocatorPolicy") == "rr" and not wanted.get("ipv4") and not wanted.get("ipv6"):
                by_rr.update(numbers)
        fewest = min(used.values())
        return [
            f"{name}: rr gave number {number} to {count} policies (with others: {used[number]}), some have {fewest}"
            for number, count in by_rr.items()
            if used[number] - 1 > fewest and self._carried(gateway) >= {v for v in (4, 6) if pools[v]}
        ]


def _uses_node_ip(policy: Json) -> bool:
    return bool(policy["spec"].get("egressIP", {}).get("useNodeIP"))


def takes_destination(policy: Json, destination: IP) -> bool:
    wanted = policy["spec"].get("destSubnet")
    return not wanted or covers(wanted, destination)


def _precedence(policy: Json) -> tuple[int, int, str, str]:
    cluster = policy["kind"] == "EgressClusterPolicy"
    _, namespace, name = key_of(policy)
    return policy["spec"].get("priority", 32768 if cluster else 1000), int(cluster), namespace, name


def _counts(pod: Json) -> bool:
    """Pending or Running, with an address of its own."""
    finished = pod["status"].get("phase") not in ("Pending", "Running")
    return not finished and not pod["spec"].get("hostNetwork") and bool(pod_addresses(pod))


def pod_addresses(pod: Json) -> list[IP]:
    return [ip_address(entry["ip"]) for entry in pod["status"].get("podIPs", [])]


def node_addresses(node: Json) -> list[IP]:
    return [ip_address(entry["address"]) for entry in node["status"]["addresses"] if entry["type"] == "InternalIP"]


# ------------------------------------------------------------------------------------- the hosts among the Node objects


def own_addresses(objects: Sequence[Json]) -> dict[str, list[IP]]:
    """Of every Linux host what could be the end of its tunnel: nobody else reports it, and others can reach it."""
    found: dict[str, list[IP]] = {}
    for node in (o for o in objects if o["kind"] == "Node"):
        labels = labels_of(node)
        if (
            labels.get("kubernetes.io/os", "linux") == "linux"
            and labels.get("type") != "virtual-kubelet"
            and labels.get("eks.amazonaws.com/compute-type") != "fargate"
            and labels.get("egress") != "unmanaged"
        ):
            found[node["metadata"]["name"]] = [a for a in node_addresses(node) if not _useless(a)]
    users = Counter(address for some in found.values() for address in set(some))
    return {name: [address for address in some if users[address] == 1] for name, some in found.items()}


def _useless(address: IP) -> bool:
    mapped = address.version == 6 and address.ipv4_mapped is not None
    return mapped or address.is_link_local or address.is_loopback or address.is_multicast or address.is_unspecified


def _underlay(own: Mapping[str, list[IP]], objects: Sequence[Json], gateways: Sequence[Json]) -> int:
    """The family of all tunnels at first: one that all hosts have, or all gateway nodes, or the most."""
    versions = {name: {address.version for address in some} for name, some in own.items() if some}
    selectors = [gateway["spec"]["nodeSelector"]["selector"] for gateway in gateways]
    labels = {o["metadata"]["name"]: labels_of(o) for o in objects if o["kind"] == "Node"}
    members = [has for name, has in versions.items() if any(selects(s, labels[name]) for s in selectors)]
    for some in (list(versions.values()), members):
        for version in (4, 6):
            if some and all(version in has for has in some):
                return version
    return max((4, 6), key=lambda version: sum(version in has for has in versions.values()))


# ---------------------------------------------------------------------------------------- the inside of the cluster


def _inside(info: Json, objects: Sequence[Json], settings: Json) -> list[str]:
    detect = {"nodeIP": True, "clusterIP": True, "podCidrMode": "auto", **info.get("autoDetect", {})}
    inside = [*ALWAYS_INSIDE, *info.get("extraCidr", [])]
    inside += [settings.get("tunnel", {}).get(key, subnet) for key, subnet in TUNNEL_SUBNETS.items()]
    inside += [*settings.get("podCIDRs", []), *settings.get("serviceCIDRs", [])]
    if detect["nodeIP"]:
        inside += [str(address) for o in objects if o["kind"] == "Node" for address in node_addresses(o)]
    if detect["podCidrMode"] in ("k8s", "auto"):
        inside += [cidr for o in objects if o["kind"] == "Node" for cidr in o["spec"].get("podCIDRs", [])]
        inside += _control_plane(objects, "podSubnet", "--cluster-cidr")
    if detect["podCidrMode"] in ("calico", "auto"):
        inside += [o["spec"]["cidr"] for o in objects if o["kind"] == "IPPool"]
    if detect["clusterIP"]:
        of_objects = [cidr for o in objects if o["kind"] == "ServiceCIDR" for cidr in o["spec"]["cidrs"]]
        for version in (4, 6):
            own = [cidr for cidr in of_objects if bounds(cidr)[0].version == version]
            told = _control_plane(objects, "serviceSubnet", "--service-cluster-ip-range")
            inside += own or [cidr for cidr in told if bounds(cidr)[0].version == version]
        services = [o["spec"] for o in objects if o["kind"] == "Service"]
        inside += [spec["clusterIP"] for spec in services if spec.get("clusterIP", "None") != "None"]
    return inside


def _control_plane(objects: Sequence[Json], key: str, flag: str) -> list[str]:
    """In each family kubeadm's configuration, else what the control plane was started with."""
    noted: list[str] = []
    flags: list[str] = []
    for item in objects:
        if item["kind"] == "ConfigMap" and item["metadata"]["name"] == "kubeadm-config":
            lines = item["data"]["ClusterConfiguration"].splitlines()
            noted += [c.strip() for line in lines if f"{key}:" in line for c in line.split(": ")[1].split(",")]
        if item["kind"] == "Pod" and item["metadata"]["namespace"] == "kube-system":
            words = [word for c in item["spec"].get("containers", []) for word in c.get("command", [])]
            flags += [c for w in words if w.startswith(f"{flag}=") for c in w.split("=")[1].split(",")]
    found: list[str] = []
    for version in (4, 6):
        known = [cidr for cidr in noted if bounds(cidr)[0].version == version]
        found += known or [cidr for cidr in flags if bounds(cidr)[0].version == version]
    return found
