"""The compiler against the oracle: one packet after the other, over random clusters.

Three things must say the same as the oracle: ``decide``, which reads the classified policies; the NodePlans; and the
text of the generated files, read by an evaluator that knows nothing of the compiler.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address
from itertools import combinations
from typing import Any

from hypothesis import event, given
from hypothesis import strategies as st

from egress_compiler.contract.plan import NodePlan
from egress_compiler.decide import decide
from egress_compiler.net import Address, Family
from egress_compiler.pipeline import Compilation
from tests.properties import packet_path, plan_walk
from tests.properties.compiled import compiled_or_reject, oracle_of
from tests.properties.ip_text import NOWHERE
from tests.properties.nft_text import Ruleset
from tests.properties.oracle import (
    ALWAYS_INSIDE,
    DIRECT,
    Answer,
    Oracle,
    bounds,
    covers,
    key_of,
    node_addresses,
    pod_addresses,
    takes_destination,
)
from tests.properties.search import examples
from tests.properties.strategies import Scenario, crowds, odd_scenarios, scenarios, tight_pools

IP = IPv4Address | IPv6Address
DESTINATIONS_OF_ONE_SOURCE = 24
ALL_ZERO = "00:00:00:00:00:00"
"""The MAC under which a forwarding table has those who get broadcasts."""


def is_right(decided: Answer, wanted: Answer, scenario: Scenario) -> bool:
    """Of many gateway nodes a few may have a slot, and with ``useNodeIP`` their addresses alone are possible."""
    a_part = wanted.outcome == "node-ip" and "gatewaysPerSlot" in scenario.settings.get("vrrp", {})
    return decided == wanted or (a_part and decided.addresses <= wanted.addresses)


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
        assert is_right(decided(compilation, source, destination), wanted, scenario), told
        if start in oracle.elsewhere:
            continue
        check_ways(plan_walk.leave(plans, start, source, destination), wanted, oracle, told)
        if unanswered(scenario, oracle, plans, destination):
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
        worker = plan.worker
        pods = (*worker.pods.ipv4, *worker.pods.ipv6)
        assert all(nodes[source.owner] == plan.node for source in pods)
        used = {source.chain for source in (*pods, *worker.subnets.ipv4, *worker.subnets.ipv6)}
        walked = {name for order in worker.orders for name in order.policies}
        named = {order.name for order in worker.orders} | {policy.name for policy in worker.policies}
        assert named == used | walked
        given_numbers = {
            a.number for policy in worker.policies for a in (policy.answers.ipv4, policy.answers.ipv6) if a
        }
        assert {answer.number for answer in worker.answers} == given_numbers - {None}
        assert {slot.number for slot in worker.slots} == {answer.slot for answer in worker.answers}
        slots = {membership.slot for membership in plan.gateway.memberships} if plan.gateway is not None else set()
        assert {t.slot for t in plan.gateway.translations} <= slots if plan.gateway is not None else not slots


@examples(60)
@given(st.one_of(scenarios(), crowds(), odd_scenarios()))
def test_a_policy_order_gives_each_destination_what_the_oracle_says(scenario: Scenario) -> None:
    """Of the policies that stand in it, the first that wants the destination: in the plan's words and in nft's."""
    compilation = compiled_or_reject(scenario)
    oracle = oracle_of(scenario, compilation)
    destinations = sorted(_destinations(scenario, oracle), key=lambda a: (a.version, int(a)))
    for plan in compilation.plans:
        rules = Ruleset(compilation.files[f"nodes/{plan.node}/nftables.nft"])
        origins = {policy.name: policy.origin for policy in plan.worker.policies}
        numbers = {answer.origin: answer.number for answer in plan.worker.answers}
        for order in plan.worker.orders:
            event("an order of several")
            named = {origins[name] for name in order.policies}
            policies = [p for p in oracle.policies if spelled(p) in named]
            for destination in destinations:
                winner = next((p for p in policies if takes_destination(p, destination)), None)
                answer = oracle.leaves_with(winner, destination.version) if winner is not None else DIRECT
                number = numbers[spelled(winner)] if winner is not None and answer.addresses else 0
                packet = packet_path.first_packet(type(destination)(1), destination)
                verdict, left = rules.walk(f"order.{order.name}", packet)
                told = f"{order.name} to {destination}: {answer}, not {verdict} {left}"
                assert left.ct_mark == (0x26000000 | number if number else 0), told
                if winner is None:
                    assert (verdict, left.mark) == ("return", 0), told
                else:
                    assert verdict == ("reject" if answer.outcome == "blocked" else "accept"), told


def spelled(policy: Mapping[str, Any]) -> str:
    """As origins name it."""
    kind, namespace, name = key_of(dict(policy))
    return f"{kind} {namespace}/{name}" if namespace else f"{kind} {name}"


@examples(60)
@given(st.one_of(scenarios(), odd_scenarios()))
def test_a_gateway_obeys_its_own_numbers_and_drops_all_others(scenario: Scenario) -> None:
    """Numbers that nobody has, and those of policies whose gateway it is not; and what no governed pod can send."""
    compilation = compiled_or_reject(scenario)
    oracle = oracle_of(scenario, compilation)
    files = packet_path.nodes_of(compilation.files)
    mac = "66:65:67:00:00:00"
    numbers = {a.number: a.origin for plan in compilation.plans for a in plan.worker.answers}
    assert len(numbers) == len(set(numbers.values()))
    policies = {spelled(policy): policy for policy in oracle.policies}
    sources: dict[int, IP] = {
        a.version: a for pod in oracle.pods for a in pod_addresses(pod) if not oracle.is_elsewhere(pod)
    }
    outside: dict[int, IP] = {4: IPv4Address("8.8.8.8"), 6: IPv6Address("2001:db8:ffff::1")}
    for plan in compilation.plans:
        if plan.gateway is None:
            continue
        node, own = files[plan.node], {t.number: t for t in plan.gateway.translations}
        for version, destination in outside.items():
            ranges = plan.gateway.sources.of(version)
            source = next((bounds(text)[0] for text in ranges), sources.get(version))
            if source is None or covers([*oracle.inside, *ALWAYS_INSIDE], destination):
                continue
            for number in sorted({0, 1, 5, 0x2000, 0x3FFF, *numbers, *own}):
                sent = replace(packet_path.first_packet(source, destination), mark=number)
                came = packet_path.arrive(sent, packet_path.TUNNEL, mac)
                announces = {slot: i.name for i in plan.gateway.vrrp for slot in i.slots}
                instance = announces[own[number].slot] if number in own else next(iter(node.instances), "")
                left = packet_path.obey(node, came, instance)
                told = f"number {number} to {plan.node}: {left}"
                event("own number" if number in own else "another gateway's" if number in numbers else "nobody's")
                if number not in own or not ranges:
                    assert left == "blocked", told
                    continue
                # The bits that nobody writes are not believed, whatever they say.
                assert packet_path.obey(node, replace(came, mark=number | 0xC000), instance) == left, told
                right = oracle.leaves_with(policies[own[number].origin], version).addresses
                assert left in (own[number].addresses.of(version), "blocked"), told
                assert left == "blocked" or left in right, told
                for stranger in (type(source)(1), type(source)(1 << 28)):
                    if not covers(ranges, stranger):
                        sent = replace(came, source=int(stranger))
                        assert packet_path.obey(node, sent, instance) == "blocked", told


@examples(60)
@given(st.one_of(scenarios(), crowds(), odd_scenarios()))
def test_without_the_table_what_a_gateway_has_to_do_with_goes_nowhere(scenario: Scenario) -> None:
    """And what is inside the cluster, or no policy's, goes on, with the table and without."""
    compilation = compiled_or_reject(scenario)
    oracle = oracle_of(scenario, compilation)
    files = packet_path.nodes_of(compilation.files)
    for start, source, destination in packets(scenario, oracle):
        if start in oracle.elsewhere or not files[start].carries(source.version):
            continue
        node, packet = files[start], packet_path.first_packet(source, destination)
        answer = oracle.answer(source, destination)
        way, told = node.way(packet), f"{source} on {start} to {destination}: {answer}"
        if answer.addresses:
            event("refused")
            assert way == NOWHERE, told
        if covers([*oracle.inside, *ALWAYS_INSIDE], destination) or not any(
            oracle.takes_source(policy, source) for policy in oracle.policies
        ):
            event("let go")
            assert way is None, told
        assert node.way(replace(packet, iif="lo")) is None, "the node's own packets"
        assert node.way(replace(packet, mark=0x26000000)) is None, "what nftables has looked at"


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
            tunnel = plans[other].kernel.tunnel
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
    assert len({plan.kernel.tunnel.mac for plan in plans.values()}) == len(plans)
    assert len({address for plan in plans.values() for address in plan.kernel.tunnel.addresses}) == sum(
        len(plan.kernel.tunnel.addresses) for plan in plans.values()
    )


@examples(40)
@given(st.one_of(scenarios(), crowds(), odd_scenarios()))
def test_the_gateways_of_a_slot_agree_on_it(scenario: Scenario) -> None:
    """As many nodes of its gateway as the settings say take part in the election, and none of them is like another."""
    compilation = compiled_or_reject(scenario)
    oracle = oracle_of(scenario, compilation)
    plans = {plan.node: plan for plan in compilation.plans}
    for number, slot in compilation.allocation.slots.items():
        possible = {node["metadata"]["name"] for node in oracle.nodes_of(oracle.gateways[slot.gateway])}
        most = scenario.settings.get("vrrp", {}).get("gatewaysPerSlot", 8)
        gateways = {p.node: p.gateway for p in plans.values() if p.gateway is not None}
        pairs = {
            node: [(m, i) for i, memberships in g.announced() for m in memberships if m.slot == number]
            for node, g in gateways.items()
        }
        found = {node: some[0] for node, some in pairs.items() if some}
        assert found.keys() <= possible
        assert len(found) == min(len(possible), most)
        event("a part of the gateway's nodes" if len(possible) > most else "all of the gateway's nodes")
        assert all(len(some) <= 1 for some in pairs.values())
        assert len({(i.vrid, m.gateway, m.preferred_node, i.advert_ms, m.tunnel_vips) for m, i in found.values()}) == 1
        assert len({tuple(eip.address for eip in m.eips) for m, _ in found.values()}) == 1
        assert len({tuple(t for t in gateways[n].translations if t.slot == number and not t.own) for n in found}) == 1
        ranks = {node: instance.priority for node, (_, instance) in found.items()}
        assert sorted(ranks, key=lambda node: -ranks[node]) == list(slot.order)
        assert len(set(ranks.values())) == len(ranks)
        for node, (membership, instance) in found.items():
            assert membership.members == slot.order
            assert membership.members[membership.place] == node
            assert sorted(instance.peers) == sorted(i.source for other, (_, i) in found.items() if other != node)
    for one, other in combinations(compilation.allocation.slots.values(), 2):
        announced_together = one.vrid == other.vrid and not set(one.order).isdisjoint(other.order)
        assert announced_together == (one.tunnel_vips == other.tunnel_vips)
        if announced_together:
            event("slots that share a VRID")
            assert one.order == other.order
            assert scenario.settings["vrrp"]["firstVRID"] > 1


def unanswered(scenario: Scenario, oracle: Oracle, plans: Mapping[str, NodePlan], destination: IP) -> bool:
    """Where a pod may be that counts as outside, and which a gateway that sends replies back takes for a reply's end.

    docs/datapath.md asks for such pods to be inside.
    """
    if not scenario.settings.get("gatewayReplyRoute") or covers([*oracle.inside, *ALWAYS_INSIDE], destination):
        return False
    ranges = [text for plan in plans.values() for text in plan.last_resort.ranges.of(destination.version)]
    return covers(ranges, destination) or any(destination in pod_addresses(pod) for pod in oracle.pods)


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
    """Node, source, destination: every pod, finished ones too, and addresses in and beside podSubnets.

    A source begins on a node whose pods can have it.
    """
    dice = random.Random(len(scenario.documents) * 1000 + len(scenario.objects))
    nodes = [node["metadata"]["name"] for node in oracle.nodes]
    sources = [(pod["spec"]["nodeName"], address) for pod in oracle.pods for address in pod_addresses(pod)]
    known = {address for _, address in sources}
    others = [pod for pod in scenario.of_kind("Pod") if pod not in oracle.pods]
    left = [(pod["spec"]["nodeName"], address) for pod in others for address in pod_addresses(pod)]
    sources += [
        (start, address)
        for start, address in left
        if address not in known and (start in oracle.elsewhere or oracle.may_begin(start, address))
    ]
    beside = _around(
        text
        for policy in oracle.policies
        if policy["kind"] == "EgressClusterPolicy"
        for text in policy["spec"]["appliedTo"].get("podSubnet", [])
    )
    strangers = sorted((a for a in beside if a not in known), key=lambda a: (a.version, int(a)))
    for address in dice.sample(strangers, min(6, len(strangers))):
        starts = [name for name in nodes if oracle.may_begin(name, address)]
        sources += [(dice.choice(starts), address)] if starts else []
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
