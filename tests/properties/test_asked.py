"""What is compiled for one question answers it as a whole compilation does."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egress_compiler.asked import Asked, namespaces_asked
from egress_compiler.diagnostics import Collector, Diagnostic, InvalidInput, Severity, as_text
from egress_compiler.explain import as_json, explain_pod
from egress_compiler.explain import as_text as explained
from egress_compiler.net import Address
from egress_compiler.pipeline import Analysis, Inputs, analyse
from egress_compiler.status import policy_rows, status_list, wide_rows
from egress_compiler.validate.objects import object_ref, specs
from tests.properties.compiled import written
from tests.properties.search import examples
from tests.properties.strategies import Json, Scenario, crowds, odd_scenarios, scenarios
from tests.properties.test_found import NAMESPACE, SERVICES, gateway, node, pod, policy

STRANGERS = ("10.1.0.14", "10.9.9.9", "fd00:1::e", "a/nobody")
"""An address in a node's pod CIDR and others that no pod has, and a name that none has."""
OF_SELECTIONS = frozenset(
    {"selects-nothing", "unknown-namespace", "host-network-pod", "pod-on-other-node", "shadowed", "equal-priority"}
)
OF_ALL_TOGETHER = frozenset({"pod-on-unknown-node", "family-blocked", "accept-unused"})
TO = Address(4, 0xCB007107)  # 203.0.113.7


@st.composite
def doubled(draw: st.DrawFn) -> Scenario:
    """Sometimes a pod has the address of another pod or of a node, as in a snapshot that took too long."""
    scenario = draw(st.one_of(scenarios(), crowds(), odd_scenarios()))
    pods = [item for item in scenario.of_kind("Pod") if item.get("status", {}).get("podIPs")]
    others = [e["address"] for item in scenario.of_kind("Node") for e in item["status"].get("addresses") or ()]
    others += [entry["ip"] for item in pods for entry in item["status"]["podIPs"]] + ["10.77.0.1"]
    if not pods or draw(st.integers(0, 2)):
        return scenario
    first, address = draw(st.sampled_from(pods)), draw(st.sampled_from(others))
    second = copy.deepcopy(first)
    second["status"] = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}
    return scenario.without(first).plus(second)


def errors(diagnostics: Sequence[Diagnostic]) -> list[str]:
    return [as_text(diagnostic) for diagnostic in diagnostics if diagnostic.severity is Severity.ERROR]


def attempted(inputs: Inputs, asked: Asked | None = None) -> Analysis | InvalidInput:
    try:
        return analyse(inputs, asked=asked)
    except InvalidInput as problem:
        return problem


def agrees(inputs: Inputs, asked: Asked, whole: Analysis | InvalidInput) -> Analysis | None:
    """The analysis for the question, whose diagnostics are those of the whole, but for what may be left out."""
    narrow = attempted(inputs, asked)
    assert errors(narrow.diagnostics) == errors(whole.diagnostics)
    if isinstance(narrow, InvalidInput) or isinstance(whole, InvalidInput):
        assert type(narrow) is type(whole)
        return None
    assert {*narrow.diagnostics} <= {*whole.diagnostics}
    missing = {*whole.diagnostics} - {*narrow.diagnostics}
    namespaces = namespaces_asked(asked, whole.resolved.cluster)
    own = {as_text(d) for d in missing if d.code in OF_SELECTIONS and _namespace(whole, d) in namespaces}
    assert {d.code for d in missing} <= OF_SELECTIONS | OF_ALL_TOGETHER
    assert own == set()
    return narrow


def _namespace(analysis: Analysis, diagnostic: Diagnostic) -> str:
    """Of the policy that ``diagnostic`` is about."""
    place = diagnostic.position
    assert place is not None
    return next(ref.namespace for d in analysis.documents if d.covers(place) and (ref := object_ref(d)) is not None)


def told(analysis: Analysis, name: str, to: Address | None) -> tuple[object, ...]:
    """The explanation, and all files of the nodes that it may number lines of."""
    found = Collector()
    explanation = explain_pod(analysis, name, to, found)
    texts = tuple(as_text(diagnostic) for diagnostic in found.found)
    if explanation is None:
        return texts
    shown = {*analysis.nodes.gateways, explanation.node} & {*analysis.nodes.names}
    files = {name: analysis.nodes.files(name) for name in shown}
    return texts, explained(explanation, everything=True), as_json(explanation), files


def states(analysis: Analysis, namespace: str) -> tuple[object, ...]:
    resolved, allocation = analysis.resolved, analysis.allocation
    wide = {ref: row for ref, row in wide_rows(resolved, allocation).items() if ref[0] == namespace}
    rows = [row for row in policy_rows(resolved, allocation) if row[0] == namespace]
    return rows, wide, status_list(resolved, allocation, specs(analysis.documents), ("EgressPolicy",), namespace)


@examples(60)
@given(doubled())
def test_an_answer_is_the_same_compiled_for_the_question_or_for_all(scenario: Scenario) -> None:
    with written(scenario) as inputs:
        whole = attempted(inputs)
        for namespace in ("a", "b"):
            narrow = agrees(inputs, Asked(namespace=namespace), whole)
            if narrow is not None and isinstance(whole, Analysis):
                assert states(narrow, namespace) == states(whole, namespace)
        pods = scenario.of_kind("Pod")
        names = [f"{item['metadata'].get('namespace', 'default')}/{item['metadata']['name']}" for item in pods]
        addresses = [entry["ip"] for item in pods[:2] for entry in item["status"].get("podIPs") or ()]
        for name in (*names[:4], *addresses, *STRANGERS):
            narrow = agrees(inputs, Asked(pod=name), whole)
            if narrow is not None and isinstance(whole, Analysis):
                assert told(narrow, name, None) == told(whole, name, None)
                assert told(narrow, name, TO) == told(whole, name, TO)


WORKER, FAR = node("n2", labels={"w": "x"}), node("n3", labels={"w": "x"})
BASE = (gateway(), policy("p", destSubnet=["203.0.113.0/24"])), (node("n4"), WORKER, FAR, NAMESPACE, SERVICES)
SEEN = pod("seen", "n2", "10.1.2.1")
FURTHER = pod("further", "n3", "10.1.3.1")


SUBNET = policy("s", kind="EgressClusterPolicy", appliedTo={"podSubnet": ["10.1.3.0/24"]})


@pytest.mark.parametrize(
    ("more", "asked"),
    [
        pytest.param((SEEN, pod("stray", "n3", "10.77.0.1")), "a/seen", id="outside of the pod CIDRs"),
        pytest.param((SEEN, node("n5", "10.1.3.5"), pod("twice", "n3", "10.1.3.5")), "a/seen", id="a node's address"),
        pytest.param((SEEN, pod("lost", "n9", "10.1.9.1")), "a/lost", id="on a node that is not there"),
        pytest.param((FURTHER, SUBNET), "10.1.3.9", id="asked for an address of a node that no pod has"),
    ],
)
def test_what_is_elsewhere_counts_where_it_matters(more: tuple[Json, ...], asked: str) -> None:
    documents, objects = BASE
    scenario = Scenario(documents, objects, {"gatewayReplyRoute": True})
    for item in more:
        scenario = scenario.plus(item)
    with written(scenario) as inputs:
        whole = attempted(inputs)
        narrow = agrees(inputs, Asked(pod=asked), whole)
        if narrow is not None and isinstance(whole, Analysis):
            assert told(narrow, asked, None) == told(whole, asked, None)
