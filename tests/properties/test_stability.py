"""What must not depend on the order of the input, and what must stay put when something else changes."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from egress_compiler.pipeline import Compilation
from tests.properties.compiled import compiled_or_reject, oracle_of, status_of
from tests.properties.nft_text import interval, read_blocks
from tests.properties.oracle import Key, Oracle, bounds, key_of
from tests.properties.search import examples
from tests.properties.strategies import (
    Json,
    Scenario,
    a_node,
    a_pod,
    cluster_object,
    document,
    families_of,
    odd_scenarios,
    policies,
    scenarios,
)

POLICY_KINDS = ("EgressPolicy", "EgressClusterPolicy")


@examples(60)
@given(st.one_of(scenarios(), odd_scenarios()), st.integers(0, 2**32))
def test_the_order_of_the_input_changes_no_byte(scenario: Scenario, seed: int) -> None:
    one = compiled_or_reject(scenario)
    other = compiled_or_reject(scenario, order=random.Random(seed))
    assert other.lock_text == one.lock_text
    for path in one.files.keys() | other.files.keys():
        assert other.files.get(path) == one.files.get(path), path
    assert sorted(d.message for d in other.diagnostics) == sorted(d.message for d in one.diagnostics)


@examples(40)
@given(st.one_of(scenarios(), odd_scenarios()))
def test_compiling_again_with_the_lock_changes_no_byte(scenario: Scenario) -> None:
    first = compiled_or_reject(scenario)
    again = compiled_or_reject(scenario, first.lock_text)
    assert again.lock_text == first.lock_text
    assert again.files == first.files


# --------------------------------------------------------------------------------------------- one change, others stay


@st.composite
def changes(draw: st.DrawFn) -> tuple[Scenario, Scenario, Key | None]:
    """A scenario, the same with one policy, pod or node added, removed or changed, and the key of that policy."""
    before = draw(scenarios())
    what = draw(st.sampled_from(["policy", "policy", "pod", "node", "node"]))
    how = draw(st.sampled_from(["add", "remove", "change"]))
    kinds = {"policy": POLICY_KINDS, "pod": ("Pod",), "node": ("Node",)}[what]
    present = [item for item in before.of_kind(*kinds) if item["metadata"]["name"] != "apiserver"]
    assume(how == "add" or len(present) > (what == "node"))
    old = draw(st.sampled_from(present)) if how != "add" else None
    after = before if old is None else before.without(old)
    if how != "remove":
        after = after.plus(draw(_new(what, before, old)))
    key = None
    if what == "policy":
        key = key_of(old or after.documents[-1])
    return before, after, key


@st.composite
def _new(draw: st.DrawFn, what: str, scenario: Scenario, old: Json | None) -> Json:
    families = families_of(scenario)
    nodes = scenario.of_kind("Node")
    if what == "policy":
        made = draw(policies(50, scenario.of_kind("EgressGateway"), scenario.of_kind("Namespace"), families))
        if old is None:
            return made
        assume(made["kind"] == old["kind"])
        # The namespace decides whether a policy without egressGatewayName has a gateway.
        assume(made["metadata"].get("namespace") == old["metadata"].get("namespace"))
        return made | {"metadata": old["metadata"]}
    if what == "pod":
        made = draw(a_pod(len(nodes), families, 12))
        return made if old is None else old | {"metadata": made["metadata"] | {"name": old["metadata"]["name"]}}
    made = draw(a_node(9, families))
    return made if old is None else old | {"metadata": made["metadata"] | {"name": old["metadata"]["name"]}}


@examples(150)
@given(changes())
def test_what_did_not_change_stays_put(change: tuple[Scenario, Scenario, Key | None]) -> None:
    before, after, changed = change
    first = compiled_or_reject(before)
    second = compiled_or_reject(after, first.lock_text)
    oracle = oracle_of(after, second)
    old, new = ({key_of(i): i["status"] for i in status_of(c)} for c in (first, second))
    for policy in oracle.policies:
        key = key_of(policy)
        if key != changed and key in old:
            carried = oracle_of(before, first).carried(policy), oracle.carried(policy)
            both = {f"ipv{version}" for version in carried[0] & carried[1]}  # of the others nobody was promised one
            assert _only(both, new[key]["eip"]) == _only(both, old[key]["eip"]), key
            names = {node["metadata"]["name"] for node in oracle.nodes_of(oracle.gateway_of(policy))}
            if old[key]["node"] in names:
                assert new[key]["node"] == old[key]["node"], key
    lock, next_lock = json.loads(first.lock_text), json.loads(second.lock_text)
    for section in ("nodes", "slots", "gateways"):
        for name in lock[section].keys() & next_lock[section].keys():
            assert next_lock[section][name] == lock[section][name], f"{section} {name}"
    assert oracle.broken_rules(fresh=False) == []


def _only(names: set[str], mapping: Json) -> Json:
    return {name: value for name, value in mapping.items() if name in names}


# ------------------------------------------------------------------------------------------------------------- spread


@st.composite
def free_policies(draw: st.DrawFn) -> Scenario:
    """One to three gateways, some of the nodes in each, and policies that each have an EIP, or none, of their own."""
    count = draw(st.integers(1, 5))
    labels = st.fixed_dictionaries({f"g{gateway}": st.sampled_from(["yes", "yes", "no"]) for gateway in range(3)})
    objects = [draw(a_node(number, (4,), labels)) for number in range(1, count + 1)]
    objects.append(cluster_object("ServiceCIDR", "kubernetes", spec={"cidrs": ["10.2.0.0/24"]}))
    documents: list[Json] = []
    for gateway in range(draw(st.integers(1, 3))):
        name = f"g{gateway}"
        objects[0]["metadata"]["labels"][name] = "yes"
        pool = {"ipv4": [f"10.0.0.{64 + 16 * gateway}-10.0.0.{79 + 16 * gateway}"]}
        selector = {"selector": {"matchLabels": {name: "yes"}}}
        documents.append(document("EgressGateway", name, {"ippools": pool, "nodeSelector": selector}))
        for number in range(draw(st.integers(0, 12))):
            explicit = {"ipv4": f"10.0.0.{64 + 16 * gateway + number}"}
            spec: dict[str, Any] = {
                "egressGatewayName": name,
                "egressIP": draw(st.sampled_from([{"allocatorPolicy": "rr"}, {"useNodeIP": True}, explicit])),
                "appliedTo": {"podSelector": {"matchLabels": {"app": "web"}}},
            }
            documents.append(document("EgressPolicy", f"p{gateway}-{number}", spec, "a"))
    return Scenario(tuple(documents), tuple(objects))


@examples(80)
@given(free_policies())
def test_free_policies_spread_evenly(scenario: Scenario) -> None:
    """Over the nodes of each gateway; and over all, where all gateways have the same nodes."""
    compilation = compiled_or_reject(scenario)
    oracle = oracle_of(scenario, compilation)
    nodes = {name: {n["metadata"]["name"] for n in oracle.nodes_of(g)} for name, g in oracle.gateways.items()}
    load: dict[str, Counter[str]] = {name: Counter() for name in nodes}
    for item in status_of(compilation):
        if item["kind"] in POLICY_KINDS:
            gateway = oracle.gateway_of(next(p for p in oracle.policies if key_of(p) == key_of(item)))
            load[gateway["metadata"]["name"]][item["status"]["node"]] += 1
    if len({frozenset(names) for names in nodes.values()}) == 1:
        load["all"], nodes["all"] = sum(load.values(), Counter()), next(iter(nodes.values()))
    for name, placed in load.items():
        share = -(-placed.total() // len(nodes[name]))
        assert all(number <= share for number in placed.values()), f"{name}: {placed} on {nodes[name]}"


@examples(30)
@given(free_policies())
def test_a_new_policy_goes_to_the_node_with_the_fewest(scenario: Scenario) -> None:
    assume(len(scenario.of_kind("EgressGateway")) == 1)
    first = compiled_or_reject(scenario)
    gateway_nodes = [n for n in scenario.of_kind("Node") if n["metadata"]["labels"]["g0"] == "yes"]
    load = Counter({node["metadata"]["name"]: 0 for node in gateway_nodes})
    load.update(i["status"]["node"] for i in status_of(first) if i["kind"] in POLICY_KINDS)
    applied = {"appliedTo": {"podSelector": {"matchLabels": {"app": "web"}}}, "egressGatewayName": "g0"}
    newcomer = document("EgressPolicy", "newcomer", applied | {"egressIP": {"useNodeIP": True}}, "a")
    second = compiled_or_reject(scenario.plus(newcomer), first.lock_text)
    (node,) = (i["status"]["node"] for i in status_of(second) if i["metadata"]["name"] == "newcomer")
    assert load[node] == min(load.values())


# ----------------------------------------------------------------------------------------- one policy goes: whose lines


@examples(100)
@given(scenarios(), st.data())
def test_deleting_a_policy_changes_only_lines_of_its_own(scenario: Scenario, data: st.DataObject) -> None:
    gone = data.draw(st.sampled_from(scenario.of_kind(*POLICY_KINDS)))
    first = compiled_or_reject(scenario)
    second = compiled_or_reject(scenario.without(gone), first.lock_text)
    oracle = oracle_of(scenario, first)
    for path, old in first.files.items():
        if path.endswith("/nftables.nft"):
            _Difference(oracle, first, gone, old, second.files[path]).check()


_OF_SOURCES = ("map own_address_", "set governed_", "map uplink_pods", "map uplink_sources")


_WHERE_THERE_ARE_SLOTS = (
    "adopt",
    "icmp_errors",
    "icmp_errors_routed",
    "keep_destination",
    "no_gateway",
    "solicit",
    "without_gateway",
)
"""Chains and the set of nodes that steer something."""


class _Difference:
    """The two texts of one node, paragraph by paragraph: a set, map or chain with the comments before it."""

    def __init__(self, oracle: Oracle, first: Compilation, gone: Json, old: str, new: str) -> None:
        self.oracle, self.gone = oracle, gone
        kind, namespace, name = key_of(gone)
        self.name = f"{kind} {namespace}/{name}" if namespace else f"{kind} {name}"
        status = oracle.status[key_of(gone)]
        self.eips = set(status["eip"].values())
        placement = next(p for ref, p in first.allocation.placements.items() if str(ref) == self.name)
        self.slot = placement.slot
        self.old, self.new = _paragraphs(old), _paragraphs(new)
        self.elements = _elements(new)

    def check(self) -> None:
        for header, text in self.old.items():
            if header not in self.new:
                name = header.removeprefix("chain ").removeprefix("set ").removesuffix(" {")
                own_slot = name in (f"slot.{self.slot}", f"mark.{self.slot}", *_WHERE_THERE_ARE_SLOTS)
                whole_map = header.startswith(_OF_SOURCES) and self._was_all_its_own(text)
                assert own_slot or whole_map or self._names_it(text), f"this should have stayed:\n{text}"
            elif self.new[header] != text:
                self._check_changed(header, text, self.new[header])
        come = {header: text for header, text in self.new.items() if header not in self.old}
        for header in come:
            chain = header.split()[1]
            if chain in _WHERE_THERE_ARE_SLOTS:
                assert any(name.startswith("chain slot.") for name in come), header
            elif chain.startswith(("slot.", "mark.")):
                # What the policy's pods fall back to may have a slot that this node did not use before.
                number = chain.partition(".")[2]
                assert any(f"goto slot.{number} " in text for text in come.values()), header
            elif header.startswith(_OF_SOURCES):
                assert self._was_all_its_own(come[header]), header
            else:
                assert chain.startswith(("steer.", "snat.", "way.", "zone.")), header
                self._check_sources_of(chain)

    def _was_all_its_own(self, text: str) -> bool:
        """Whether every source of a map or set was the policy's."""
        lines = [line.strip() for line in text.splitlines() if line.startswith("\t\t\t")]
        return all(self._was_its_source(line.split()[0].rstrip(",")) for line in lines)

    def _names_it(self, text: str) -> bool:
        return any(line.strip("\t# ").split(" - ")[0] == self.name[:120] for line in text.splitlines())

    def _check_sources_of(self, chain: str) -> None:
        """A new class: every source that it has now was the policy's."""
        for element in self.elements:
            if element[-1] == chain:
                assert self._was_its_source(element[0]), f"{element} is new"

    def _check_changed(self, header: str, old: str, new: str) -> None:
        kind, name = header.split()[:2]
        gone = [line.strip() for line in (Counter(old.splitlines()) - Counter(new.splitlines()))]
        come = [line.strip() for line in (Counter(new.splitlines()) - Counter(old.splitlines()))]
        for line in (*gone, *come):
            address = line.partition(" ")[0].rstrip(",")
            if line in ("elements = {", "}") or line.startswith(("ct direction original", "ct mark & ")):
                continue
            if kind == "map" or name.startswith("governed_"):
                assert self._was_its_source(address), f"{name}: {line}"
            elif name.startswith(("eips", "leave_with")):
                own = self.gone["spec"].get("egressIP", {}).get("useNodeIP")
                assert line in gone, f"{name}: {line} is new"
                assert own or address in self.eips, f"{name}: {line}"
            elif name == "from_worker":
                assert line.split(" vmap ")[1].startswith("@uplink_"), line
            elif name == "gateway_zone":
                assert line.split(" vmap ")[1].startswith("@own_address_"), line
            elif name == "input":
                # The numbers of the virtual routers: one a slot.
                assert "VRRP" in line or line.startswith(("ip protocol 112 ", "ip6 nexthdr 112 ")), line
            elif "@governed_" in line or "Looked at" in line or "which found no answer" in line:
                assert name in ("prerouting", "zones"), f"{name}: {line}"
            else:
                assert name in ("prerouting", "adopt", "icmp_errors"), f"{name}: {line}"
                number = line.removesuffix(",").rpartition(".")[2]
                assert line == f"0x{0x26000000 + int(number):08x} : jump mark.{number},", line
                assert line in come or number == str(self.slot), line

    def _was_its_source(self, text: str) -> bool:
        """An address of the policy's; or a range that touches its podSubnet, as pieces are cut and grow together."""
        first, last = interval(text)
        version = 6 if ":" in text else 4
        if first == last and self.oracle.takes_source(
            self.gone, IPv6Address(first) if version == 6 else IPv4Address(first)
        ):
            return True
        ends = [bounds(subnet) for subnet in self.gone["spec"]["appliedTo"].get("podSubnet", [])]
        return any(low.version == version and int(low) - 1 <= last and first <= int(high) + 1 for low, high in ends)


def _paragraphs(text: str) -> Mapping[str, str]:
    """By the line that opens the block."""
    found: dict[str, str] = {}
    for paragraph in text.split("\n\n"):
        opened = [line.strip() for line in paragraph.splitlines() if line.endswith("{") and line.startswith("\t")]
        found[next((line for line in opened if not line.startswith("#")), "")] = paragraph
    return found


def _elements(text: str) -> list[list[str]]:
    """All elements of all sets and maps."""
    (table,) = (block for block in read_blocks(text).blocks if block.words[0] == "table")
    statements = [statement for block in table.blocks for statement in block.statements]
    return [e for s in statements if s[0] == "elements" and isinstance(s[2], list) for e in s[2]]
