"""The compiler against the oracle: one packet after the other, over random clusters.

Three things must say the same as the oracle: ``decide``, which reads the classified policies; the NodePlans; and the
text of the generated files, read by an evaluator that knows nothing of the compiler.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address

from hypothesis import event, given
from hypothesis import strategies as st

from egress_compiler.decide import decide
from egress_compiler.net import Address, Family
from egress_compiler.pipeline import Compilation
from tests.properties import packet_path, plan_walk
from tests.properties.compiled import compiled_or_reject, oracle_of
from tests.properties.oracle import (
    ALWAYS_INSIDE,
    Answer,
    Oracle,
    bounds,
    covers,
    node_addresses,
    pod_addresses,
)
from tests.properties.search import examples
from tests.properties.strategies import Scenario, crowds, odd_scenarios, scenarios, tight_pools

IP = IPv4Address | IPv6Address
DESTINATIONS_OF_ONE_SOURCE = 24
ALL_ZERO = "00:00:00:00:00:00"
"""The MAC under which a forwarding table has those who get broadcasts."""


@examples(160)
@given(st.one_of(scenarios(), crowds(), odd_scenarios()))
def test_decide_plans_and_text_agree_with_the_oracle(scenario: Scenario) -> None:
    compilation = compiled_or_reject(scenario)
    oracle = oracle_of(scenario, compilation)
    plans = {plan.node: plan for plan in compilation.plans}
    files = packet_path.nodes_of(compilation.files)
    for start, source, destination in packets(scenario, oracle):
        wanted = oracle.answer(source, destination)
        told = f"{source} on {start} to {destination}: {wanted}"
        event(wanted.outcome)
        assert decided(compilation, source, destination) == wanted, told
        if start in oracle.elsewhere:
            continue
        check_ways(plan_walk.leave(plans, start, source, destination), wanted, oracle, told)
        if unanswered(scenario, oracle, destination):
            continue
        check_ways(packet_path.leave(files, start, source, destination), wanted, oracle, told)


@examples(80)
@given(st.one_of(scenarios(), tight_pools(), odd_scenarios()))
def test_allocations_keep_the_rules(scenario: Scenario) -> None:
    compilation = compiled_or_reject(scenario)
    assert oracle_of(scenario, compilation).broken_rules(fresh=True) == []
    again = compiled_or_reject(scenario, compilation.lock_text)
    assert oracle_of(scenario, again).broken_rules(fresh=False) == []


@examples(40)
@given(st.one_of(scenarios(), odd_scenarios()))
def test_a_node_carries_only_what_is_its_own(scenario: Scenario) -> None:
    """A worker the pods that run on it, a gateway the answers of the slots that it could own."""
    compilation = compiled_or_reject(scenario)
    nodes = {f"{pod.namespace}/{pod.name}": pod.node for pod in compilation.resolved.cluster.pods}
    for plan in compilation.plans:
        steered = (*plan.steer_sources.pods4, *plan.steer_sources.pods6)
        assert all(nodes[source.owner] == plan.node for source in steered)
        used = {
            source.traffic_class for source in (*steered, *plan.steer_sources.subnets4, *plan.steer_sources.subnets6)
        }
        assert {c.name for c in plan.steer_classes} == used
        slots = {instance.slot for instance in plan.vrrp}
        answers = [answer for c in plan.snat_classes for answer in (*c.ipv4, *c.ipv6)]
        assert {answer.slot for answer in answers} <= slots
        assert {slot.number for slot in plan.slots} == {
            answer.slot for c in plan.steer_classes for answer in (*c.ipv4, *c.ipv6) if answer.slot is not None
        }


@examples(40)
@given(st.one_of(scenarios(), odd_scenarios()))
def test_every_two_nodes_that_talk_know_each_other(scenario: Scenario) -> None:
    """A gateway has all nodes as its peers and a worker the gateways, by each address and under one MAC."""
    compilation = compiled_or_reject(scenario)
    oracle = oracle_of(scenario, compilation)
    gateways = {node["metadata"]["name"] for g in oracle.gateways.values() for node in oracle.nodes_of(g)}
    plans = {plan.node: plan for plan in compilation.plans}
    for name, plan in plans.items():
        assert plan.role == ("gateway" if name in gateways else "worker")
        wanted = (plans.keys() if name in gateways else gateways) - {name}
        wires = {line for line in compilation.files[f"nodes/{name}/fdb.batch"].splitlines() if line.startswith("fdb ")}
        neighbours = compilation.files[f"nodes/{name}/vxlan.batch"].splitlines()
        known: set[str] = set()
        for other in wanted:
            tunnel = plans[other].tunnel
            own = {
                f"fdb append {mac} dev egress.vxlan dst {tunnel.underlay} self permanent"
                for mac in (tunnel.mac, ALL_ZERO)
            }
            assert own <= wires
            wires -= own
            known |= {
                f"neighbour replace {a.partition('/')[0]} lladdr {tunnel.mac} dev egress.vxlan nud permanent"
                for a in tunnel.addresses
            }
        assert not wires, wires
        assert {line for line in neighbours if line.startswith("neighbour ")} == known
    assert len({plan.tunnel.mac for plan in plans.values()}) == len(plans)
    assert len({address for plan in plans.values() for address in plan.tunnel.addresses}) == sum(
        len(plan.tunnel.addresses) for plan in plans.values()
    )


@examples(40)
@given(st.one_of(scenarios(), crowds(), odd_scenarios()))
def test_the_gateways_of_a_slot_agree_on_it(scenario: Scenario) -> None:
    """All nodes of its gateway, and nobody else, take part in the election, and none of them is like another."""
    compilation = compiled_or_reject(scenario)
    oracle = oracle_of(scenario, compilation)
    plans = {plan.node: plan for plan in compilation.plans}
    for number, slot in compilation.allocation.slots.items():
        members = {node["metadata"]["name"] for node in oracle.nodes_of(oracle.gateways[slot.gateway])}
        found = {p.node: instance for p in plans.values() for instance in p.vrrp if instance.slot == number}
        assert found.keys() == members
        assert len({(i.vrid, i.gateway, i.preferred_node, i.advert_ms, i.tunnel_vips) for i in found.values()}) == 1
        assert len({tuple(eip.address for eip in i.eips) for i in found.values()}) == 1
        ranks = {node: instance.priority for node, instance in found.items()}
        assert sorted(ranks, key=lambda node: -ranks[node]) == list(slot.order)
        assert len(set(ranks.values())) == len(ranks)
        for node, instance in found.items():
            assert sorted(instance.peers) == sorted(i.source for other, i in found.items() if other != node)
    vrids = [(slot.vrid, slot.tunnel_vips[4]) for slot in compilation.allocation.slots.values()]
    assert len({vrid for vrid, _ in vrids}) == len({vip for _, vip in vrids}) == len(vrids)


def unanswered(scenario: Scenario, oracle: Oracle, destination: IP) -> bool:
    """A pod that counts as outside, and which a gateway that sends replies back takes for the end of a reply.

    docs/datapath.md asks for such pods to be inside.
    """
    if not scenario.settings.get("gatewayReplyRoute") or covers([*oracle.inside, *ALWAYS_INSIDE], destination):
        return False
    return any(destination in pod_addresses(pod) for pod in oracle.pods)


def decided(compilation: Compilation, source: IP, destination: IP) -> Answer:
    family: Family = 4 if source.version == 4 else 6
    decision = decide(
        compilation.classified, compilation.allocation, Address(family, int(source)), Address(family, int(destination))
    )
    return Answer(decision.outcome, frozenset(decision.sources))


def check_ways(ways: Mapping[str, str], wanted: Answer, oracle: Oracle, told: str) -> None:
    """Whoever is the slot's master, the packet leaves as it should."""
    if wanted.outcome in ("direct", "blocked") and set(ways) == {""}:
        assert ways == {"": wanted.outcome}, told
        return
    assert "" not in ways, told
    for master, way in ways.items():
        right = wanted.addresses
        if wanted.outcome == "node-ip":
            node = next(node for node in oracle.nodes if node["metadata"]["name"] == master)
            own = {str(a) for a in oracle.own[node["metadata"]["name"]] if str(a) in wanted.addresses}
            right = frozenset(own or {"blocked"})
        assert way in right, f"{told}, but by {master}: {way}"


# ---------------------------------------------------------------------------------------------- packets worth a try


def packets(scenario: Scenario, oracle: Oracle) -> Iterator[tuple[str, IP, IP]]:
    """Node, source, destination: every pod, finished ones too, and addresses in and beside podSubnets."""
    dice = random.Random(len(scenario.documents) * 1000 + len(scenario.objects))
    nodes = [node["metadata"]["name"] for node in oracle.nodes]
    sources = [(pod["spec"]["nodeName"], address) for pod in oracle.pods for address in pod_addresses(pod)]
    known = {address for _, address in sources}
    others = [pod for pod in scenario.of_kind("Pod") if pod not in oracle.pods]
    left = [(pod["spec"]["nodeName"], address) for pod in others for address in pod_addresses(pod)]
    sources += [(start, address) for start, address in left if address not in known]
    beside = _around(
        text
        for policy in oracle.policies
        if policy["kind"] == "EgressClusterPolicy"
        for text in policy["spec"]["appliedTo"].get("podSubnet", [])
    )
    strangers = sorted((a for a in beside if a not in known), key=lambda a: (a.version, int(a)))
    sources += [(dice.choice(nodes), a) for a in dice.sample(strangers, min(6, len(strangers)))]
    destinations = sorted(_destinations(scenario, oracle), key=lambda a: (a.version, int(a)))
    for start, source in sources:
        possible = [d for d in destinations if d.version == source.version]
        for destination in dice.sample(possible, min(DESTINATIONS_OF_ONE_SOURCE, len(possible))):
            yield start, source, destination


def _destinations(scenario: Scenario, oracle: Oracle) -> set[IP]:
    texts = [text for policy in oracle.policies for text in policy["spec"].get("destSubnet", [])]
    found = _around([*texts, *oracle.inside, *ALWAYS_INSIDE])
    found |= {address for pod in oracle.pods for address in pod_addresses(pod)}
    found |= {address for node in oracle.nodes for address in node_addresses(node)}
    found |= _around(cidr for node in oracle.nodes for cidr in node["spec"].get("podCIDRs", []))
    found |= {ip_address(service["spec"]["clusterIP"]) for service in scenario.of_kind("Service")}
    found |= {ip_address(a) for status in oracle.status.values() for a in status.get("eip", {}).values()}
    found |= {IPv4Address("8.8.8.8"), IPv6Address("2001:db8:ffff::1"), IPv4Address(0), IPv6Address(0)}
    # What a node may report, and no packet goes to.
    return {a for a in found if a.version == 4 or a.ipv4_mapped is None}


def _around(texts: Iterable[str]) -> set[IP]:
    """The ends of addresses, ranges and CIDRs, and the addresses before and after them."""
    found: set[IP] = set()
    for text in texts:
        for end in bounds(text):
            last = (1 << end.max_prefixlen) - 1
            for value in (int(end) - 1, int(end), int(end) + 1):
                if 0 <= value <= last:
                    found.add(IPv4Address(value) if end.version == 4 else IPv6Address(value))
    return found
