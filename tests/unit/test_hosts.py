"""Hosts' addresses within podSubnets: no policy governs them, and everybody says so."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from egress_compiler.decide import decide
from egress_compiler.diagnostics import Collector
from egress_compiler.explain import as_text, explain_pod
from egress_compiler.net import parse_address
from egress_compiler.pipeline import Compilation, Inputs, compile_bundle
from egress_compiler.plan import between
from tests.properties.strategies import Json, document
from tests.unit.test_plan_connections import GATEWAY, NODES, OTHERS, PODS, node

EVERYTHING = document(
    "EgressClusterPolicy",
    "everything",
    {"egressIP": {"ipv4": "10.6.1.61"}, "appliedTo": {"podSubnet": ["10.0.0.0/8", "172.31.0.0/24"]}},
)
FAR = parse_address("198.51.100.7")


def compiled(directory: Path, items: Sequence[Json] = (), *policies: Json) -> Compilation:
    (directory / "policies.yaml").write_text("\n---\n".join(json.dumps(p) for p in (GATEWAY, EVERYTHING, *policies)))
    (directory / "cluster.json").write_text(json.dumps({"kind": "List", "items": [*NODES, *PODS, *OTHERS, *items]}))
    return compile_bundle(Inputs((directory / "policies.yaml",), (directory / "cluster.json",)))


@pytest.mark.parametrize(
    ("source", "outcome", "what"),
    [
        ("10.6.1.21", "direct", "an address of node worker"),
        ("203.0.113.9", "direct", ""),
        ("10.6.1.61", "direct", "an egress IP of EgressGateway internet"),
        ("172.31.0.3", "direct", "a tunnel address"),
        ("10.6.1.99", "eip", ""),
        ("10.244.3.10", "eip", ""),
        ("10.96.0.1", "eip", ""),
    ],
)
def test_what_decides_explains_and_steers(source: str, outcome: str, what: str, tmp_path: Path) -> None:
    compilation = compiled(tmp_path)
    address = parse_address(source)
    assert decide(compilation.classified, compilation.allocation, address, FAR).outcome == outcome
    explanation = explain_pod(compilation, source, FAR, Collector())
    assert explanation is not None
    assert (explanation.host, [path.outcome for path in explanation.paths]) == (what, [] if what else [outcome])
    if what:
        assert as_text(explanation).splitlines() == [
            f"{what} ({source}), to 198.51.100.7",
            f"  it is {what}, and no policy applies to what a host sends, whichever podSubnet covers it",
        ]


def test_a_node_that_joins_within_a_podsubnet_changes_nothing_for_pods(tmp_path: Path) -> None:
    before = compiled(tmp_path)
    after = compiled(tmp_path, [node("new", "10.6.1.30", 4)])
    assert between(before, after, "before").sources == ()
    assert between(after, before, "after").sources == ()


def test_a_namespaced_podsubnet_has_pods_alone_and_no_warning(tmp_path: Path) -> None:
    own = document("EgressPolicy", "own", {"appliedTo": {"podSubnet": ["10.0.0.0/8"]}}, "shop")
    found = compiled(tmp_path, (), own).diagnostics
    assert [d.message.split("'")[1] for d in found if d.code == "podsubnet-hosts"] == ["10.0.0.0/8", "172.31.0.0/24"]
    assert not [d for d in found if d.code == "podsubnet-hosts" and "EgressPolicy" in d.message]
