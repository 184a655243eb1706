"""A plan against one packet at a time: it names what changes, all of it, and nothing else."""

import copy
import random
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from egress_compiler import bundle
from egress_compiler.cli.plan import plan_against
from egress_compiler.decide import Decision, decide
from egress_compiler.model.cluster import Pod
from egress_compiler.net import Address, contains, parse_span
from egress_compiler.pipeline import Compilation
from egress_compiler.plan import Plan, as_json, as_markdown, as_text, between
from egress_compiler.plan.model import Answer, Region
from tests.properties.compiled import compiled_or_reject
from tests.properties.search import examples
from tests.properties.strategies import (
    DESTINATIONS,
    Json,
    Scenario,
    a_pod,
    crowds,
    document,
    families_of,
    policies,
    scenarios,
)

MODES = (("compiled", "compiled"), ("followed", "followed"), ("compiled", "followed"), ("followed", "compiled"))
KINDS = ("none", "policy", "less", "spec", "spec", "spec", "pod", "unpod", "node", "label", "inside", "readdress")
POLICY_KINDS = ("EgressPolicy", "EgressClusterPolicy")
ALWAYS = {
    4: ("192.0.2.1", "203.0.113.200", "198.51.100.0", "10.1.1.1", "10.2.0.1", "10.0.0.1", "10.9.0.1"),
    6: ("2001:db8:1::1", "2001:db8::6", "fd00:1:1::1", "fd00::1", "fd12::1"),
}


def _with_spec(scenario: Scenario, item: Json, **changes: object) -> Scenario:
    changed = copy.deepcopy(item)
    for key, value in changes.items():
        changed["spec"].pop(key, None)
        if value is not None:
            changed["spec"][key] = value
    return scenario.without(item).plus(changed)


@st.composite
def edits(draw: st.DrawFn, scenario: Scenario) -> Scenario:
    """``scenario`` after one change such as people make, or after none."""
    written = scenario.of_kind(*POLICY_KINDS)
    nodes, pods = scenario.of_kind("Node"), scenario.of_kind("Pod")
    families = families_of(scenario)
    kind = draw(st.sampled_from(KINDS))
    if kind == "policy":
        made = scenario.of_kind("EgressGateway")
        return scenario.plus(draw(policies(90, made, scenario.of_kind("Namespace"), families)))
    if kind == "less" and len(written) > 1:
        return scenario.without(draw(st.sampled_from(written)))
    if kind == "spec":
        item = draw(st.sampled_from(written))
        other = draw(policies(91, scenario.of_kind("EgressGateway"), scenario.of_kind("Namespace"), families))
        key = draw(st.sampled_from(["priority", "destSubnet", "egressIP", "egressGatewayName"]))
        return _with_spec(scenario, item, **{key: other["spec"].get(key)})
    if kind == "pod":
        return scenario.plus(draw(a_pod(len(nodes), families, 12)))
    if kind == "unpod" and pods:
        return scenario.without(draw(st.sampled_from(pods)))
    if kind == "node" and len(nodes) > 1:
        return scenario.without(nodes[-1])
    if kind == "label" and pods:
        item = draw(st.sampled_from(pods))
        changed = copy.deepcopy(item)
        changed["metadata"]["labels"] = {"app": draw(st.sampled_from(["web", "api", "none"]))}
        return scenario.without(item).plus(changed)
    if kind == "readdress":
        moved = copy.deepcopy(nodes[0])
        for address in moved["status"]["addresses"]:
            address["address"] = {True: "fd00::ffff", False: "10.0.0.254"}[":" in address["address"]]
        return scenario.without(nodes[0]).plus(moved)
    if kind == "inside" and not scenario.of_kind("EgressClusterInfo"):
        return scenario.plus(document("EgressClusterInfo", "default", {"extraCidr": ["203.0.113.0/25"]}))
    return scenario


@st.composite
def changed(draw: st.DrawFn) -> tuple[Scenario, Scenario]:
    scenario = draw(st.one_of(scenarios(), crowds()))
    for _ in range(draw(st.integers(0, 1))):
        scenario = draw(edits(scenario))
    after = scenario
    for _ in range(draw(st.integers(1, 2))):
        after = draw(edits(after))
    first, second = draw(st.sampled_from(MODES))
    return _with_membership(scenario, first), _with_membership(after, second)


def _with_membership(scenario: Scenario, mode: str) -> Scenario:
    return replace(scenario, settings={**scenario.settings, "membership": mode})


@examples(50)
@given(changed(), st.integers(0, 2**32))
def test_the_plan_is_empty_exactly_when_compile_would_change_nothing(
    pair: tuple[Scenario, Scenario], seed: int
) -> None:
    """Whatever was edited, and also where only the order of the input is another."""
    before = compiled_or_reject(pair[0])
    after = compiled_or_reject(pair[1], before.lock_text, random.Random(seed))
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory) / "bundle"
        after.lock_path.parent.mkdir(parents=True)
        after.lock_path.write_text(before.lock_text)
        bundle.write_files(before, out)
        old = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
        plan = plan_against(after, out, diffs=True)
        _check_forms(plan)
        written = bundle.write_files(after, out)
        new = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
        nothing = not written and old == new and before.lock_text == after.lock_text
        assert plan.empty == nothing
        after.lock_path.write_text(after.lock_text)
        assert plan_against(after, out).empty
        after.lock_path.unlink()
        after.lock_path.parent.rmdir()


def _check_forms(plan: Plan) -> None:
    """Every form can be made of every plan, and an empty plan says nothing of a change."""
    text, markdown, data = as_text(plan), as_markdown(plan), as_json(plan)
    assert data["empty"] == plan.empty
    assert ("No changes" in text) == ("No changes" in markdown) == plan.empty
    if plan.empty:
        assert not any((plan.policies, plan.sources, plan.gone, plan.eips, plan.notes, *plan.inside.get(4, ())))


class Seen(NamedTuple):
    outcome: str
    address: str
    slot: int | None


@examples(80)
@given(changed())
def test_the_plan_says_of_every_packet_what_changes(pair: tuple[Scenario, Scenario]) -> None:
    before = compiled_or_reject(pair[0])
    after = compiled_or_reject(pair[1], before.lock_text)
    plan = between(before, after, "before")
    joins, leaves = (tuple(text for change in plan.inside.values() for text in change[side]) for side in (0, 1))
    exact = _exact(before, after)
    old_pods = {pod.key: pod for pod in before.resolved.cluster.pods}
    for pod in after.resolved.cluster.pods:
        old = old_pods.get(pod.key, pod)
        nodes = {node.name for node in after.resolved.cluster.nodes}
        if (old.node, old.addresses) == (pod.node, pod.addresses) and pod.node in nodes:
            for source, destination in _packets(pod):
                expected = _seen(decide(before.classified, before.allocation, source, destination))
                now = _seen(decide(after.classified, after.allocation, source, destination))
                insides = [contains(c.resolved.inside[destination.family], destination.value) for c in (before, after)]
                if all(insides):  # no region means them, though it may hold them
                    continue
                told = _told(plan, pod, destination, exact)
                if told is None and any(_within(text, [destination]) for text in (*joins, *leaves)):
                    assert (now if insides[1] else expected) == ("direct", "", None)
                elif told is None:
                    assert expected == now, (pod, destination)
                else:
                    # Of what was inside, or will be, the plan tells apart.
                    for answer, seen, inside in zip(told, (expected, now), insides, strict=True):
                        assert inside or _of_answer(answer) == seen, (pod, destination)


def _packets(pod: Pod) -> Iterator[tuple[Address, Address]]:
    for source in pod.addresses:
        texts = {*ALWAYS[source.family], *DESTINATIONS[source.family]}
        for text in texts:
            family, interval, _, _ = parse_span(text)
            for value in {interval.first, interval.last, max(0, interval.first - 1), interval.last - 1}:
                if 0 <= value < 2 ** (32 if family == 4 else 128):
                    yield source, Address(family, value)


def _seen(decision: Decision) -> Seen:
    return Seen(decision.outcome, decision.sources[0] if decision.sources else "", decision.slot)


def _of_answer(answer: Answer) -> Seen:
    return Seen(answer.outcome, answer.address, answer.slot)


def _exact(*compilations: Compilation) -> set[str]:
    """The pods that a map of exact addresses has, before or after; all others are what subnets say."""
    maps = [c.nodes.effective(plan.node).worker.pods for c in compilations for plan in c.plans]
    return {source.owner for pods in maps for source in (*pods.ipv4, *pods.ipv6)}


def _told(plan: Plan, pod: Pod, destination: Address, exact: set[str]) -> tuple[Answer, Answer] | None:
    """What the plan says of a packet; None where it names no change."""
    own = [address for address in pod.addresses if address.family == destination.family]
    for group in plan.sources:
        names = [member.name for member in group.members]
        by_name = group.what == "pod" and pod.key in names
        by_subnet = group.what == "subnet" and pod.key not in exact and any(_within(name, own) for name in names)
        for flow in group.flows if by_name or by_subnet else ():
            if _covers(flow.region, destination):
                return flow.before, flow.after
    return None


def _within(text: str, addresses: list[Address]) -> bool:
    span = parse_span(text)
    return any(a.family == span.family and contains((span.interval,), a.value) for a in addresses)


def _covers(region: Region, destination: Address) -> bool:
    if region.family != destination.family:
        return False
    listed = any(contains((parse_span(text).interval,), destination.value) for text in region.destinations)
    return listed != region.rest
