"""Nodes that follow their pods by themselves come to what the compiler and the oracle say of the same pods."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace

from hypothesis import assume, event, given
from hypothesis import strategies as st

from egress_compiler.contract.membership import Known
from egress_compiler.contract.plan import NodePlan
from egress_compiler.pipeline import Compilation
from tests.properties import membership, packet_path, plan_walk
from tests.properties.compiled import compiled_or_reject, oracle_of
from tests.properties.membership import FollowingNode, followed, histories, known
from tests.properties.nft_text import Ruleset
from tests.properties.oracle import Oracle, bounds, covers
from tests.properties.packet_path import NodeFiles
from tests.properties.search import examples
from tests.properties.strategies import Json, Scenario, crowds, odd_scenarios, scenarios
from tests.properties.test_oracle import check_ways, decided, is_right, packets, unanswered


@examples(120)
@given(st.one_of(scenarios(), crowds(), odd_scenarios()))
def test_a_node_that_follows_its_pods_agrees_with_the_oracle(scenario: Scenario) -> None:
    scenario = followed(scenario)
    compilation = compiled_or_reject(scenario)
    oracle = oracle_of(scenario, compilation)
    plans, files = effective(compilation, oracle, scenario)
    for start, source, destination in packets(scenario, oracle):
        wanted = oracle.answer(source, destination)
        told = f"{source} on {start} to {destination}: {wanted}"
        event(wanted.outcome)
        assert is_right(decided(compilation, source, destination), wanted, scenario), told
        if start in oracle.elsewhere:
            continue
        check_ways(plan_walk.leave(plans, start, source, destination), wanted, oracle, told)
        believed = all(covers(p.gateway.sources.of(source.version), source) for p in plans.values() if p.gateway)
        if not believed or unanswered(scenario, oracle, plans, destination):
            event("a pod in no pod CIDR")
            continue
        check_ways(packet_path.leave(files, start, source, destination), wanted, oracle, told)


@examples(60)
@given(st.one_of(scenarios(), crowds(), odd_scenarios()))
def test_it_agrees_with_a_compilation_that_has_these_pods(scenario: Scenario) -> None:
    """The same policies in the same order for each address, the same answers, and slots, by the same numbers."""
    one = compiled_or_reject(scenario)
    other = compiled_or_reject(followed(scenario))
    assume(one.resolved.inside == other.resolved.inside and one.resolved.hosts == other.resolved.hosts)
    plans, _ = effective(other, oracle_of(scenario, other), scenario)
    for plan in one.plans:
        theirs = plans[plan.node]
        for family in plan.kernel.families:
            pods = {source.source: source for source in plan.worker.pods.of(family)}
            found = {source.source: source for source in theirs.worker.pods.of(family) if source.chain}
            assert found.keys() == pods.keys()
            for address, source in pods.items():
                assert found[address].owner == source.owner
                walked, all_of_them = walk(plan, source.chain), walk(theirs, found[address].chain)
                # The compiler leaves out those of an order that win nothing.
                assert [name for name in all_of_them if name in walked] == list(walked)
            assert {*plan.last_resort.sources.of(family)} <= spread(theirs, plan, family)
        ours = {answer.number: answer for answer in plan.worker.answers}
        assert ours.items() <= {answer.number: answer for answer in theirs.worker.answers}.items()
        assert {*plan.worker.slots} <= {*theirs.worker.slots}
        assert {*plan.cut} <= {*theirs.cut}


def walk(plan: NodePlan, chain: str) -> tuple[str, ...]:
    return next((order.policies for order in plan.worker.orders if order.name == chain), (chain,))


def spread(theirs: NodePlan, plan: NodePlan, family: int) -> set[str]:
    """Of the sources of ``plan`` those that theirs govern in some way."""
    governed = theirs.last_resort.sources.of(family)
    return {text for text in plan.last_resort.sources.of(family) if all(covers(governed, e) for e in bounds(text))}


def effective(
    compilation: Compilation, oracle: Oracle, scenario: Scenario
) -> tuple[Mapping[str, NodePlan], Mapping[str, NodeFiles]]:
    """Each node's plan and files with its pods; views of the compiler say the same."""
    plans, texts = dict[str, NodePlan](), dict[str, str]()
    for name, node in membership.nodes_of(compilation).items():
        node.members.check()
        pods = [pod for pod in oracle.pods if pod["spec"]["nodeName"] == name]
        plan = plans[name] = node.effective(known(pods, scenario.objects))
        assert compilation.nodes.effective(name) == plan
        changed = {packet_path.COMMANDS: node.commands(node.static, plan), **membership.routing_files(plan)}
        texts |= {f"nodes/{name}/{file}": text for file, text in {**node.files, **changed}.items()}
    return plans, packet_path.nodes_of(texts)


@examples(60)
@given(st.one_of(scenarios(), odd_scenarios()), st.integers(0, 2**32))
def test_no_pod_changes_a_byte(scenario: Scenario, seed: int) -> None:
    """Others, in another order, with other labels, or none."""
    one, dice = followed(scenario), random.Random(seed)
    pods = [pod for pod in scenario.of_kind("Pod") if pod["metadata"]["namespace"] != "kube-system"]
    kept = dice.sample(pods, dice.randint(0, len(pods)))
    changed = [{**pod, "metadata": {**pod["metadata"], "labels": {"app": "other"}}} for pod in kept]
    others = [item for item in scenario.objects if item not in pods]
    first = compiled_or_reject(one)
    second = compiled_or_reject(replace(one, objects=(*changed, *others)))
    assert second.lock_text == first.lock_text
    assert second.files == first.files


@examples(60)
@given(histories())
def test_step_by_step_is_the_same_as_at_once(history: tuple[Scenario, list[list[Json]]]) -> None:
    scenario, moments = history
    compilation = compiled_or_reject(followed(scenario))
    for name, node in membership.nodes_of(compilation).items():
        kernel, now = Ruleset(node.files["nftables.nft"]), node.static
        for pods in moments:
            own = [pod for pod in pods if pod["spec"]["nodeName"] == name]
            now = step(node, kernel, now, known(own, scenario.objects))
            assert same(kernel, at_once(node, now))
        kept = frozenset(policy.name for policy in now.worker.policies)
        now = step(node, kernel, now, Known(kept=kept))
        assert same(kernel, at_once(node, now))
        assert {a.number for a in node.effective(Known(kept=kept)).worker.answers} >= {
            answer.number for policy in kept if (one := node.members.named(policy)) and (answer := one.answer)
        }


def step(node: FollowingNode, kernel: Ruleset, now: NodePlan, then: Known) -> NodePlan:
    after = node.effective(then)
    kernel.apply(node.commands(now, after))
    return after


def at_once(node: FollowingNode, plan: NodePlan) -> Ruleset:
    made = Ruleset(node.files["nftables.nft"])
    made.apply(node.commands(node.static, plan))
    return made


def same(one: Ruleset, other: Ruleset) -> bool:
    lookups = ({name: lookup.entries for name, lookup in ruleset.lookups.items()} for ruleset in (one, other))
    return one.chains == other.chains and next(lookups) == next(lookups)
