"""What must not depend on the order of the input, and what must stay put when something else changes."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from egress_compiler.pipeline import Compilation
from tests.properties.compiled import compiled_or_reject, oracle_of, status_of
from tests.properties.nft_text import interval
from tests.properties.oracle import Key, Oracle, bounds, key_of, pod_addresses
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
    for section in ("nodes", "slots", "gateways", "answers"):
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


_WHERE_SOMETHING_IS_STEERED = frozenset(
    {
        *("adopt", "answer_slots", "blocked", "direct", "governed", "icmp_errors", "icmp_errors_routed"),
        *("keep_destination", "looked_at", "no_gateway", "without_gateway", "answers_that_fall_back"),
    }
)
"""Chains and sets of nodes that steer something, or something of a kind."""
_ENTRANCES = frozenset({"prerouting", "gateway_zone", "from_worker", "arrived", "outer", "zones"})
"""Chains with rules that are there only while a map or a chain is."""
_LEADS = re.compile(r"^\t\t\t(\S+) : goto (\S+),", re.MULTILINE)
_TARGETS = re.compile(r"\b(?:goto|jump) ([A-Za-z0-9_.-]+)")


class _Difference:
    """The two texts of one node, paragraph by paragraph: a set, map or chain with the comments before it."""

    def __init__(self, oracle: Oracle, first: Compilation, gone: Json, old: str, new: str) -> None:
        self.oracle, self.gone = oracle, gone
        kind, namespace, name = key_of(gone)
        self.name = f"{kind} {namespace}/{name}" if namespace else f"{kind} {name}"
        self.eips = set(oracle.status[key_of(gone)]["eip"].values())
        ref = next(ref for ref in first.allocation.placements if str(ref) == self.name)
        self.slot, self.number = first.allocation.placements[ref].slot, first.allocation.answers[ref]
        self.old, self.new = _paragraphs(old), _paragraphs(new)

    def check(self) -> None:
        for header, text in self.old.items():
            if header not in self.new:
                assert self._may_go(_name(header), text), f"this should have stayed:\n{text}"
            elif header and self.new[header] != text:
                self._check_changed(_name(header), text, self.new[header])
        reached = self._reached()
        for header in self.new.keys() - self.old.keys():
            name = _name(header)
            # A gateway comes to lead the open connections of its own pods to a slot that it used for no others.
            its = name in reached or name == f"slot.{self.slot}" or self._is_all_its_own(self.new[header])
            assert its or name.startswith("waits.") or name in _WHERE_SOMETHING_IS_STEERED, f"new:\n{self.new[header]}"

    def _may_go(self, name: str, text: str) -> bool:
        its_chain = name in (f"answer.{self.number}", f"slot.{self.slot}", f"waits.{self.slot}")
        its_policy = name.startswith("policy.") and self._names_it(text)
        jumps = name.startswith("order.") and any(self._names_it(self.old[f"chain {to} {{"]) for to in _jumped(text))
        nothing_left = name.startswith("pod_ranges") and not self._governs(name[-1])
        known = its_chain or its_policy or jumps or nothing_left or name in _WHERE_SOMETHING_IS_STEERED
        return known or self._is_all_its_own(text)

    def _governs(self, family: str) -> bool:
        """Whether the node has sources of a family, afterwards."""
        maps = (self.new.get(f"map governed_{kind}{family} {{", "") for kind in ("pods", "subnets"))
        return any(_LEADS.search(text) for text in maps)

    def _reached(self) -> set[str]:
        """The chains to which sources lead now that were the policy's."""
        waiting = [
            chain
            for header, text in self.new.items()
            if header.startswith("map governed_")
            for key, chain in _LEADS.findall(text)
            if self._was_its_source(key)
        ]
        reached: set[str] = set()
        while waiting:
            name = waiting.pop()
            if name not in reached:
                reached.add(name)
                waiting += _jumped(self.new.get(f"chain {name} {{", ""))
        return reached

    def _is_all_its_own(self, text: str) -> bool:
        """Of a set or map: whether every element was the policy's; of ranges, whether it had a source near."""
        lines = [line.strip() for line in text.splitlines() if line.startswith("\t\t\t")]
        if "_ranges" in text:
            return all(self._touches(line.rstrip(",")) for line in lines)
        return bool(lines) and all(map(self._is_its_line, lines))

    def _names_it(self, text: str) -> bool:
        return any(line.strip("\t# ").split(" - ")[0] == self.name[:120] for line in text.splitlines())

    def _check_changed(self, name: str, old: str, new: str) -> None:
        gone = [line.strip() for line in (Counter(old.splitlines()) - Counter(new.splitlines()))]
        come = [line.strip() for line in (Counter(new.splitlines()) - Counter(old.splitlines()))]
        for line in (*gone, *come):
            if line in ("elements = {", "}") or self._is_its_line(line):
                continue
            if name == "input":
                # The numbers of the virtual routers: one a slot.
                assert "vrrp" in line, line
            elif name in ("answer_slots", "answers_that_fall_back"):
                number = int(line.partition(" ")[0], 16) & 0x3FFF
                assert line in come, line
                assert f"chain answer.{number} {{" not in self.old, line
            elif name.startswith("leave_with"):
                assert line in gone, f"{name}: {line}"
                assert self.gone["spec"].get("egressIP", {}).get("useNodeIP"), f"{name}: {line}"
            elif name.endswith(("_ranges4", "_ranges6")):
                assert self._touches(line.rstrip(",")), f"{name}: {line}"
            else:
                assert name in _ENTRANCES, f"{name}: {line}"

    def _is_its_line(self, line: str) -> bool:
        """An element whose key is its number, its EIP, or a source of its own."""
        key = line.partition(" ")[0].rstrip(",")
        if key.startswith("0x"):
            return int(key, 16) & 0x3FFF == self.number
        return key in self.eips or (_is_address(key) and self._was_its_source(key))

    def _touches(self, text: str) -> bool:
        """A range of pods' addresses: whether one of the policy's sources is in it or beside it."""
        first, last = interval(text)
        version = 6 if ":" in text else 4
        mine = [a for pod in self.oracle.pods for a in pod_addresses(pod) if self.oracle.takes_source(self.gone, a)]
        near = 1 << (8 if version == 4 else 64)
        inside = any(a.version == version and first - near <= int(a) <= last + near for a in mine)
        return inside or self._was_its_source(text)

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


def _name(header: str) -> str:
    return header.split()[1] if header else ""


def _jumped(text: str) -> list[str]:
    return _TARGETS.findall(text)


def _is_address(text: str) -> bool:
    return bool(re.fullmatch(r"[0-9a-f.:/-]+", text)) and ("." in text or ":" in text)


def _paragraphs(text: str) -> Mapping[str, str]:
    """By the line that opens the block."""
    found: dict[str, str] = {}
    for paragraph in text.partition("gateway {\n")[2].split("\n\n"):
        opened = [line.strip() for line in paragraph.splitlines() if line.endswith("{") and line.startswith("\t")]
        found[next((line for line in opened if not line.startswith("#")), "")] = paragraph
    return found
