"""unknownPods: what is refused on which node."""

import json
from collections.abc import Sequence
from pathlib import Path

from egress_compiler.contract import routing
from egress_compiler.contract.membership import REFUSED as CHAIN
from egress_compiler.contract.plan import NodePlan
from egress_compiler.pipeline import Inputs, compile_bundle
from tests.properties.strategies import Json
from tests.unit.test_plan_connections import GATEWAY, NODES, OTHERS, pod, policy

PODS = [pod("web", "web", "worker", "10.244.3.10"), pod("free", "none", "worker", "10.244.3.20")]


def plans(directory: Path, settings: str, *policies: Json, more: Sequence[Json] = ()) -> dict[str, NodePlan]:
    items = {"kind": "List", "items": [*NODES, *PODS, *OTHERS, *more]}
    (directory / "policies.yaml").write_text("\n---\n".join(json.dumps(p) for p in (GATEWAY, *policies)))
    (directory / "cluster.json").write_text(json.dumps(items))
    (directory / "settings.yaml").write_text(settings)
    inputs = Inputs((directory / "policies.yaml",), (directory / "cluster.json",), settings=directory / "settings.yaml")
    return {plan.node: plan for plan in compile_bundle(inputs).plans}


def refused(plan: NodePlan) -> list[str]:
    return [s.source for s in plan.worker.subnets.ipv4 if s.chain == CHAIN]


def test_a_nodes_podcidr_is_refused_on_that_node_but_for_the_pods_that_are_known(tmp_path: Path) -> None:
    made = plans(tmp_path, "unknownPods: {blockedNodes: [worker]}", policy("web", "10.6.1.61"))
    assert refused(made["worker"]) == [
        "10.244.3.0-10.244.3.9",
        "10.244.3.11-10.244.3.19",
        "10.244.3.21-10.244.3.255",
    ]
    assert refused(made["gw1"]) == []
    refusing = [rule.source for rule in routing.last_rules(made["worker"]) if rule.table is not None]
    assert refusing == ["10.244.3.10"], "the last resort is for governed pods"


def test_a_cidr_is_refused_on_every_node_but_what_a_podsubnet_governs(tmp_path: Path) -> None:
    subnet = policy("rest", "10.6.1.62")
    subnet["kind"], subnet["metadata"] = "EgressClusterPolicy", {"name": "rest"}
    subnet["spec"]["appliedTo"] = {"podSubnet": ["10.244.3.128/25"]}
    made = plans(tmp_path, "unknownPods: {blockedCIDRs: [10.244.3.0/24]}", subnet)
    assert refused(made["gw1"]) == ["10.244.3.0/25"]
    assert refused(made["worker"]) == ["10.244.3.0-10.244.3.9", "10.244.3.11-10.244.3.19", "10.244.3.21-10.244.3.127"]


def test_a_new_pod_elsewhere_changes_nothing_here(tmp_path: Path) -> None:
    settings = "unknownPods: {blockedCIDRs: [10.244.0.0/16]}"
    before = plans(tmp_path, settings, policy("web", "10.6.1.61"))
    after = plans(tmp_path, settings, policy("web", "10.6.1.61"), more=[pod("new", "none", "gw2", "10.244.2.9")])
    assert before["worker"] == after["worker"]
    assert before["gw2"] != after["gw2"]
