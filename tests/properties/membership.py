"""Scenarios in which nodes follow their pods by themselves: what a node makes of members.json and of what it knows."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

from hypothesis import strategies as st

from egress_compiler.contract.members_file import MembersFile
from egress_compiler.contract.membership import Known, KnownPod, with_pods
from egress_compiler.contract.membership_ruleset import script
from egress_compiler.contract.plan import NodePlan
from egress_compiler.contract.reading import read_plan
from egress_compiler.pipeline import Compilation
from egress_compiler.render import node_files
from tests.properties.oracle import labels_of, pod_addresses
from tests.properties.strategies import Json, Scenario, a_pod, crowds, families_of, scenarios


def followed(scenario: Scenario) -> Scenario:
    return replace(scenario, settings={**scenario.settings, "membership": "followed"})


class FollowingNode:
    """A node with nothing but its files, as the compiler wrote them."""

    def __init__(self, name: str, files: Mapping[str, str]) -> None:
        self.files = {path.split("/")[2]: t for path, t in files.items() if path.startswith(f"nodes/{name}/")}
        self.members = MembersFile(io.BytesIO(files["members.json"].encode()))

    @cached_property
    def static(self) -> NodePlan:
        return read_plan(self.files["plan.json"], self.files["nftables.nft"])

    def effective(self, known: Known) -> NodePlan:
        return with_pods(self.static, self.members, known)

    def commands(self, before: NodePlan, after: NodePlan) -> str:
        return script(before, after, self.members.lines)

    def ruleset(self, effective: NodePlan) -> str:
        """As the node loads it at boot."""
        return self.files["nftables.nft"] + self.commands(self.static, effective)


def nodes_of(compilation: Compilation) -> dict[str, FollowingNode]:
    return {name: FollowingNode(name, compilation.files) for name in compilation.nodes.names}


def known_pod(pod: Mapping[str, Any]) -> KnownPod:
    metadata = pod["metadata"]
    addresses = tuple(dict.fromkeys(map(str, pod_addresses(pod))))
    return KnownPod(metadata["namespace"], metadata["name"], "", labels_of(pod), addresses)


def known(pods: Iterable[Mapping[str, Any]], objects: Iterable[Mapping[str, Any]]) -> Known:
    """These pods, and the namespaces among the cluster's objects."""
    namespaces = {o["metadata"]["name"]: labels_of(o) for o in objects if o["kind"] == "Namespace"}
    return Known(tuple(map(known_pod, pods)), namespaces)


def routing_files(plan: NodePlan) -> dict[str, str]:
    """What ip reads of a plan with pods."""
    return {name: text for name, text in node_files(plan, {}).items() if name.startswith("routes")}


@st.composite
def histories(draw: st.DrawFn) -> tuple[Scenario, list[list[Json]]]:
    """A scenario, and the pods of the cluster at some moments one after the other."""
    scenario = draw(st.one_of(scenarios(), crowds()))
    families, nodes = families_of(scenario), len(scenario.of_kind("Node"))
    every = [pod for pod in scenario.of_kind("Pod") if pod["status"].get("podIPs")]
    for number in range(draw(st.integers(0, 4))):
        pod = draw(a_pod(nodes, families, 30 + number))
        every += [pod] if pod["status"].get("podIPs") else []
    moments = [draw(st.lists(st.sampled_from(every), unique_by=id)) if every else [] for _ in range(4)]
    return scenario, moments
