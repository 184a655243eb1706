"""Random small clusters with gateways and policies, over few addresses and labels, so that things overlap."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import strategies as st

from tests.properties.oracle import pool_addresses

Json = dict[str, Any]
API = "egressgateway.spidernet.io/v1beta1"
NAMESPACES = ("a", "b", "c")
LABELS: Mapping[str, Sequence[str]] = {"app": ("web", "api"), "tier": ("1", "2", "3"), "canary": ("",)}
POOL_BLOCK = 16
"""Addresses that each gateway's pool is cut from."""
NODE_PODS = 16
"""Addresses of a node's pod CIDR."""

DESTINATIONS = {
    4: (
        *(f"203.0.113.{i}" for i in (0, 1, 7, 8, 9)),
        "203.0.113.0/24",
        "203.0.113.0/28",
        "203.0.113.8/29",
        "203.0.113.4-203.0.113.11",
        "203.0.113.7-203.0.113.7",
        "203.0.113.255-203.0.114.1",
        "198.51.100.0/31",
        "10.0.0.0/8",
        "10.1.0.0/16",
        "0.0.0.0/0",
        "0.0.0.0/1",
        "128.0.0.0-255.255.255.255",
        "224.0.0.1",
    ),
    6: (
        *(f"2001:db8::{i}" for i in (0, 1, 7, 8)),
        "2001:db8::/64",
        "2001:db8::/125",
        "2001:db8::4-2001:db8::b",
        "fd00::/8",
        "::/0",
        "8000::/1",
        "fe80::1",
    ),
}


@dataclass(frozen=True)
class Scenario:
    """``documents`` are the policy objects and ``objects`` the cluster's, both as they stand in YAML and JSON."""

    documents: tuple[Json, ...]
    objects: tuple[Json, ...]
    settings: Json = field(default_factory=dict)

    def of_kind(self, *kinds: str) -> list[Json]:
        return [item for item in (*self.documents, *self.objects) if item["kind"] in kinds]

    def without(self, item: Json) -> Scenario:
        return replace(
            self,
            documents=tuple(d for d in self.documents if d is not item),
            objects=tuple(o for o in self.objects if o is not item),
        )

    def plus(self, item: Json) -> Scenario:
        if item.get("apiVersion") == API:
            return replace(self, documents=(*self.documents, item))
        return replace(self, objects=(*self.objects, item))


def document(kind: str, name: str, spec: Json, namespace: str = "") -> Json:
    metadata = {"name": name, "namespace": namespace} if namespace else {"name": name}
    return {"apiVersion": API, "kind": kind, "metadata": metadata, "spec": spec}


def cluster_object(kind: str, name: str, namespace: str = "", labels: Json | None = None, **content: Any) -> Json:
    metadata: Json = {"name": name} | ({"namespace": namespace} if namespace else {})
    return {"apiVersion": "v1", "kind": kind, "metadata": metadata | ({"labels": labels} if labels else {}), **content}


def families_of(scenario: Scenario) -> tuple[int, ...]:
    """The families that the scenario was made with, from its first node."""
    texts = [
        *scenario.of_kind("Node")[0]["spec"].get("podCIDRs", []),
        *(
            e["address"]
            for n in scenario.of_kind("Node")
            for e in n["status"]["addresses"]
            if e["type"] == "InternalIP"
        ),
    ]
    return tuple(family for family in (4, 6) if any((":" in text) == (family == 6) for text in texts))


# -------------------------------------------------------------------------------------------------------- the cluster

FAMILIES = st.sampled_from([(4, 6), (4,), (6,), (4, 6), (4, 6)])
_NAMESPACE = st.sampled_from(["a", "a", "a", "a", "b", "c"])

_LABEL_SETS: Sequence[Json] = [
    {key: value for key, value in zip(LABELS, values, strict=True) if value is not None}
    for values in itertools.product(*((*texts, None) for texts in LABELS.values()))
]
_LABELS = st.sampled_from(_LABEL_SETS)


def _expressions() -> list[Json]:
    found: list[Json] = []
    for key, values in {**LABELS, "absent": ("x",)}.items():
        found += [{"key": key, "operator": operator} for operator in ("Exists", "DoesNotExist")]
        choices = [[value] for value in values] + [list(values), ["other"], [values[-1], "other"]]
        found += [{"key": key, "operator": o, "values": some} for o in ("In", "NotIn") for some in choices]
    return found


_EXPRESSIONS = _expressions()
_SELECTORS: Sequence[Json] = [
    *({"matchLabels": some} for some in _LABEL_SETS if some),
    *({"matchExpressions": [one]} for one in _EXPRESSIONS),
    *({"matchExpressions": [one, other]} for one, other in zip(_EXPRESSIONS, _EXPRESSIONS[7:], strict=False)),
    *({"matchLabels": {"app": "web"}, "matchExpressions": [one]} for one in _EXPRESSIONS),
]
_LIKELY: Sequence[Json] = [
    {"matchLabels": {"app": "web"}},
    {"matchExpressions": [{"key": "app", "operator": "In", "values": ["web", "api"]}]},
    {"matchExpressions": [{"key": "app", "operator": "Exists"}]},
    {"matchExpressions": [{"key": "absent", "operator": "DoesNotExist"}]},
    {"matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["1"]}]},
]
SELECTORS = st.one_of(st.sampled_from(_LIKELY), st.sampled_from(_SELECTORS))
"""LabelSelectors with all four operators; one half of them selects much."""
NAMESPACE_SELECTORS = st.sampled_from([{}, *_LIKELY, *_SELECTORS[::5]])


def node_address(number: int, family: int) -> str:
    return f"10.0.0.{number}" if family == 4 else f"fd00::{number:x}"


def pod_cidr(number: int, family: int) -> str:
    return f"10.1.{number}.0/28" if family == 4 else f"fd00:1:{number:x}::/124"


def pod_address(number: int, host: int, family: int) -> str:
    return f"10.1.{number}.{host}" if family == 4 else f"fd00:1:{number:x}::{host:x}"


def _node(number: int, families: Sequence[int], node_labels: Json, *, pod_cidrs: bool) -> Json:
    spec: Json = {"podCIDRs": [pod_cidr(number, f) for f in families]} if pod_cidrs else {}
    addresses = [{"type": "InternalIP", "address": node_address(number, f)} for f in families]
    status = {"addresses": [*addresses, {"type": "Hostname", "address": f"n{number}"}]}
    return cluster_object("Node", f"n{number}", labels=node_labels, spec=spec, status=status)


_POD_KINDS = st.sampled_from(["plain"] * 8 + ["host", "finished", "no-address", "single"])
_PHASES = st.sampled_from(["Running", "Running", "Pending"])


@st.composite
def a_pod(draw: st.DrawFn, nodes: int, families: Sequence[int], number: int) -> Json:
    node = draw(st.integers(1, nodes))
    namespace = draw(_NAMESPACE)
    kind = draw(_POD_KINDS)
    status: Json = {"phase": draw(_PHASES)}
    spec: Json = {"nodeName": f"n{node}", "containers": [{"name": "main"}]}
    own = [pod_address(node, number + 1, family) for family in families]
    if kind == "host":
        spec["hostNetwork"] = True
        own = [node_address(node, family) for family in families]
    elif kind == "finished":
        # A finished pod keeps its address in the API, where a running one may have it by now.
        status["phase"] = draw(st.sampled_from(["Succeeded", "Failed"]))
        own = [pod_address(node, draw(st.integers(1, number + 1)), family) for family in families]
    elif kind == "single":
        own = [draw(st.sampled_from(own))]
    if kind != "no-address":
        status |= {"podIP": own[0], "podIPs": [{"ip": address} for address in own]}
    return cluster_object("Pod", f"p{number}", namespace, draw(_LABELS), spec=spec, status=status)


@st.composite
def service_sources(draw: st.DrawFn, families: Sequence[int]) -> tuple[list[Json], Json]:
    """Objects, or a setting, that tell the Service CIDRs; poorer sources beside a better one tell something else."""
    cidrs = {4: "10.2.0.0/24", 6: "fd00:2::/120"}
    wrong = {4: "198.51.100.0/24", 6: "2001:db8:5::/120"}
    sources = draw(st.lists(st.sampled_from(["object", "kubeadm", "flag"]), unique=True, min_size=1).map(sorted))
    if draw(st.integers(0, 9)) == 0:
        return [], {"serviceCIDRs": [cidrs[f] for f in families]}
    made: list[Json] = []
    best = next(source for source in ("object", "kubeadm", "flag") if source in sources)
    for source in sources:
        texts = [(cidrs if source == best else wrong)[f] for f in families]
        if source == "object":
            made.append(cluster_object("ServiceCIDR", "kubernetes", spec={"cidrs": texts}))
        elif source == "kubeadm":
            data = {"ClusterConfiguration": f"networking:\n  dnsDomain: c.l\n  serviceSubnet: {','.join(texts)}\n"}
            made.append(cluster_object("ConfigMap", "kubeadm-config", "kube-system", data=data))
        else:
            command = ["kube-apiserver", f"--service-cluster-ip-range={','.join(texts)}"]
            spec = {"nodeName": "n1", "hostNetwork": True, "containers": [{"name": "main", "command": command}]}
            made.append(cluster_object("Pod", "apiserver", "kube-system", spec=spec, status={"phase": "Running"}))
    return made, {}


_NODE_LABELS = st.sampled_from([{"gw": "x"}, {"gw": "y"}, {}, {"gw": "x", "zone": "1"}])


@st.composite
def a_node(
    draw: st.DrawFn, number: int, families: Sequence[int], labels: st.SearchStrategy[Json] = _NODE_LABELS
) -> Json:
    return _node(number, families, draw(labels), pod_cidrs=True)


@st.composite
def clusters(draw: st.DrawFn, max_pods: int = 8) -> tuple[list[Json], Json, str | None, tuple[int, ...]]:
    """The objects, the settings, the podCidrMode that fits them (None: say nothing), the families."""
    families = draw(FAMILIES)
    count = draw(st.integers(1, 4))
    mode = draw(st.sampled_from([None, None, "k8s", "auto", "calico", ""]))
    calico = mode == "calico" or (mode in (None, "auto") and draw(st.booleans()))
    with_cidrs = not calico or draw(st.booleans())
    # Pods may have a family that the nodes do not report.
    reported = draw(st.sampled_from([[families]] * 6 + [[families[:1]]] + [[families, families[:1]]] * 2))
    made = []
    for number in range(1, count + 1):
        node = _node(number, draw(st.sampled_from(reported)), draw(_NODE_LABELS), pod_cidrs=with_cidrs)
        if with_cidrs:
            # Under Calico the nodes' own podCIDRs may be left over from before, and count for nothing.
            left_over = {4: f"10.77.{number}.0/28", 6: f"fd00:77:{number:x}::/124"} if mode == "calico" else {}
            node["spec"]["podCIDRs"] = [left_over.get(family) or pod_cidr(number, family) for family in families]
        made.append(node)
    if calico:
        cidrs = {4: "10.1.0.0/16", 6: "fd00:1::/32"}
        made += [cluster_object("IPPool", f"pool{f}", spec={"cidr": cidrs[f]}) for f in families]
    for name in NAMESPACES[: draw(st.integers(1, 3))]:
        made.append(cluster_object("Namespace", name, labels=draw(_LABELS)))
    made += [draw(a_pod(count, families, number)) for number in range(draw(st.integers(2, max_pods)))]
    objects, settings = draw(service_sources(families))
    for number in range(draw(st.integers(0, 2))):
        address = {4: f"10.2.0.{number + 1}", 6: f"fd00:2::{number + 1}"}[families[0]]
        made.append(cluster_object("Service", f"s{number}", "a", spec={"clusterIP": address, "clusterIPs": [address]}))
    return [*made, *objects], settings, mode, families


# --------------------------------------------------------------------------------------------------- gateways, policies


@st.composite
def pools(draw: st.DrawFn, number: int, families: Sequence[int]) -> Json:
    """The ippools of the ``number``-th gateway: nothing, one family, or two of the same size."""
    kind = draw(st.sampled_from(["both"] * 5 + ["first", "last", "none"]))
    chosen = {"both": families, "first": families[:1], "last": families[-1:], "none": ()}[kind]
    base = 64 + POOL_BLOCK * number
    pool: Json = {}
    starts = draw(st.lists(st.integers(0, POOL_BLOCK - 4), min_size=1, max_size=3))
    texts = []
    for start in starts:
        form = draw(st.sampled_from(["address", "range", "/30", "/31", "/32"]))
        first, last = base + start, base + start + draw(st.integers(0, 3))
        texts.append(
            {
                "address": f"10.0.0.{first}",
                "range": f"10.0.0.{first}-10.0.0.{last}",
                "/30": f"10.0.0.{first & ~3}/30",
                "/31": f"10.0.0.{first & ~1}/31",
                "/32": f"10.0.0.{first}/32",
            }[form]
        )
    size = len(pool_addresses(texts))
    if 4 in chosen:
        pool["ipv4"] = texts
    if 6 in chosen:
        cut = draw(st.integers(0, size - 1))
        hosts = [base + i if i < cut else base + i + 3 for i in range(size)]
        pool["ipv6"] = draw(st.permutations([f"fd00::{host:x}" for host in hosts]))
        if cut == 0 and draw(st.booleans()):
            pool["ipv6"] = [f"fd00::{hosts[0]:x}-fd00::{hosts[-1]:x}"]
    for family in draw(st.sampled_from([(), chosen[:1], chosen[-1:], chosen])):
        # Two of them need not be a pair.
        pool[f"ipv{family}DefaultEIP"] = str(draw(st.sampled_from(pool_addresses(pool[f"ipv{family}"]))))
    return pool


_VLAN20: Json = {
    "interface": "vlan20",
    "cidrs": ["10.0.0.64/29", "10.0.0.240/28", "fd00::40/125"],
    "ipv4Gateway": "10.0.0.241",
    "ipv6Gateway": "fe80::1",
}
_VLAN30: Json = {
    "interface": "vlan30",
    "cidrs": ["10.0.0.72/29", "10.0.0.84/30", "10.0.0.224/28", "fd00::4c/126", "fd00::50/124"],
    "ipv4Gateway": "10.0.0.225",
    "ipv6Gateway": "fd00::5f",
}
_REPLY_ROUTES = st.sampled_from([{}, {}, {"gatewayReplyRoute": True}])
_FURTHER_UPLINKS = st.sampled_from([{}, {}, {"uplinks": [_VLAN20]}, {"uplinks": [_VLAN30, _VLAN20]}])
"""Some of the pools' addresses leave by another device."""
_FEW_GATEWAYS = st.sampled_from(
    [{}, {}, {"vrrp": {"gatewaysPerSlot": 2}}, {"vrrp": {"gatewaysPerSlot": 2, "firstVRID": 252}}]
)

_NODE_SELECTORS = st.sampled_from(
    [
        {"matchExpressions": [{"key": "nothing", "operator": "DoesNotExist"}]},
        {"matchExpressions": [{"key": "gw", "operator": "Exists"}]},
        {"matchExpressions": [{"key": "gw", "operator": "In", "values": ["x", "y"]}]},
        {"matchLabels": {"gw": "x"}},
        {"matchLabels": {"gw": "y"}},
        {"matchExpressions": [{"key": "gw", "operator": "NotIn", "values": ["x"]}]},
        {"matchLabels": {"nobody": "has-it"}},
    ]
)


@st.composite
def gateways(draw: st.DrawFn, number: int, families: Sequence[int], *, default: bool) -> Json:
    spec: Json = {"ippools": draw(pools(number, families)), "nodeSelector": {"selector": draw(_NODE_SELECTORS)}}
    if default:
        spec["clusterDefault"] = True
    made = document("EgressGateway", f"g{number}", spec)
    fallback = draw(st.sampled_from([None, None, "nodeIP", "block"]))
    if fallback:
        made["metadata"]["annotations"] = {"egressgateway.spidernet.io/fallback": fallback}
    return made


_SUBNETS = {
    4: (
        "10.1.1.0/28",
        "10.1.1.0/29",
        "10.1.1.2/31",
        "10.1.1.3/32",
        "10.1.2.0/30",
        "10.1.2.4/30",
        "10.1.0.0/16",
        "10.9.0.0/24",
        "0.0.0.0/0",
    ),
    6: ("fd00:1:1::/124", "fd00:1:1::/126", "fd00:1:1::2/128", "fd00:1::/32", "fd00:9::/64", "::/0"),
}
_POD_SUBNETS: Mapping[tuple[int, ...], st.SearchStrategy[list[str]]] = {
    families: st.lists(st.sampled_from([s for f in families for s in _SUBNETS[f]]), min_size=1, max_size=3)
    for families in ((4,), (6,), (4, 6))
}
_DESTINATION_LISTS: Mapping[tuple[int, ...], st.SearchStrategy[list[str]]] = {
    families: st.one_of(
        st.just([]),
        st.lists(st.sampled_from([d for f in families for d in DESTINATIONS[f]]), min_size=1, max_size=4),
    )
    for families in ((4,), (6,), (4, 6))
}
_NAME_ENDS = st.sampled_from(["", "", "", "", "", "", "", "-b", ".b", "." + ".".join(["long" * 15] * 3)])
_PRIORITIES = st.sampled_from([None, None, 1000, 100, 100, 1000, 1, 32768, 65536])


@st.composite
def policies(
    draw: st.DrawFn, number: int, made: Sequence[Json], namespaces: Sequence[Json], families: tuple[int, ...]
) -> Json:
    """A policy of either kind that some gateway of ``made`` can serve."""
    cluster = draw(st.integers(0, 2)) == 0
    namespace = "" if cluster else draw(_NAMESPACE)
    labelled = next((n for n in namespaces if n["metadata"]["name"] == namespace), None)
    gateway = _reachable(made, labelled)
    spec: Json = {}
    if gateway is None or draw(st.integers(0, 2)):
        gateway = draw(st.sampled_from(made))
        spec["egressGatewayName"] = gateway["metadata"]["name"]
    egress_ip = draw(_egress_ip(gateway))
    say_nothing: bool = draw(st.booleans())
    if egress_ip or say_nothing:
        spec["egressIP"] = egress_ip
    applied: Json = {}
    if draw(st.integers(0, 3)) == 0:
        applied["podSubnet"] = draw(_POD_SUBNETS[families])
    else:
        applied["podSelector"] = draw(SELECTORS)
    if cluster and draw(st.booleans()):
        applied["namespaceSelector"] = draw(NAMESPACE_SELECTORS)
    spec["appliedTo"] = applied
    destinations = draw(_DESTINATION_LISTS[families])
    say_empty: bool = draw(st.booleans())
    if destinations or say_empty:
        spec["destSubnet"] = destinations
    priority = draw(_PRIORITIES)
    if priority is not None:
        spec["priority"] = priority
    kind = "EgressClusterPolicy" if cluster else "EgressPolicy"
    return document(kind, f"{'c' if cluster else 'n'}{number}{draw(_NAME_ENDS)}", spec, namespace)


def _reachable(made: Sequence[Json], namespace: Json | None) -> Json | None:
    """The gateway of a policy that names none."""
    label = (namespace or {"metadata": {}})["metadata"].get("labels", {}).get("spidernet.io/egressgateway-default")
    for gateway in made:
        if gateway["metadata"]["name"] == label or (label is None and gateway["spec"].get("clusterDefault")):
            return gateway
    return None


@st.composite
def _egress_ip(draw: st.DrawFn, gateway: Json) -> Json:
    pool = gateway["spec"]["ippools"]
    families = [family for family in (4, 6) if pool.get(f"ipv{family}")]
    if not families:
        return {"useNodeIP": True}
    kind = draw(st.sampled_from(["nothing", "default", "rr", "rr", "explicit", "explicit", "node"]))
    if kind == "nothing":
        return {}
    if kind == "node":
        return {"useNodeIP": True}
    if kind != "explicit":
        return {"allocatorPolicy": kind}
    index = draw(st.integers(0, len(pool_addresses(pool[f"ipv{families[0]}"])) - 1))
    named = draw(st.sampled_from([families, families[:1], families[-1:]]))
    return {f"ipv{family}": str(pool_addresses(pool[f"ipv{family}"])[index]) for family in named}


@st.composite
def scenarios(draw: st.DrawFn, max_policies: int = 6, max_pods: int = 8) -> Scenario:
    objects, settings, mode, families = draw(clusters(max_pods))
    settings |= draw(_FURTHER_UPLINKS) | draw(_REPLY_ROUTES) | draw(_FEW_GATEWAYS)
    count = draw(st.integers(1, 3))
    default = draw(st.integers(0, count))
    made = [draw(gateways(number, families, default=number == default)) for number in range(count)]
    namespaces = [item for item in objects if item["kind"] == "Namespace"]
    for namespace in namespaces:
        if draw(st.integers(0, 2)) == 0:
            label = {"spidernet.io/egressgateway-default": draw(st.sampled_from(made))["metadata"]["name"]}
            namespace["metadata"]["labels"] = namespace["metadata"].get("labels", {}) | label
    documents = list(made)
    for number in range(draw(st.integers(1, max_policies))):
        documents.append(draw(policies(number, made, namespaces, families)))
    extra = draw(st.lists(st.sampled_from(["203.0.113.8/30", "10.9.0.0/16", "198.51.100.1"]), max_size=2))
    if mode is not None or extra or draw(st.booleans()):
        detect: Json = {"nodeIP": False} if draw(st.integers(0, 5)) == 0 else {}
        detect |= {"clusterIP": False} if draw(st.integers(0, 5)) == 0 else {}
        detect |= {} if mode is None else {"podCidrMode": mode}
        spec: Json = {"autoDetect": detect} if detect else {}
        spec |= {"extraCidr": extra} if extra else {}
        documents.append(document("EgressClusterInfo", "default", spec))
    return Scenario(tuple(documents), tuple(objects), settings)


# ------------------------------------------------------------------------------------------------ clusters as they are

_OTHER_LABELS: Mapping[str, Json] = {
    "windows": {"kubernetes.io/os": "windows"},
    "fargate": {"eks.amazonaws.com/compute-type": "fargate"},
    "virtual": {"type": "virtual-kubelet"},
    "unmanaged": {"egress": "unmanaged"},
    "late": {},
    "one family": {},
}


@st.composite
def odd_scenarios(draw: st.DrawFn) -> Scenario:
    """Scenarios in which nodes report what is not theirs or are not ready, among Node objects that are no hosts."""
    scenario = draw(scenarios())
    families = families_of(scenario)
    objects: list[Json] = copy.deepcopy(list(scenario.objects))
    hosts = [item for item in objects if item["kind"] == "Node"]
    useless = ["169.254.1.0", "127.0.0.1", "fe80::1", "::ffff:10.0.0.9"]
    for host in hosts:
        addresses = host["status"]["addresses"]
        for text in draw(st.lists(st.sampled_from(useless), max_size=2)):
            addresses.insert(draw(st.integers(0, len(addresses))), {"type": "InternalIP", "address": text})
        if draw(st.integers(0, 3)) == 0:
            host["status"]["conditions"] = [{"type": "Ready", "status": draw(st.sampled_from(["False", "Unknown"]))}]
    if 4 in families and draw(st.booleans()):
        for host in hosts:
            addresses = host["status"]["addresses"]
            at = draw(st.sampled_from([0, len(addresses)]))
            addresses.insert(at, {"type": "InternalIP", "address": "172.17.0.1"})
    for number, kind in enumerate(draw(st.lists(st.sampled_from(sorted(_OTHER_LABELS)), min_size=1, max_size=2)), 200):
        objects += draw(_other_node(kind, number, families, objects))
    return replace(scenario, objects=tuple(objects))


@st.composite
def _other_node(
    draw: st.DrawFn, kind: str, number: int, families: Sequence[int], objects: Sequence[Json]
) -> list[Json]:
    """A Node object and a pod on it."""
    node = _node(number, families, draw(_NODE_LABELS) | _OTHER_LABELS[kind], pod_cidrs=kind != "fargate")
    pod = draw(a_pod(1, families, 20 + number - 200))
    pod["spec"]["nodeName"] = node["metadata"]["name"]
    own = [pod_address(number, 1, family) for family in families]
    if kind == "late":
        node["status"]["addresses"] = []
    elif kind == "one family":
        node["status"]["addresses"] = [{"type": "InternalIP", "address": node_address(number, families[-1])}]
    elif kind == "fargate":
        own = [{4: f"10.3.0.{number}", 6: f"fd00:3::{number}"}[family] for family in families]
        node["status"]["addresses"] = [{"type": "InternalIP", "address": text} for text in own]
    elif kind == "virtual":
        # It has the address of the pod that runs it, or of the node on which that pod is.
        others = [item for item in objects if item["kind"] == "Pod" and item["status"].get("podIP")]
        texts = [item["status"]["podIP"] for item in others] + [node_address(1, families[0])]
        node["status"]["addresses"] = [{"type": "InternalIP", "address": draw(st.sampled_from(texts))}]
    if "podIPs" in pod["status"] and not pod["spec"].get("hostNetwork"):
        pod["status"] |= {"podIP": own[0], "podIPs": [{"ip": text} for text in own]}
    return [node, pod]


# ------------------------------------------------------------------------------------------------------------- crowds

_CROWD_DESTINATIONS: Mapping[int, Sequence[str]] = {
    4: ("203.0.113.0/24", "203.0.113.0/28", "203.0.113.8/29", "203.0.113.4-203.0.113.11", "203.0.113.8", "0.0.0.0/1"),
    6: ("2001:db8::/64", "2001:db8::/125", "2001:db8::4-2001:db8::b", "2001:db8::8", "::/1"),
}
_CROWD_SELECTORS: Sequence[Json] = [*_LIKELY, {"matchExpressions": [{"key": "tier", "operator": "Exists"}]}]
_NEAR_ALL: Sequence[Json] = [
    {"matchExpressions": [{"key": "nothing", "operator": "DoesNotExist"}]},
    {"matchExpressions": [{"key": "gw", "operator": "Exists"}]},
    {"matchExpressions": [{"key": "gw", "operator": "NotIn", "values": ["x"]}]},
    {"matchLabels": {"gw": "x"}},
]


@st.composite
def crowds(draw: st.DrawFn) -> Scenario:
    """Many policies over the same few pods and destinations, mostly of one priority, and gateways on the same nodes.

    ``scenarios`` are broad and seldom have two policies that want the same packet; here nearly all do.
    """
    families = draw(FAMILIES)
    count = draw(st.integers(2, 4))
    made = [draw(_crowded_gateway(number, families)) for number in range(draw(st.integers(1, 3)))]
    objects = [draw(a_node(number, families)) for number in range(1, count + 1)]
    objects += [cluster_object("Namespace", name, labels=draw(_LABELS)) for name in ("a", "b")]
    objects += [cluster_object("ServiceCIDR", "kubernetes", spec={"cidrs": ["10.2.0.0/24", "fd00:2::/120"]})]
    objects += [draw(a_pod(count, families, number)) for number in range(draw(st.integers(2, 5)))]
    named = [d for f in families for d in _CROWD_DESTINATIONS[f]]
    documents = list(made)
    for number in range(draw(st.integers(3, 8))):
        documents.append(draw(_one_of_a_crowd(number, made, families, named)))
    return Scenario(tuple(documents), tuple(objects))


@st.composite
def _crowded_gateway(draw: st.DrawFn, number: int, families: Sequence[int]) -> Json:
    """With four EIPs, of one family or of both."""
    first, last = 64 + POOL_BLOCK * number, 67 + POOL_BLOCK * number
    texts = {4: f"10.0.0.{first}-10.0.0.{last}", 6: f"fd00::{first:x}-fd00::{last:x}"}
    chosen = draw(st.sampled_from([families, families, families[:1], families[-1:]]))
    spec: Json = {"ippools": {f"ipv{family}": [texts[family]] for family in chosen}}
    spec |= {"nodeSelector": {"selector": draw(st.sampled_from(_NEAR_ALL))}, "clusterDefault": number == 0}
    return document("EgressGateway", f"g{number}", spec)


@st.composite
def _one_of_a_crowd(
    draw: st.DrawFn, number: int, made: Sequence[Json], families: tuple[int, ...], named: Sequence[str]
) -> Json:
    cluster: bool = draw(st.booleans())
    applied: Json = {"podSelector": draw(st.sampled_from(_CROWD_SELECTORS))}
    if draw(st.integers(0, 3)) == 0:
        applied = {"podSubnet": draw(_POD_SUBNETS[families])}
    if cluster and draw(st.integers(0, 2)) == 0:
        applied["namespaceSelector"] = draw(st.one_of(st.just({}), NAMESPACE_SELECTORS))
    gateway = draw(st.sampled_from(made))
    spec: Json = {
        "appliedTo": applied,
        "egressGatewayName": gateway["metadata"]["name"],
        "egressIP": draw(_egress_ip(gateway)),
        "priority": draw(st.sampled_from([100, 100, 100, 200])),
    }
    destinations = draw(st.lists(st.sampled_from(named), max_size=2, unique=True))
    if destinations:
        spec["destSubnet"] = destinations
    kind = "EgressClusterPolicy" if cluster else "EgressPolicy"
    namespace = "" if cluster else draw(st.sampled_from(["a", "a", "a", "b"]))
    # The order of the names is not that of the file.
    return document(kind, f"{'zyxwvuts'[number]}{number}", spec, namespace)


@st.composite
def tight_pools(draw: st.DrawFn) -> Scenario:
    """One gateway with few EIPs and more policies, so that some have to share."""
    size = draw(st.integers(1, 4))
    nodes = [draw(a_node(number, (4,), st.just({"gw": "x"}))) for number in range(1, draw(st.integers(1, 3)) + 1)]
    pool = {"ipv4": [f"10.0.0.64-10.0.0.{63 + size}"]}
    selector = {"selector": {"matchLabels": {"gw": "x"}}}
    documents = [document("EgressGateway", "g", {"ippools": pool, "nodeSelector": selector, "clusterDefault": True})]
    choices: list[Json] = [{"allocatorPolicy": "rr"}] * 4
    choices += [{"ipv4": f"10.0.0.{64 + index}"} for index in range(size)]
    for number in range(draw(st.integers(3, 10))):
        spec = {
            "egressIP": draw(st.sampled_from(choices)),
            "appliedTo": {"podSelector": {"matchLabels": {"app": "web"}}},
        }
        documents.append(document("EgressPolicy", f"p{number}", spec, "a"))
    services = cluster_object("ServiceCIDR", "kubernetes", spec={"cidrs": ["10.2.0.0/24"]})
    return Scenario(tuple(documents), (*nodes, services))
