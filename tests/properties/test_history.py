"""Long histories of edits, each compiled with the lock file of the one before: what nobody touched stays."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from egress_compiler.diagnostics import InvalidInput
from egress_compiler.pipeline import Compilation
from tests.properties.compiled import compiled, oracle_of, status_of
from tests.properties.oracle import Key, key_of
from tests.properties.search import examples
from tests.properties.strategies import Json, Scenario, a_pod, cluster_object, document, node_address, pod_cidr

GATEWAYS = ("g0", "g1")
POOL = 8
"""Addresses that a gateway's pool may have."""
NAMES = tuple(f"p{number}" for number in range(9))


def a_member(number: int, gateways: list[str]) -> Json:
    """A node of these gateways."""
    addresses = [{"type": "InternalIP", "address": node_address(number, family)} for family in (4, 6)]
    spec = {"podCIDRs": [pod_cidr(number, family) for family in (4, 6)]}
    labels = {"kubernetes.io/hostname": f"n{number}"} | dict.fromkeys(gateways, "yes")
    return cluster_object("Node", f"n{number}", labels=labels, spec=spec, status={"addresses": addresses})


class History(RuleBasedStateMachine):
    """``nodes``, ``pools`` and ``policies`` are the input of now; ``lock`` is what the last run wrote."""

    def __init__(self) -> None:
        super().__init__()
        self.nodes: dict[int, Json] = {}
        self.away: dict[int, Json] = {}
        self.pools: dict[str, set[int]] = {name: set(range(4)) for name in GATEWAYS}
        self.policies: dict[str, Json] = {}
        self.deleted: dict[str, Json] = {}
        self.pods: list[Json] = []
        self.defaults: dict[str, Json] = {name: {} for name in GATEWAYS}
        self.released: dict[str, set[int]] = {name: set() for name in GATEWAYS}
        self.groups: Mapping[str, tuple[str, ...]] = {}
        self.numbers: dict[int, str] = {}
        """Who had each answer number, in all runs."""
        self.lock: str | None = None
        self.before: dict[Key, tuple[Json, Json]] = {}

    # -------------------------------------------------------------------------------------------------------- edits

    @initialize(memberships=st.lists(st.sampled_from([["g0"], ["g0", "g1"], ["g1"], []]), min_size=2, max_size=5))
    def begin(self, memberships: list[list[str]]) -> None:
        self.nodes = {number: a_member(number, some) for number, some in enumerate([["g0", "g1"], *memberships], 1)}
        self.compile()

    @rule(name=st.sampled_from(NAMES), gateway=st.sampled_from(GATEWAYS), data=st.data())
    def write_a_policy(self, name: str, gateway: str, data: st.DataObject) -> None:
        """A new one, or another in its place."""
        index = data.draw(st.sampled_from(sorted(self.pools[gateway])))
        choices: list[Json] = [{}, {"allocatorPolicy": "rr"}, {"allocatorPolicy": "rr"}, {"useNodeIP": True}]
        wanted = data.draw(st.sampled_from([*choices, {"ipv4": f"10.0.0.{_first(gateway) + index}"}]))
        applied = {"podSelector": {"matchLabels": {"app": "web"}}}
        spec = {"egressGatewayName": gateway, "egressIP": wanted, "appliedTo": applied}
        self.policies[name] = document("EgressPolicy", name, spec, "a")
        self.compile()

    @precondition(lambda self: self.policies)
    @rule(data=st.data(), priority=st.integers(1, 9))
    def change_what_moves_nothing(self, data: st.DataObject, priority: int) -> None:
        policy = self.policies[data.draw(st.sampled_from(sorted(self.policies)))]
        self.policies[policy["metadata"]["name"]] = policy | {"spec": policy["spec"] | {"priority": priority}}
        self.compile()

    @precondition(lambda self: self.policies)
    @rule(data=st.data())
    def delete_a_policy(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.policies)))
        self.deleted[name] = self.policies.pop(name)
        self.compile()

    @precondition(lambda self: self.deleted.keys() - self.policies.keys())
    @rule(data=st.data())
    def bring_a_policy_back(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.deleted.keys() - self.policies.keys())))
        policy = self.deleted.pop(name)
        wanted = policy["spec"]["egressIP"].get("ipv4", "")
        gateway = policy["spec"]["egressGatewayName"]
        if not wanted or int(wanted.rpartition(".")[2]) - _first(gateway) in self.pools[gateway]:
            self.policies[name] = policy
            self.compile()

    @precondition(lambda self: len(self.nodes) > 1)
    @rule(data=st.data())
    def lose_a_node(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.nodes)))
        self.away[number] = self.nodes.pop(number)
        self.pods = [pod for pod in self.pods if pod["spec"]["nodeName"] != f"n{number}"]
        self.compile()

    @precondition(lambda self: self.away)
    @rule(data=st.data())
    def bring_a_node_back(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.away)))
        self.nodes[number] = self.away.pop(number)
        self.compile()

    @rule(number=st.integers(6, 7), gateways=st.lists(st.sampled_from(GATEWAYS), unique=True))
    def add_a_node(self, number: int, gateways: list[str]) -> None:
        if number not in self.nodes and number not in self.away:
            self.nodes[number] = a_member(number, gateways)
            self.compile()

    @rule(pod=a_pod(1, (4, 6), 3))
    def change_the_pods(self, pod: Json) -> None:
        self.pods = [pod] if 1 in self.nodes and not self.pods else []
        self.compile()

    @rule(gateway=st.sampled_from(GATEWAYS), index=st.integers(0, POOL - 1))
    def change_a_pool(self, gateway: str, index: int) -> None:
        """By one pair, where nobody names it; what is in use leaves only where it is released."""
        changed = self.pools[gateway] ^ {index}
        texts = {f"10.0.0.{_first(gateway) + index}", f"fd00::{_first(gateway) + index:x}"}
        named = {policy["spec"]["egressIP"].get("ipv4") for policy in self.policies.values()}
        if not changed or texts & named or texts & set(self.defaults[gateway].values()):
            return
        self.pools[gateway] = changed
        self.released[gateway].discard(index)
        if index not in changed and any(texts & set(status["eip"].values()) for _, status in self.before.values()):
            with pytest.raises(InvalidInput) as refused:
                self.compile()
            assert {d.code for d in refused.value.diagnostics if d.severity == "error"} == {"eip-withdrawn"}
            self.released[gateway].add(index)
        self.compile()

    @rule(gateway=st.sampled_from(GATEWAYS), data=st.data())
    def write_the_defaults(self, gateway: str, data: st.DataObject) -> None:
        """Any two of the pool, one, or none."""
        four, six = (data.draw(st.sampled_from([None, *sorted(self.pools[gateway])])) for _ in range(2))
        self.defaults[gateway] = {} if four is None else {"ipv4DefaultEIP": f"10.0.0.{_first(gateway) + four}"}
        self.defaults[gateway] |= {} if six is None else {"ipv6DefaultEIP": f"fd00::{_first(gateway) + six:x}"}
        self.compile(moved=True, default_of=gateway)

    @rule(data=st.data())
    def pin_an_eip(self, data: st.DataObject) -> None:
        """As ``move`` does it: with all that shares its node."""
        lock = json.loads(self.lock or "{}")
        members = {key: self._members(key.partition("/")[0]) for key in sorted(lock.get("eips", {}))}
        possible = [key for key, names in members.items() if names]
        if possible:
            key = data.draw(st.sampled_from(possible))
            node = data.draw(st.sampled_from(sorted(members[key])))
            keys = self.groups.get(key, (key,))
            lock["eips"] |= {one: {"node": node, "pinned": True} for one in keys}
            self.compile(json.dumps(lock), moved=True)
            assert all(self._eips()[one] == {"node": node, "pinned": True} for one in keys)

    @rule()
    def rebalance(self) -> None:
        pins = {key: entry["node"] for key, entry in self._eips().items() if entry.get("pinned")}
        loads = self._loads()
        self.compile(self.lock, moved=True, rebalance=True)
        assert {key: entry["node"] for key, entry in self._eips().items() if entry.get("pinned")} == pins
        for gateway, load in self._loads().items():
            assert max(load.values()) <= max(loads[gateway].values())
        settled = self.lock
        self.compile(self.lock, rebalance=True)
        assert self.lock == settled

    # -------------------------------------------------------------------------------------------------- what must hold

    def compile(
        self, lock: str | None = None, *, moved: bool = False, rebalance: bool = False, default_of: str = ""
    ) -> None:
        """One run.  ``moved``: somebody asked for other nodes of EIPs; ``default_of``: and for another default."""
        scenario = self._scenario()
        given = lock or self.lock
        made = compiled(scenario, given, random.Random(len(self.policies)), rebalance=rebalance)
        oracle = oracle_of(scenario, made)
        assert oracle.broken_rules(fresh=False) == []
        now = {key_of(item): item["status"] for item in status_of(made)}
        specs = {key_of(policy): policy["spec"] for policy in self.policies.values()}
        for key, (spec, status) in self.before.items():
            if key in specs and _placing(specs[key]) == _placing(spec) and spec["egressGatewayName"] != default_of:
                self._check_stayed(key, spec, status, now[key], moved=moved)
        self._check_lock(json.loads(given) if given else None, json.loads(made.lock_text), made)
        self.before = {key: (spec, now[key]) for key, spec in specs.items()}
        self.lock, self.groups = made.lock_text, made.allocation.groups

    def _check_stayed(self, key: Key, spec: Json, old: Json, new: Json, *, moved: bool) -> None:
        gateway = spec["egressGatewayName"]
        kept = {name: text for name, text in old["eip"].items() if not self._was_released(gateway, text)}
        if kept != old["eip"]:
            return  # the pool has its EIP no more
        assert new["eip"] == old["eip"], key
        members, entries = self._members(gateway), json.loads(self.lock or "{}").get("eips", {})
        own = f"{gateway}/{old['eip'].get('ipv4')}"
        pins = {e["node"] for k in self.groups.get(own, ()) if (e := entries.get(k, {})).get("pinned")} & members
        if pins and not moved:
            assert new["node"] in pins, key  # back where it is pinned, or never away
        elif old["node"] in members and not moved:
            assert new["node"] == old["node"], key

    def _was_released(self, gateway: str, text: str) -> bool:
        number = int(text.rpartition(".")[2]) if "." in text else int(text.rpartition(":")[2], 16)
        return number - _first(gateway) not in self.pools[gateway]

    def _members(self, gateway: str) -> set[str]:
        return {n["metadata"]["name"] for n in self.nodes.values() if gateway in n["metadata"]["labels"]}

    def _check_lock(self, old: Json | None, new: Json, made: Compilation) -> None:
        """Numbers stay, and nothing is kept of what is gone: the lock grows with the configuration alone."""
        for section in ("nodes", "slots", "answers"):
            for key in new[section].keys() & (old or {}).get(section, {}).keys():
                assert new[section][key] == (old or {})[section][key], f"{section} {key}"
        assert set(new["nodes"]) == {node["metadata"]["name"] for node in self.nodes.values()}
        assert set(new["policies"]) == {f"EgressPolicy a/{name}" for name in self.policies}
        placed = [p for p in made.allocation.placements.values() if p.slot is not None]
        in_use = {p.eip.text for p in placed if not p.use_node_ip}
        rest = [entry for key, entry in new["eips"].items() if key.partition("/")[2] not in in_use]
        assert len(new["eips"]) - len(rest) == len(in_use)
        assert all(entry["pinned"] for entry in rest)
        used = {p.slot for p in placed}
        assert {entry["slot"] for entry in new["slots"].values()} == used
        assert set(new["gateways"]) == set(GATEWAYS)
        self._check_answers(new, made)
        self._check_gone(old or {}, new, made)

    def _check_answers(self, new: Json, made: Compilation) -> None:
        """Each policy with its EIP has one; it is nobody else's, nor was, and no rule of others matches it."""
        eips = {key: entry.get("ipv4") or "nodeIP" for key, entry in new["policies"].items()}
        assert set(new["answers"]) == {f"{policy} {eip}" for policy, eip in eips.items()}
        for key, number in new["answers"].items():
            assert self.numbers.setdefault(number, key) == key, number
            assert 0 < number < 0x3FFF
            assert number & 0xF00 not in (0x200, 0xA00, 0xB00, 0xD00, 0xE00)
        assert new.get("lastAnswer", 0) == max(self.numbers, default=0)
        by_policy = {str(ref): number for ref, number in made.allocation.answers.items()}
        assert by_policy == {key.rpartition(" ")[0]: number for key, number in new["answers"].items()}

    def _check_gone(self, old: Json, new: Json, made: Compilation) -> None:
        """A number that no policy has any more leads where it led, as long as a policy of the gateway leaves there."""
        placed = {str(ref) for ref, placement in made.allocation.placements.items() if placement.slot is not None}
        users = {
            _left_with(entry): new["answers"][_answer(policy, entry)]
            for policy, entry in new["policies"].items()
            if policy in placed
        }
        had = {_answer(policy, entry): entry for policy, entry in old.get("policies", {}).items()} | old.get("gone", {})
        went = {key: _left_with(entry) for key, entry in had.items() if key not in new["answers"]}
        gone = new.get("gone", {})
        assert set(gone) == {key for key, left in went.items() if left in users}
        for key, entry in gone.items():
            number = old["gone"][key]["number"] if key in old.get("gone", {}) else old["answers"][key]
            assert entry["number"] == number, key
            for plan in made.plans:
                given = {one.number: one for one in plan.gateway.translations} if plan.gateway else {}
                before, same = given.get(entry["number"]), given.get(users[went[key]])
                assert (before is None) == (same is None)
                if before and same:
                    assert (before.addresses, before.slot, before.own) == (same.addresses, same.slot, same.own)
                    assert before.gone

    def _scenario(self) -> Scenario:
        gateways = [
            document(
                "EgressGateway",
                name,
                {
                    "ippools": {
                        "ipv4": [f"10.0.0.{_first(name) + index}" for index in sorted(pool)],
                        "ipv6": [f"fd00::{_first(name) + index:x}" for index in sorted(pool)],
                        **self.defaults[name],
                    },
                    "nodeSelector": {"selector": {"matchLabels": {name: "yes"}}},
                },
            )
            for name, pool in self.pools.items()
        ]
        for gateway in gateways:
            first, given_up = _first(gateway["metadata"]["name"]), self.released[gateway["metadata"]["name"]]
            texts = [f"10.0.0.{first + index}, fd00::{first + index:x}" for index in sorted(given_up)]
            gateway["metadata"]["annotations"] = {"egressgateway.spidernet.io/released-eips": ", ".join(texts)}
        services = cluster_object("ServiceCIDR", "kubernetes", spec={"cidrs": ["10.2.0.0/24", "fd00:2::/120"]})
        objects = (*self.nodes.values(), cluster_object("Namespace", "a"), services, *self.pods)
        return Scenario((*gateways, *self.policies.values()), objects)

    def _eips(self) -> dict[str, Any]:
        return dict(json.loads(self.lock or "{}").get("eips", {}))

    def _loads(self) -> dict[str, Counter[str]]:
        """Policies on each node, by gateway."""
        loads = {name: Counter({"": 0}) for name in GATEWAYS}
        for spec, status in self.before.values():
            loads[spec["egressGatewayName"]][status["node"]] += 1
        return loads


def _first(gateway: str) -> int:
    """The last octet of the first address that its pool may have."""
    return 64 + 16 * GATEWAYS.index(gateway)


def _answer(policy: str, entry: Json) -> str:
    return f"{policy} {entry.get('ipv4') or 'nodeIP'}"


def _left_with(entry: Json) -> tuple[str, ...]:
    return tuple(entry.get(name, "") for name in ("gateway", "ipv4", "ipv6", "node"))


def _placing(spec: Json) -> Json:
    """What of a policy decides its EIP and node."""
    return {key: spec.get(key) for key in ("egressGatewayName", "egressIP")}


TestHistory = History.TestCase
TestHistory.settings = hypothesis_settings(examples(12), stateful_step_count=16)
