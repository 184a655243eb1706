"""Clusters as kubectl prints them, and what must not pass."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from egress_compiler.diagnostics import Collector
from egress_compiler.load import load_cluster
from egress_compiler.model.cluster import Cluster
from egress_compiler.net import format_address

QUICKSTART = Path(__file__).parents[2] / "examples" / "quickstart" / "cluster.json"


def load(items: list[dict[str, Any]], directory: Path) -> tuple[Cluster, list[str]]:
    """The cluster, and each diagnostic as ``line: message [code]``."""
    file = directory / "cluster.json"
    file.write_text(json.dumps({"kind": "List", "items": items}, indent=1))
    found = Collector()
    cluster = load_cluster([file], found)
    return cluster, [f"{d.position.line if d.position else 0}: {d.message} [{d.code}]" for d in found.found]


def node(name: str, **spec: Any) -> dict[str, Any]:
    addresses = [{"type": "InternalIP", "address": "192.0.2.1"}]
    return {"kind": "Node", "metadata": {"name": name}, "spec": spec, "status": {"addresses": addresses}}


HOSTILE = ["../../x", "a\nb", "x; reboot", "", "-a", "UPPER", "a" * 300, "\x1b[31mred", 'a"b', "{{ 7*7 }}", "a\\"]


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("kind", ["Node", "Pod", "Namespace"])
def test_a_name_that_is_no_name_is_an_error(kind: str, name: str, tmp_path: Path) -> None:
    _, found = load([{"kind": kind, "metadata": {"name": name}}], tmp_path)
    assert [line.endswith("[bad-name]") for line in found] == [True]


@pytest.mark.parametrize("content", [b"\xff\xfe{", b'{"kind": "\xff"}', b'{"items": 3', b"[1, 2]", b"", b"\x00"])
def test_junk_is_an_error_or_nothing(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "cluster.json").write_bytes(content)
    found = Collector()
    assert load_cluster([tmp_path / "cluster.json"], found).nodes == ()
    assert found.failed or content == b""


def test_a_wrong_type_is_told_with_its_place(tmp_path: Path) -> None:
    _, found = load([node("n1"), node("n2", podCIDRs="10.1.0.0/24")], tmp_path)
    assert found == ["25: spec.podCIDRs must be a list, not a string [bad-cluster-object]"]


def test_foreign_kinds_are_passed_over_whatever_they_hold(tmp_path: Path) -> None:
    foreign = {"kind": "Widget", "metadata": {"name": "Not A Name"}, "spec": {"cidr": {"deep": 1}}, "data": [1]}
    cluster, found = load([foreign, node("n1")], tmp_path)
    assert [n.name for n in cluster.nodes] == ["n1"]
    assert found == []


def test_only_living_pods_with_addresses_of_their_own_count() -> None:
    found = Collector()
    cluster = load_cluster([QUICKSTART], found)
    assert [pod.name for pod in cluster.pods] == ["mock-app-7c9d5f6b8-x2x7p", "visitor-6764bb48cc-29vq9"]
    assert [pod.name for pod in cluster.host_network_pods] == ["kube-proxy-5lm7q"]
    assert found.found == ()


def pod(name: str, namespace: str = "a", **spec: Any) -> dict[str, Any]:
    status = {"phase": "Running", "podIPs": [{"ip": "10.1.0.9"}]}
    return {"kind": "Pod", "metadata": {"name": name, "namespace": namespace}, "spec": spec, "status": status}


def test_names_of_namespaces_and_nodes_in_other_objects(tmp_path: Path) -> None:
    service = {"kind": "Service", "metadata": {"name": "s", "namespace": "a.b"}, "spec": {"clusterIP": "10.2.0.1"}}
    _, found = load([node("n1"), pod("p", "A"), pod("q", nodeName="n1;reboot"), service], tmp_path)
    assert [line.partition(": ")[2] for line in found] == [
        "'A' is not possible as the namespace of a Pod [bad-name]",
        "'n1;reboot' is not possible as the name of a Node [bad-name]",
        "'a.b' is not possible as the namespace of a Service [bad-name]",
    ]


def test_every_address_of_a_service_counts_inside_or_outside(tmp_path: Path) -> None:
    spec = {"clusterIP": "10.2.0.1", "clusterIPs": ["10.2.0.1", "fd00:2::1"], "externalIPs": ["192.0.2.7"]}
    status = {"loadBalancer": {"ingress": [{"ip": "192.0.2.8"}, {"hostname": "lb.example"}]}}
    service = {"kind": "Service", "metadata": {"name": "s"}, "spec": spec, "status": status}
    old = {"kind": "Service", "metadata": {"name": "old", "namespace": "a"}, "spec": {"clusterIP": "10.2.0.2"}}
    headless = {"kind": "Service", "metadata": {"name": "h", "namespace": "a"}, "spec": {"clusterIP": "None"}}
    with_more = node("n1")
    with_more["status"]["addresses"] += [{"type": "ExternalIP", "address": "192.0.2.9"}]
    with_more["status"]["addresses"] += [{"type": "Hostname", "address": "n1"}, {"type": "ExternalDNS", "address": "n"}]
    cluster, found = load([with_more, service, old, headless], tmp_path)
    assert found == []
    assert {format_address(*a): name for a, name in cluster.service_addresses.items()} == {
        "10.2.0.1": "default/s",
        "10.2.0.2": "a/old",
        "fd00:2::1": "default/s",
    }
    assert {format_address(*a): owner for a, owner in cluster.external_addresses.items()} == {
        "192.0.2.7": "Service default/s",
        "192.0.2.8": "Service default/s",
    }
    assert [format_address(*a) for a in cluster.nodes[0].external_addresses] == ["192.0.2.9"]


def test_a_namespace_has_the_label_with_its_name(tmp_path: Path) -> None:
    bare = {"kind": "Namespace", "metadata": {"name": "a"}}
    labelled = {"kind": "Namespace", "metadata": {"name": "b", "labels": {"team": "x"}}}
    cluster, found = load([node("n1"), bare, labelled], tmp_path)
    assert found == []
    key = "kubernetes.io/metadata.name"
    assert [dict(namespace.labels) for namespace in cluster.namespaces] == [{key: "a"}, {key: "b", "team": "x"}]


def owners(cluster: Cluster) -> dict[str, list[str]]:
    return {format_address(*s.address): [claim.pod.key for claim in s.claims] for s in cluster.shared_addresses}


def test_an_address_that_several_have_is_noted(tmp_path: Path) -> None:
    """Whether it matters is for the policies to say."""
    cluster, found = load([node("n1"), pod("r"), pod("p"), pod("q")], tmp_path)
    assert (found, owners(cluster)) == ([], {"10.1.0.9": ["a/p", "a/q", "a/r"]})


def leaving(made: dict[str, Any]) -> dict[str, Any]:
    return {**made, "metadata": {**made["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}}


def test_a_pod_that_is_going_away_gives_way(tmp_path: Path) -> None:
    both = pod("old")
    both["status"]["podIPs"].append({"ip": "10.1.0.8"})
    cluster, found = load([node("n1"), leaving(both), pod("new")], tmp_path)
    assert (found, owners(cluster)) == ([], {})
    known = {p.name: [format_address(*a) for a in p.addresses] for p in cluster.pods}
    assert known == {"new": ["10.1.0.9"], "old": ["10.1.0.8"]}
    cluster, _ = load([node("n1"), leaving(pod("old")), pod("new")], tmp_path)
    assert [p.name for p in cluster.pods] == ["new"]
    cluster, _ = load([node("n1"), leaving(pod("old"))], tmp_path)
    assert [p.name for p in cluster.pods] == ["old"]
    cluster, _ = load([node("n1"), leaving(pod("old")), leaving(pod("new"))], tmp_path)
    assert (owners(cluster), [p.name for p in cluster.pods]) == ({}, ["new"])
    cluster, _ = load([node("n1"), leaving(pod("old")), pod("p"), pod("q")], tmp_path)
    assert owners(cluster) == {"10.1.0.9": ["a/p", "a/q"]}


@pytest.mark.parametrize("gone", ["phase", "node"])
def test_a_pod_whose_node_is_gone_gives_way(gone: str, tmp_path: Path) -> None:
    old = pod("old", nodeName="n1" if gone == "phase" else "n2")
    old["status"]["phase"] = "Unknown" if gone == "phase" else "Running"
    cluster, found = load([node("n1"), old, pod("p", nodeName="n1")], tmp_path)
    assert (found, owners(cluster), [p.name for p in cluster.pods]) == ([], {}, ["p"])
    cluster, _ = load([node("n1"), old], tmp_path)
    assert [p.name for p in cluster.pods] == ["old"]


def test_addresses_that_no_policy_uses_are_a_warning_at_most(tmp_path: Path) -> None:
    service = {"kind": "Service", "metadata": {"name": "s"}, "spec": {"externalIPs": ["10.2.0.300", "lb.example"]}}
    odd = pod("p")
    odd["status"]["podIPs"].append({"ip": "10.1.0.300"})
    (tmp_path / "cluster.json").write_text(json.dumps({"kind": "List", "items": [node("n1"), service, odd]}))
    found = Collector()
    cluster = load_cluster([tmp_path / "cluster.json"], found)
    assert [(d.code, d.severity) for d in found.found] == [("bad-address", "warning")] * 2
    assert [(b.claim.pod.key, b.claim.path) for b in cluster.bad_addresses] == [("a/p", ("status", "podIPs", 1, "ip"))]
    assert [p.key for p in cluster.pods] == ["a/p"]


@pytest.mark.parametrize("kind", ["Endpoints", "ConfigMap"])
def test_an_odd_object_that_only_helps_is_a_warning(kind: str, tmp_path: Path) -> None:
    odd = {"kind": kind, "metadata": {"name": "x"}, "data": [1], "subsets": 1}
    (tmp_path / "cluster.json").write_text(json.dumps({"kind": "List", "items": [node("n1"), odd]}))
    found = Collector()
    assert len(load_cluster([tmp_path / "cluster.json"], found).nodes) == 1
    assert [(d.code, d.severity) for d in found.found] == [("bad-cluster-object", "warning")]


def test_lists_in_lists_yaml_and_json_one_after_the_other_mean_the_same(tmp_path: Path) -> None:
    items = [node("n1"), pod("p", nodeName="n1")]
    without_kind = {key: value for key, value in items[0].items() if key != "kind"}
    forms = {
        "list.json": json.dumps({"kind": "List", "items": items}),
        "typed.json": json.dumps({"kind": "NodeList", "apiVersion": "v1", "items": [without_kind]})
        + "\n"
        + json.dumps(items[1], indent=2),
        "nested.yaml": yaml.safe_dump({"kind": "List", "items": [{"kind": "List", "items": items}]}),
        "documents.yaml": yaml.safe_dump_all(items),
        "bom.json": "\ufeff" + json.dumps({"kind": "List", "items": items}),
        "windows.yaml": yaml.safe_dump_all(items).replace("\n", "\r\n"),
    }
    clusters = []
    for name, text in forms.items():
        (tmp_path / name).write_bytes(text.encode())
        found = Collector()
        clusters.append(load_cluster([tmp_path / name], found))
        assert (name, found.found) == (name, ())
    assert all(cluster == clusters[0] for cluster in clusters)
    assert len(clusters[0].nodes) == len(clusters[0].pods) == 1


def test_the_same_object_twice_names_both_places(tmp_path: Path) -> None:
    _, found = load([node("n1"), node("n1")], tmp_path)
    assert [line.partition(": ")[2] for line in found] == ["Node n1 is defined twice [duplicate-object]"]
