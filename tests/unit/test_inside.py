"""What counts as inside the cluster, from whichever source knows it; and what is said when none does."""

import json
from pathlib import Path
from typing import Any

import pytest

from egress_compiler.diagnostics import Collector, Diagnostic
from egress_compiler.inside import SPECIAL, cluster_inside
from egress_compiler.load import load_cluster
from egress_compiler.model.policy import ClusterInfo
from egress_compiler.model.settings import Settings
from egress_compiler.net import FAMILIES, format_interval, intersect, parse_span, subtract, union
from tests.properties.strategies import Json, cluster_object

NODE_ADDRESSES = ["192.0.2.1", "2001:db8::1"]
TUNNELS = ["172.31.0.0/16", "fd11::/112"]


def node(*pod_cidrs: str) -> Json:
    addresses = [{"type": "InternalIP", "address": text} for text in NODE_ADDRESSES]
    return cluster_object("Node", "n1", spec={"podCIDRs": list(pod_cidrs)}, status={"addresses": addresses})


def service_cidr(*texts: str) -> Json:
    return cluster_object("ServiceCIDR", "kubernetes", spec={"cidrs": list(texts)})


def kubeadm(networking: str) -> Json:
    made = cluster_object("ConfigMap", "kubeadm-config", "kube-system")
    return made | {"data": {"ClusterConfiguration": f"apiServer: {{}}\nnetworking:\n{networking}"}}


def control_plane(
    name: str, command: list[str], args: list[str] | None = None, env: dict[str, str | None] | None = None
) -> Json:
    container: dict[str, Any] = {"name": name, "command": command}
    if env is not None:
        literal = [{"name": key, "value": value} for key, value in env.items() if value is not None]
        container["env"] = [*literal, *({"name": k, "valueFrom": {}} for k, v in env.items() if v is None)]
    if args is not None:
        container["args"] = args
    spec = {"hostNetwork": True, "nodeName": "n1", "containers": [container]}
    return cluster_object("Pod", f"{name}-n1", "kube-system", spec=spec, status={"phase": "Running"})


def ip_pool(cidr: str, **spec: Any) -> Json:
    made = cluster_object("IPPool", f"pool-{cidr.replace('/', '-').replace(':', '-')}x", spec={"cidr": cidr, **spec})
    return made | {"apiVersion": "crd.projectcalico.org/v1"}


def kube_ovn(cidr: str, **spec: str) -> Json:
    made = cluster_object("Subnet", "ovn-default", spec={"cidrBlock": cidr, **spec})
    return made | {"apiVersion": "kubeovn.io/v1"}


SERVICES, PODS = "--service-cluster-ip-range", "--cluster-cidr"
API_SERVER = control_plane("kube-apiserver", ["kube-apiserver", "--service-cluster-ip-range=10.97.0.0/16", "--v=2"])
MANAGER = ["--service-cluster-ip-range", "10.98.0.0/16", "--cluster-cidr=10.8.0.0/16,fd08::/48"]
CONTROLLER_MANAGER = control_plane("kube-controller-manager", ["kube-controller-manager"], MANAGER)
SHELL = control_plane("k3s", ["/bin/sh", "-c", 'exec k3s --service-cluster-ip-range="10.99.0.0/16" --x'])
DUAL_API_SERVER = control_plane("kube-apiserver", ["kube-apiserver", f"{SERVICES}=10.97.0.0/16,fd00:97::/112"])
KUBEADM = kubeadm("  serviceSubnet: 10.96.0.0/12, fd00:96::/112\n  podSubnet: 10.9.0.0/16\n")


def inside(
    directory: Path, items: list[Json], info: ClusterInfo | None = None, settings: Settings | None = None
) -> tuple[list[str], tuple[Diagnostic, ...]]:
    """What is inside but for what always is, in the shortest spelling; and what was said."""
    info, settings = info or ClusterInfo(), settings or Settings()
    (directory / "cluster.json").write_text(json.dumps({"kind": "List", "items": items}), encoding="utf-8")
    found = Collector()
    cluster = load_cluster([directory / "cluster.json"], found)
    whole = cluster_inside(info, cluster, settings, found).everything
    texts = []
    for family in FAMILIES:
        always = union(parse_span(t).interval for t in (*SPECIAL, *TUNNELS) if parse_span(t).family == family)
        assert union([*whole[family], *always]) == whole[family]
        texts += [format_interval(family, interval) for interval in subtract(whole[family], always)]
    return sorted(set(texts) - set(NODE_ADDRESSES)), found.found


@pytest.mark.parametrize(
    ("items", "services"),
    [
        ([service_cidr("10.95.0.0/16", "fd00:95::/112"), KUBEADM, API_SERVER], ["10.95.0.0/16", "fd00:95::/112"]),
        ([service_cidr("10.95.0.0/16"), service_cidr("10.94.0.0/16")], ["10.94.0.0/15"]),
        ([KUBEADM, API_SERVER, CONTROLLER_MANAGER], ["10.96.0.0/12", "fd00:96::/112"]),
        ([API_SERVER], ["10.97.0.0/16"]),
        ([CONTROLLER_MANAGER], ["10.98.0.0/16"]),
        ([SHELL], ["10.99.0.0/16"]),
        # Both are believed where they differ: too much inside is harmless against too little.
        ([API_SERVER, CONTROLLER_MANAGER], ["10.97.0.0-10.98.255.255"]),
        # A record without Services is no record of them; one without IPv6 tells nothing of it.
        ([kubeadm("  podSubnet: 10.9.0.0/16\n"), API_SERVER], ["10.97.0.0/16"]),
        ([kubeadm("  serviceSubnet: 10.96.0.0/12\n"), DUAL_API_SERVER], ["10.96.0.0/12", "fd00:97::/112"]),
    ],
)
def test_service_cidrs_come_from_the_first_source_that_has_them(
    items: list[Json], services: list[str], tmp_path: Path
) -> None:
    """Apart from what the same objects say of pods."""
    info = ClusterInfo(pod_cidr_mode="calico")
    every = [ip_pool("10.7.0.0/16"), node(), *items]
    texts, found = inside(tmp_path, every, info)
    assert (texts, found) == (sorted([*services, "10.7.0.0/16"]), ())
    texts, _ = inside(tmp_path, every[::-1], info)
    assert texts == sorted([*services, "10.7.0.0/16"])


def settings_with(**cidrs: list[str]) -> Settings:
    made = {
        key: {f: union(parse_span(t).interval for t in texts if parse_span(t).family == f) for f in FAMILIES}
        for key, texts in cidrs.items()
    }
    return Settings(**made)  # type: ignore[arg-type]  # only CIDRs are given here


def test_settings_add_to_what_is_detected_and_stand_in_for_it(tmp_path: Path) -> None:
    settings = settings_with(service_cidrs=["10.50.0.0/16"])
    assert inside(tmp_path, [node("10.1.0.0/24")], settings=settings) == (["10.1.0.0/24", "10.50.0.0/16"], ())
    both, _ = inside(tmp_path, [node("10.1.0.0/24"), API_SERVER], settings=settings)
    assert both == ["10.1.0.0/24", "10.50.0.0/16", "10.97.0.0/16"]


def test_services_that_cannot_be_told_are_an_error_that_names_every_way_out(tmp_path: Path) -> None:
    # Pods of other namespaces may say what they like.
    stranger = {**API_SERVER, "metadata": {"name": "kube-apiserver-n1", "namespace": "default"}}
    _, found = inside(tmp_path, [node("10.1.0.0/24"), stranger])
    assert [(d.code, d.severity) for d in found] == [("service-cidr-unknown", "error")]
    for way in ("servicecidrs", "kubeadm-config", "kube-system", "serviceCIDRs"):
        assert way in found[0].hint
    assert inside(tmp_path, [node("10.1.0.0/24")], ClusterInfo(cluster_ip=False)) == (["10.1.0.0/24"], ())


TOUCHING = ["10.7.0.0-10.8.255.255", "fd07::/48", "fd08::/48"]
"""The pools and the flags together."""
POOLS = [ip_pool("10.7.0.0/16"), ip_pool("fd07::/48", disabled=True)]
NODES, CALICO, FLAGS = ["10.1.0.0/24"], ["10.7.0.0/16", "fd07::/48"], ["10.8.0.0/16", "fd08::/48"]


@pytest.mark.parametrize(
    ("mode", "of_nodes", "pools", "manager", "expected"),
    [
        ("k8s", True, True, True, NODES + FLAGS),
        ("k8s", True, True, False, NODES),
        ("k8s", False, True, True, FLAGS),
        ("k8s", False, True, False, None),
        ("calico", True, True, True, CALICO),
        ("calico", True, False, True, None),
        ("auto", True, False, True, NODES + FLAGS),
        ("auto", True, True, True, NODES + TOUCHING),
        ("auto", False, True, True, TOUCHING),
        ("auto", False, False, True, FLAGS),
        ("auto", False, False, False, None),
    ],
)
def test_pod_cidrs_by_mode(
    mode: Any, of_nodes: bool, pools: bool, manager: bool, expected: list[str] | None, tmp_path: Path
) -> None:
    items = [node(*(NODES if of_nodes else [])), service_cidr("10.95.0.0/16"), *(POOLS if pools else [])]
    items += [CONTROLLER_MANAGER] if manager else []
    texts, found = inside(tmp_path, items, ClusterInfo(pod_cidr_mode=mode))
    if expected is None:
        assert [(d.code, d.severity) for d in found] == [("pod-cidr-unknown", "error")]
        assert "podCIDRs in the settings" in found[0].hint
        settings = settings_with(pod_cidrs=["10.60.0.0/16"])
        texts, found = inside(tmp_path, items, ClusterInfo(pod_cidr_mode=mode), settings)
        assert "10.60.0.0/16" in texts
        assert found == ()
    else:
        assert (texts, found) == (sorted([*expected, "10.95.0.0/16"]), ())


def test_a_pool_for_load_balancers_holds_no_pods(tmp_path: Path) -> None:
    pools = [ip_pool("10.7.0.0/16", allowedUses=["LoadBalancer"]), ip_pool("10.6.0.0/16", allowedUses=["Workload"])]
    texts, _ = inside(tmp_path, [node(), service_cidr("10.95.0.0/16"), *pools])
    assert texts == ["10.6.0.0/16", "10.95.0.0/16"]


def test_nodes_are_inside_unless_that_is_turned_off(tmp_path: Path) -> None:
    items = [node("10.1.0.0/24"), service_cidr("10.95.0.0/16")]
    (tmp_path / "cluster.json").write_text(json.dumps({"kind": "List", "items": items}), encoding="utf-8")
    cluster = load_cluster([tmp_path / "cluster.json"], Collector())
    for wanted in (True, False):
        whole = cluster_inside(ClusterInfo(node_ip=wanted), cluster, Settings(), Collector()).everything
        for text in NODE_ADDRESSES:
            address = parse_span(text)
            assert bool(intersect(whole[address.family], (address.interval,))) == wanted


@pytest.mark.parametrize("wanted", [True, False])
def test_external_addresses_of_nodes_are_inside_like_the_others(wanted: bool, tmp_path: Path) -> None:
    outer = ["198.51.100.9", "2001:db8:9::9"]
    public = node("10.1.0.0/24")
    public["status"]["addresses"] += [{"type": "ExternalIP", "address": text} for text in outer]
    public["status"]["addresses"].append({"type": "Hostname", "address": "n1"})
    items = [public, service_cidr("10.95.0.0/16")]
    texts, _ = inside(tmp_path, items, ClusterInfo(node_ip=wanted))
    assert set(texts) == {"10.1.0.0/24", "10.95.0.0/16", *(outer if wanted else [])}


SEEN = [
    cluster_object("Pod", "p", "a", spec={"nodeName": "n1"}, status={"phase": "Running", "podIP": "10.66.0.1"}),
    cluster_object("Service", "s", "a", spec={"clusterIP": "10.77.0.1", "clusterIPs": ["10.77.0.1"]}),
    cluster_object("Service", "h", "a", spec={"clusterIP": "None", "clusterIPs": ["None"]}),
]


def test_what_is_seen_outside_of_all_cidrs_counts_by_itself_and_is_told(tmp_path: Path) -> None:
    items = [node("10.1.0.0/24"), service_cidr("10.95.0.0/16"), *SEEN]
    texts, found = inside(tmp_path, items)
    assert texts == ["10.1.0.0/24", "10.66.0.1", "10.77.0.1", "10.95.0.0/16"]
    assert [d.code for d in found] == ["pod-outside", "service-outside"]
    assert "1 pod (a/p)" in found[0].message
    assert "1 Service (a/s)" in found[1].message
    assert "podCIDRs in the settings" in found[0].hint
    extra = {4: union([parse_span("10.66.0.0/16").interval, parse_span("10.77.0.0/16").interval]), 6: ()}
    assert inside(tmp_path, items, ClusterInfo(extra=extra))[1] == ()  # type: ignore[arg-type]  # literals


def test_with_all_detection_off_everything_that_would_be_steered_is_told(tmp_path: Path) -> None:
    off = ClusterInfo(node_ip=False, cluster_ip=False, pod_cidr_mode="")
    slice_ = cluster_object("EndpointSlice", "kubernetes", "default", {"kubernetes.io/service-name": "kubernetes"})
    slice_ |= {"apiVersion": "discovery.k8s.io/v1", "endpoints": [{"addresses": ["10.7.0.5"]}]}
    texts, found = inside(tmp_path, [node("10.1.0.0/24"), service_cidr("10.95.0.0/16"), slice_, *SEEN], off)
    assert texts == []
    assert [(d.code, d.message.partition(" have")[0].partition(" has")[0]) for d in found] == [
        ("pod-outside", "1 pod (a/p)"),
        ("pod-outside", "1 pod CIDR (10.1.0.0/24)"),
        ("service-outside", "1 Service (a/s)"),
        ("service-outside", "1 Service CIDR (10.95.0.0/16)"),
        ("node-outside", "1 node (n1)"),
        ("node-outside", "1 API server (10.7.0.5, an endpoint of Service default/kubernetes)"),
    ]
    every = ["10.1.0.0/24", "10.66.0.0/16", "10.77.0.0/16", "10.95.0.0/16", "10.7.0.5", "192.0.2.1"]
    extra = {4: union(parse_span(t).interval for t in every), 6: (parse_span("2001:db8::1").interval,)}
    off = ClusterInfo(node_ip=False, cluster_ip=False, pod_cidr_mode="", extra=extra)  # type: ignore[arg-type]  # literals
    assert inside(tmp_path, [node("10.1.0.0/24"), service_cidr("10.95.0.0/16"), slice_, *SEEN], off)[1] == ()


def endpoints(kind: str) -> Json:
    if kind == "Endpoints":
        made = cluster_object("Endpoints", "kubernetes", "default")
        return made | {"subsets": [{"addresses": [{"ip": "10.7.0.5"}], "notReadyAddresses": [{"ip": "10.7.0.6"}]}]}
    made = cluster_object("EndpointSlice", "kubernetes-x", "default", {"kubernetes.io/service-name": "kubernetes"})
    two = [{"addresses": ["10.7.0.5"]}, {"addresses": ["10.7.0.6"], "conditions": {"ready": False}}]
    return made | {"apiVersion": "discovery.k8s.io/v1", "endpoints": two}


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([endpoints("Endpoints")], ["10.7.0.5-10.7.0.6"]),
        ([endpoints("EndpointSlice")], ["10.7.0.5-10.7.0.6"]),
        ([endpoints("EndpointSlice") | {"metadata": {"name": "x", "namespace": "default"}}], []),
        ([endpoints("Endpoints") | {"metadata": {"name": "kubernetes", "namespace": "a"}}], []),
        ([kubeadm("  x: y\ncontrolPlaneEndpoint: 10.6.1.100:6443\n")], ["10.6.1.100"]),
        ([kubeadm('  x: y\ncontrolPlaneEndpoint: "[fd00:6::100]:6443"\n')], ["fd00:6::100"]),
        ([kubeadm("  x: y\ncontrolPlaneEndpoint: api.example.org:6443\n")], []),
        ([control_plane("kube-apiserver", ["kube-apiserver", "--advertise-address=10.6.1.101"])], ["10.6.1.101"]),
        ([control_plane("kube-vip", ["manager"], env={"address": "10.6.1.102", "port": "6443"})], ["10.6.1.102"]),
        ([control_plane("other", ["manager"], env={"address": "10.6.1.102"})], []),
    ],
)
def test_what_api_servers_are_reached_at_is_inside(items: list[Json], expected: list[str], tmp_path: Path) -> None:
    texts, found = inside(tmp_path, [node("10.1.0.0/24"), service_cidr("10.95.0.0/16"), *items])
    assert (texts, found) == (sorted(["10.1.0.0/24", "10.95.0.0/16", *expected]), ())


def cilium(namespace: str = "kube-system", **data: str) -> Json:
    return cluster_object("ConfigMap", "cilium-config", namespace) | {"data": data}


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        (
            [cilium(ipam="cluster-pool", **{"cluster-pool-ipv4-cidr": "10.3.0.0/16 10.4.0.0/16"})],
            ["10.3.0.0-10.4.255.255"],
        ),
        ([cilium(ipam="kubernetes", **{"cluster-pool-ipv4-cidr": "10.3.0.0/16"})], []),
        ([cilium(**{"cluster-pool-ipv6-cidr": "fd03::/104"})], ["fd03::/104"]),
        ([cilium("cilium", **{"cluster-pool-ipv4-cidr": "10.3.0.0/16"})], ["10.3.0.0/16"]),
        # A tenant's of that name tells nothing, nor does what would leave no outside.
        ([cilium("shop", **{"cluster-pool-ipv4-cidr": "10.3.0.0/16"})], []),
        ([cilium(**{"cluster-pool-ipv4-cidr": "0.0.0.0/0", "cluster-pool-ipv6-cidr": "fd03::/104"})], ["fd03::/104"]),
        (
            [
                cluster_object("CiliumNode", "n1", spec={"ipam": {"podCIDRs": ["10.3.1.0/24"]}})
                | {"apiVersion": "cilium.io/v2"}
            ],
            ["10.3.1.0/24"],
        ),
        ([kube_ovn("10.16.0.0/16,fd16::/112")], ["10.16.0.0/16", "fd16::/112"]),
        ([kube_ovn("10.16.0.0/16", vpc="ovn-cluster")], ["10.16.0.0/16"]),
        ([kube_ovn("10.16.0.0/16", vpc="mine")], []),
        ([kube_ovn("10.16.0.0/16", vlan="vlan1")], []),
    ],
)
def test_what_the_network_plugin_says_of_pods_counts(items: list[Json], expected: list[str], tmp_path: Path) -> None:
    texts, found = inside(tmp_path, [node("10.1.0.0/24"), service_cidr("10.95.0.0/16"), *items])
    assert (texts, found) == (sorted(["10.1.0.0/24", "10.95.0.0/16", *expected]), ())
    assert inside(
        tmp_path, [node("10.1.0.0/24"), service_cidr("10.95.0.0/16"), *items], ClusterInfo(pod_cidr_mode="calico")
    )[1]


FOREIGN = ["/bin/agent"]


@pytest.mark.parametrize(
    ("words", "env", "expected"),
    [
        (["kube-proxy", f"{PODS}=10.8.0.0/16"], {}, "10.8.0.0/16"),
        (["kube-proxy", PODS, "10.8.0.0/16"], {}, "10.8.0.0/16"),
        (["kube-proxy", f"{PODS}=", "10.8.0.0/16"], {}, None),
        (["kube-proxy", f"{PODS}=", "--leader-elect=false"], {}, None),
        (["kube-proxy", PODS, "--leader-elect=false"], {}, None),
        (["kube-proxy", PODS], {}, None),
        (["kube-proxy", f"{PODS}=$(CIDR)"], {"CIDR": "10.8.0.0/16"}, "10.8.0.0/16"),
        (["kube-proxy", f"{PODS}=$(CIDR)"], {"NET": "10.8", "CIDR": "$(NET).0.0/16"}, "10.8.0.0/16"),
        (["kube-proxy", f"{PODS}=$(CIDR)"], {}, None),
        (["kube-proxy", f"{PODS}=$(CIDR)"], {"CIDR": None}, None),
        (["kube-proxy", f"{PODS}=10.8.0.0/16,$(SIX)"], {}, None),
        (["kube-proxy", f"{PODS}=junk"], {}, None),
        (["kube-proxy", f"{PODS}=10.8.0.0"], {}, None),
        (["kube-proxy", f"--x{PODS}=10.8.0.0/16"], {}, None),
        (["sh", "-c", f"exec kube-proxy {PODS} 10.8.0.0/16 >/log"], {}, "10.8.0.0/16"),
        (["sh", "-c", f"exec kube-proxy {PODS}=$CIDR"], {"CIDR": "10.8.0.0/16"}, None),
        (["kube-proxy", f"{PODS}=0.0.0.0/0"], {}, None),
        (["kube-proxy", f"{PODS}=10.8.0.0/16,fc00::/6"], {}, None),
        (["kube-proxy", f"{PODS}=11.0.0.0/8"], {}, "11.0.0.0/8"),
        ([*FOREIGN, f"{PODS}=10.8.0.0/16"], {}, None),
    ],
)
def test_a_flag_is_read_in_its_own_argument_or_not_at_all(
    words: list[str], env: dict[str, str | None], expected: str | None, tmp_path: Path
) -> None:
    """What cannot be read is no claim and no error, where others tell; else it is named beside the error."""
    pod = control_plane("x", words, env=env)
    texts, found = inside(tmp_path, [node("10.1.0.0/24"), service_cidr("10.95.0.0/16"), pod])
    told = [expected] if expected else []
    assert (texts, found) == (sorted(["10.1.0.0/24", "10.95.0.0/16", *told]), ())
    _, found = inside(tmp_path, [node(), service_cidr("10.95.0.0/16"), pod])
    assert [d.code for d in found] == ([] if expected else ["pod-cidr-unknown"])
    if found and words[0] != FOREIGN[0] and PODS in [word.partition("=")[0] for word in words]:
        assert found[0].related[0].message.startswith(PODS)


RANGE = f"{PODS}=10.8.0.0/16"


@pytest.mark.parametrize(
    ("name", "command", "args", "believed"),
    [
        ("kube-proxy", [], [RANGE], True),
        ("x", ["/usr/local/bin/kube-proxy"], [RANGE], True),
        ("x", ["sh", "-c", f"x; exec '/usr/bin/k3s' {RANGE}"], [], True),
        ("x", ["sh", "-c"], [f"exec kube-proxy {RANGE}"], True),
        ("x", ["/go-runner"], ["--also-stdout", "/usr/local/bin/kube-proxy", RANGE], True),
        ("kube-proxy-exporter", [], [RANGE], False),
        ("kube-proxy", ["/bin/agent"], [RANGE], False),
        ("x", ["/bin/agent", "--of=kube-proxy"], [RANGE], False),
        ("x", ["/bin/agent", "/kube-proxy/config"], [RANGE], False),
    ],
)
def test_a_command_says_what_runs_and_a_name_only_without_one(
    name: str, command: list[str], args: list[str], believed: bool, tmp_path: Path
) -> None:
    texts, _ = inside(tmp_path, [node("10.1.0.0/24"), service_cidr("10.95.0.0/16"), control_plane(name, command, args)])
    assert ("10.8.0.0/16" in texts) == believed


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (service_cidr("10.95.0.0"), "'10.95.0.0' has no prefix length"),
        (service_cidr("10.95.0.0/16-10.96.0.0/16"), "has no prefix length"),
        (ip_pool("10.7.0.0"), "'10.7.0.0' has no prefix length"),
    ],
)
def test_a_cidr_that_is_none_is_left_out_with_a_warning_at_its_place(item: Json, message: str, tmp_path: Path) -> None:
    """Read as one address, it would leave a hole as large as the network."""
    _, found = inside(tmp_path, [node("10.1.0.0/24"), item])
    wrong = next(d for d in found if d.code == "bad-address")
    assert message in wrong.message
    assert wrong.severity == "warning"
    assert wrong.position is not None
