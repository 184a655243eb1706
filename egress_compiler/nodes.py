"""What each node gets, made when somebody asks for it: explaining one pod takes three nodes of five thousand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

from egress_compiler.allocate import Allocation
from egress_compiler.classify import Classified
from egress_compiler.contract.members import MEMBERS
from egress_compiler.contract.membership import Known, KnownPod, with_pods
from egress_compiler.contract.plan import NodePlan
from egress_compiler.labels import Labels
from egress_compiler.lower import LoweredPolicy, Lowering
from egress_compiler.model.cluster import Pod
from egress_compiler.model.settings import Settings, Uplink
from egress_compiler.net import format_address
from egress_compiler.render import FIRST_POLICY, members_json, node_files
from egress_compiler.resolve import Resolved

NODES = "nodes"
"""The directory of the bundle with one directory for each node."""


class Nodes:
    """The plans and files of the cluster's nodes, each made once; ``names`` are sorted."""

    def __init__(
        self, classified: Classified, allocation: Allocation, settings: Settings, uplinks: Mapping[str, Uplink]
    ) -> None:
        resolved = classified.resolved
        self.names = tuple(node.name for node in resolved.cluster.nodes)
        self.gateways = tuple(sorted({node.name for gateway in resolved.gateways.values() for node in gateway.nodes}))
        self._stages = (classified, allocation, settings, uplinks)
        self._plans: dict[str, NodePlan] = {}
        self._effective: dict[str, NodePlan] = {}
        self._files: dict[str, Mapping[str, str]] = {}

    def plan(self, node: str) -> NodePlan:
        """Raises KeyError where there is no such node."""
        if node not in self._plans:
            self._plans[node] = self._lowering.plan(node)
        return self._plans[node]

    def effective(self, node: str) -> NodePlan:
        """The plan with the pods that the cluster files have there: also where the node follows its pods by itself."""
        if not self._resolved.followed:
            return self.plan(node)
        if node not in self._effective:
            self._effective[node] = with_pods(self.plan(node), self._lowering.members, self.known(node))
        return self._effective[node]

    def member_line(self, policy: str) -> int:
        """The number of the line of members.json that has a policy, by the name of its chain."""
        member = self._lowering.members.named(policy)
        if member is None:
            raise KeyError(policy)
        return FIRST_POLICY + member.rank

    def slot_line(self, number: int) -> int:
        """The same of a slot."""
        stages = self._stages
        return FIRST_POLICY + len(self._resolved.policies) + 2 + sorted(stages[1].slots).index(number)

    def shared_files(self) -> Mapping[str, str]:
        """Name to text of the files that nodes which follow their pods have all alike; none where they do not."""
        if not self._resolved.followed:
            return {}
        members = self._lowering.members
        return {MEMBERS: members_json(members.policies, members.slots, members.gone)}

    def files(self, node: str) -> Mapping[str, str]:
        """Name to text of the node's files, sorted.  Raises KeyError where there is no such node."""
        if node not in self._files:
            self._files[node] = dict(sorted(node_files(self.plan(node), self.descriptions).items()))
        return self._files[node]

    def policy(self, position: int) -> LoweredPolicy:
        """What a policy, by its position among the resolved ones, is on every node that asks it."""
        return self._lowering.policy(position)

    def known(self, node: str) -> Known:
        """What a node knows that has the pods of the cluster files; none where there is no such node."""
        return Known(tuple(map(_known_pod, self._pods.get(node, ()))), self._namespaces)

    @cached_property
    def _pods(self) -> Mapping[str, Sequence[Pod]]:
        found: dict[str, list[Pod]] = {}
        for pod in self._resolved.cluster.pods:
            found.setdefault(pod.node, []).append(pod)
        return found

    @cached_property
    def _namespaces(self) -> Mapping[str, Labels]:
        return {namespace.name: namespace.labels for namespace in self._resolved.cluster.namespaces}

    @property
    def _resolved(self) -> Resolved:
        return self._stages[0].resolved

    @cached_property
    def _lowering(self) -> Lowering:
        return Lowering(*self._stages)

    @cached_property
    def descriptions(self) -> dict[str, str]:
        return descriptions(self._resolved)


def _known_pod(pod: Pod) -> KnownPod:
    addresses = tuple(format_address(family, value) for family, value in pod.addresses)
    return KnownPod(pod.namespace, pod.name, "", pod.labels, addresses)


def descriptions(resolved: Resolved) -> dict[str, str]:
    """The user's words about each policy and gateway, by kind and name."""
    policies = {str(p.policy.ref): p.policy.description for p in resolved.policies}
    gateways = {f"EgressGateway {name}": g.gateway.description for name, g in resolved.gateways.items()}
    return policies | gateways
