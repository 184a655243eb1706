"""An explanation agrees with the decision, for every pod and packet."""

import json
import re
from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st

from egress_compiler.contract.numbers import answer_mark, slot_mark
from egress_compiler.decide import decide
from egress_compiler.diagnostics import Collector
from egress_compiler.explain import as_json, as_text, explain_address, explain_pod
from egress_compiler.explain.model import EgressPath
from egress_compiler.net import Address, format_address, parse_address, parse_span
from egress_compiler.pipeline import Compilation
from egress_compiler.ruleset.words import rule_comment
from tests.properties import membership
from tests.properties.compiled import compiled_or_reject, oracle_of
from tests.properties.membership import followed
from tests.properties.search import examples
from tests.properties.strategies import DESTINATIONS, Scenario, crowds, odd_scenarios, scenarios

MORE = ("192.0.2.1", "10.1.1.1", "10.2.0.1", "10.0.0.1", "2001:db8:1::1", "fd00:1:1::1", "fd00::1")
DESTINATION = re.compile(r"[0-9a-f.:/-]+,")
ALL = (*DESTINATIONS[4], *DESTINATIONS[6], *MORE)


@examples(60)
@given(
    st.one_of(scenarios(), crowds(), odd_scenarios()),
    st.lists(st.sampled_from(ALL), min_size=1, max_size=4, unique=True),
)
def test_explain_agrees_with_the_oracle_and_the_decision(scenario: Scenario, texts: list[str]) -> None:
    compilation = compiled_or_reject(scenario)
    oracle = oracle_of(scenario, compilation)
    nodes = {node.name for node in compilation.resolved.cluster.nodes}
    for pod in compilation.resolved.cluster.pods:
        if pod.node in compilation.resolved.cluster.others:
            explanation = explain_pod(compilation, pod.key, None, Collector())
            assert explanation is not None
            assert {path.outcome for path in explanation.paths} == {"direct"}
            assert not any(entry.wins for entry in explanation.considered)
        if pod.node not in nodes:
            continue
        for text in texts:
            span = parse_span(text)
            to = Address(span.family, span.interval.first)
            found = Collector()
            explanation = explain_pod(compilation, pod.key, to, found)
            sources = [address for address in pod.addresses if address.family == to.family]
            if explanation is None:
                assert found.failed
                assert sources == []
                continue
            for source, path in zip(sources, explanation.paths, strict=True):
                meant = oracle.answer(ip_address(path.source), ip_address(format_address(*to)))
                assert (path.outcome, frozenset(path.addresses)) == (meant.outcome, meant.addresses)
                decision = decide(compilation.classified, compilation.allocation, source, to)
                assert (path.outcome, path.slot) == (decision.outcome, decision.slot)
                assert path.addresses == tuple(dict.fromkeys(decision.sources))
                assert path.policy == (str(decision.policy) if decision.policy else "")
                winners = [entry.ref for entry in explanation.considered if entry.wins]
                assert winners == ([decision.policy] if decision.policy else [])
                policies = compilation.resolved.policies
                selecting = [policies[p].policy.ref for p in compilation.classified.order_of(source)]
                assert [entry.ref for entry in explanation.considered if source in entry.sources] == selecting
                assert all(bool(entry.sources) != bool(entry.reasons) for entry in explanation.considered)


@examples(40)
@given(st.one_of(scenarios(), odd_scenarios(), scenarios().map(followed), odd_scenarios().map(followed)))
def test_without_a_destination_the_paths_cover_everything_once(scenario: Scenario) -> None:
    """Each sampled packet falls into exactly one path of its pod, which is the one that decides it."""
    compilation = compiled_or_reject(scenario)
    nodes = {node.name for node in compilation.resolved.cluster.nodes}
    for pod in compilation.resolved.cluster.pods:
        explanation = explain_pod(compilation, pod.key, None, Collector())
        assert explanation is not None
        as_text(explanation, everything=True)
        as_json(explanation)
        for path in explanation.paths:
            _check_lines(compilation, path)
        for source in pod.addresses if pod.node in nodes else ():
            paths = [path for path in explanation.paths if parse_address(path.source) == source]
            for text in ALL:
                span = parse_span(text)
                destination = Address(span.family, span.interval.last)
                inside = compilation.resolved.inside[span.family]
                if span.family != source.family or any(i.first <= destination.value <= i.last for i in inside):
                    continue
                decision = decide(compilation.classified, compilation.allocation, source, destination)
                assert _path(paths, destination).addresses == tuple(dict.fromkeys(decision.sources))


def _check_lines(compilation: Compilation, path: EgressPath) -> None:
    """Every line is the bundle's, or what the node adds, and no step of a governed packet is without one."""
    for hop in path.hops:
        for line in hop.lines:
            if line.number is None:
                assert line.text.partition(", #")[0] in _added(compilation, hop.where)
                continue
            text = compilation.files[line.file].split("\n")[line.number - 1].strip()
            if line.file == "members.json":
                chains = json.loads(text.removesuffix(","))["chains"]
                assert line.text in [rule.strip() for rules in chains.values() for rule in rules]
            else:
                assert text == line.text
        assert bool(hop.lines) == (
            path.outcome != "direct" and hop.where != "outside" and not hop.what.startswith("drops")
        )
    if path.slot is not None:
        classify, route, *_ = path.hops
        _check_chains([line.text for line in classify.lines], path)
        assert [line.text.split()[:2] for line in route.lines[:2]] == [["rule", "add"], ["route", "add"]]
        assert route.lines[2].text.endswith("meta mark set ct mark & 0x00003fff")


def _added(compilation: Compilation, name: str) -> str:
    """What a node that follows its pods adds to its files, as text."""
    node, plan = membership.nodes_of(compilation)[name], compilation.nodes.effective(name)
    return node.commands(node.static, plan) + "".join(membership.routing_files(plan).values())


def _check_chains(texts: list[str], path: EgressPath) -> None:
    """From the map of sources, by an order of policies or not, to the policy's rule, the answer number and the slot."""
    source, *order, rule, number, slot = [text for text in texts if not DESTINATION.fullmatch(text)]
    target = source.split("goto ")[1].split(",")[0]
    assert [target, *order] == ([path.chain] if not order else [target, f"jump {path.chain}"])
    assert target.startswith("order." if order else "policy.")
    assert f"goto answer.{path.answer}" in rule
    assert rule.endswith(f'comment "{rule_comment(path.policy)}"')
    assert number.endswith(f"{answer_mark(path.answer or 0):#010x}")
    assert slot.endswith(f"{slot_mark(path.slot or 0):#010x}")
    assert len(texts) - 4 - len(order) == rule.startswith("}")


def _path(paths: list[EgressPath], destination: Address) -> EgressPath:
    def names(path: EgressPath) -> bool:
        spans = [parse_span(text).interval for text in path.destinations]
        return any(span.first <= destination.value <= span.last for span in spans)

    named = [path for path in paths if names(path)]
    rest = [path for path in paths if path.rest]
    assert len(named) <= 1
    assert len(rest) <= 1
    return (named or rest)[0]


@examples(40)
@given(scenarios())
def test_who_leaves_with_an_eip_is_who_explains_so(scenario: Scenario) -> None:
    compilation = compiled_or_reject(scenario)
    nodes = {node.name for node in compilation.resolved.cluster.nodes}
    by_explaining: dict[str, set[str]] = {}
    for pod in compilation.resolved.cluster.pods:
        explanation = explain_pod(compilation, pod.key, None, Collector())
        for path in explanation.paths if explanation is not None and pod.node in nodes else ():
            for address in path.addresses if path.outcome == "eip" else ():
                by_explaining.setdefault(address, set()).add(path.source)
    for text, sources in by_explaining.items():
        told = explain_address(compilation, parse_address(text))
        assert told is not None
        assert told.policies
        users = {user.source for user in told.users}
        spans = [parse_span(user.source) for user in told.users if user.owner == "podSubnet"]
        for source in sources:
            value = parse_address(source).value
            assert source in users or any(span.interval.first <= value <= span.interval.last for span in spans)
