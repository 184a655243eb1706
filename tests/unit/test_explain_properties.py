"""An explanation agrees with the decision, for every pod and packet."""

from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st

from egress_compiler.decide import decide
from egress_compiler.diagnostics import Collector
from egress_compiler.explain import as_json, as_text, explain_address, explain_pod
from egress_compiler.explain.model import Way
from egress_compiler.net import Address, format_address, parse_address, parse_span
from egress_compiler.pipeline import Compilation
from tests.properties.compiled import compiled_or_reject, oracle_of
from tests.properties.search import examples
from tests.properties.strategies import DESTINATIONS, Scenario, crowds, odd_scenarios, scenarios

MORE = ("192.0.2.1", "10.1.1.1", "10.2.0.1", "10.0.0.1", "2001:db8:1::1", "fd00:1:1::1", "fd00::1")
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
            assert {way.outcome for way in explanation.ways} == {"direct"}
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
            for source, way in zip(sources, explanation.ways, strict=True):
                meant = oracle.answer(ip_address(way.source), ip_address(format_address(*to)))
                assert (way.outcome, frozenset(way.addresses)) == (meant.outcome, meant.addresses)
                decision = decide(compilation.classified, compilation.allocation, source, to)
                assert (way.outcome, way.slot) == (decision.outcome, decision.slot)
                assert way.addresses == tuple(dict.fromkeys(decision.sources))
                assert way.policy == (str(decision.policy) if decision.policy else "")
                winners = [entry.ref for entry in explanation.considered if entry.wins]
                assert winners == ([decision.policy] if decision.policy else [])
                policies = compilation.resolved.policies
                selecting = [policies[p].policy.ref for p in compilation.classified.order_of(source)]
                assert [entry.ref for entry in explanation.considered if source in entry.sources] == selecting
                assert all(bool(entry.sources) != bool(entry.reasons) for entry in explanation.considered)


@examples(40)
@given(st.one_of(scenarios(), odd_scenarios()))
def test_without_a_destination_the_ways_cover_everything_once(scenario: Scenario) -> None:
    """Each sampled packet falls into exactly one way of its pod, which is the one that decides it."""
    compilation = compiled_or_reject(scenario)
    nodes = {node.name for node in compilation.resolved.cluster.nodes}
    for pod in compilation.resolved.cluster.pods:
        explanation = explain_pod(compilation, pod.key, None, Collector())
        assert explanation is not None
        as_text(explanation, everything=True)
        as_json(explanation)
        for way in explanation.ways:
            _check_lines(compilation, way)
        for source in pod.addresses if pod.node in nodes else ():
            ways = [way for way in explanation.ways if parse_address(way.source) == source]
            for text in ALL:
                span = parse_span(text)
                destination = Address(span.family, span.interval.last)
                inside = compilation.resolved.inside[span.family]
                if span.family != source.family or any(i.first <= destination.value <= i.last for i in inside):
                    continue
                decision = decide(compilation.classified, compilation.allocation, source, destination)
                assert _way(ways, destination).addresses == tuple(dict.fromkeys(decision.sources))


def _check_lines(compilation: Compilation, way: Way) -> None:
    """Every line is the bundle's, and no step of a governed packet is without one."""
    for hop in way.hops:
        for line in hop.lines:
            assert compilation.files[line.file].split("\n")[line.number - 1].strip() == line.text
        assert bool(hop.lines) == (
            way.outcome != "direct" and hop.where != "outside" and not hop.what.startswith("drops")
        )
    if way.slot is not None:
        classify, route, *_ = way.hops
        assert len(classify.lines) == 4 + bool(way.policy and classify.lines[1].text.endswith(","))
        assert [line.text.split()[:2] for line in route.lines] == [["rule", "add"], ["route", "add"]]


def _way(ways: list[Way], destination: Address) -> Way:
    def names(way: Way) -> bool:
        spans = [parse_span(text).interval for text in way.destinations]
        return any(span.first <= destination.value <= span.last for span in spans)

    named = [way for way in ways if names(way)]
    rest = [way for way in ways if way.rest]
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
        for way in explanation.ways if explanation is not None and pod.node in nodes else ():
            for address in way.addresses if way.outcome == "eip" else ():
                by_explaining.setdefault(address, set()).add(way.source)
    for text, sources in by_explaining.items():
        told = explain_address(compilation, parse_address(text))
        assert told is not None
        assert told.policies
        users = {user.source for user in told.users}
        spans = [parse_span(user.source) for user in told.users if user.owner == "podSubnet"]
        for source in sources:
            value = parse_address(source).value
            assert source in users or any(span.interval.first <= value <= span.interval.last for span in spans)
