"""Clusters as kubectl prints them, and what must not pass."""

import json
from pathlib import Path
from typing import Any

import pytest

from egress_compiler.diagnostics import Collector
from egress_compiler.load import load_cluster
from egress_compiler.model.cluster import Cluster

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


def test_the_same_object_twice_names_both_places(tmp_path: Path) -> None:
    _, found = load([node("n1"), node("n1")], tmp_path)
    assert [line.partition(": ")[2] for line in found] == ["Node n1 is defined twice [duplicate-object]"]
