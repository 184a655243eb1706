"""What is not asked for is not made: plans and files of nodes."""

from pathlib import Path

import pytest

from egress_compiler.contract.plan import NodePlan
from egress_compiler.diagnostics import Collector
from egress_compiler.explain import explain_address, explain_pod
from egress_compiler.lower import Lowering
from egress_compiler.net import parse_address
from egress_compiler.pipeline import Analysis, Inputs, analyse, compile_bundle
from egress_compiler.status import policy_rows, status_list
from egress_compiler.validate.objects import specs

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture
def inputs(tmp_path: Path) -> Inputs:
    lock = tmp_path / "egress.lock.json"
    return Inputs((GOLDEN / "explain" / "policies.yaml",), (GOLDEN / "plan" / "cluster.yaml",), lock=lock)


@pytest.fixture
def lowered(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The nodes that a plan was made for."""
    names: list[str] = []
    plan = Lowering.plan

    def recorded(self: Lowering, name: str) -> NodePlan:
        names.append(name)
        return plan(self, name)

    monkeypatch.setattr(Lowering, "plan", recorded)
    return names


def gateway_nodes(analysis: Analysis) -> set[str]:
    return {node.name for gateway in analysis.resolved.gateways.values() for node in gateway.nodes}


def test_status_makes_no_plan(inputs: Inputs, lowered: list[str]) -> None:
    analysis = analyse(inputs)
    assert policy_rows(analysis.resolved, analysis.allocation)
    assert status_list(analysis.resolved, analysis.allocation, specs(analysis.documents), ("EgressPolicy",))["items"]
    assert lowered == []


def test_explain_makes_the_plans_of_the_pods_node_and_of_its_gateways_once(inputs: Inputs, lowered: list[str]) -> None:
    analysis = analyse(inputs)
    pod = next(pod for pod in analysis.resolved.cluster.pods if pod.key == "pay/api-1")
    assert explain_pod(analysis, pod.key, None, Collector())
    assert explain_pod(analysis, pod.key, parse_address("203.0.113.7"), Collector())
    assert pod.node in lowered
    assert set(lowered) <= {pod.node, *gateway_nodes(analysis)} < set(analysis.nodes.names)
    assert len(lowered) == len(set(lowered))


def test_explain_of_an_eip_makes_the_plans_of_gateways(inputs: Inputs, lowered: list[str]) -> None:
    analysis = analyse(inputs)
    assert explain_address(analysis, parse_address("10.6.1.64"))
    assert set(lowered) == gateway_nodes(analysis)


def test_a_node_alone_gets_what_it_gets_among_all(inputs: Inputs) -> None:
    compilation, analysis = compile_bundle(inputs), analyse(inputs)
    for node in reversed(analysis.nodes.names):
        assert analysis.nodes.plan(node) == next(plan for plan in compilation.plans if plan.node == node)
        for name, text in analysis.nodes.files(node).items():
            assert text == compilation.files[f"nodes/{node}/{name}"]
