"""What each node gets, made when somebody asks for it: explaining one pod takes three nodes of five thousand."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

from egress_compiler.allocate import Allocation
from egress_compiler.classify import Classified
from egress_compiler.contract.plan import NodePlan
from egress_compiler.lower import LoweredPolicy, Lowering
from egress_compiler.model.settings import Settings, Uplink
from egress_compiler.render import node_files
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
        self._files: dict[str, Mapping[str, str]] = {}

    def plan(self, node: str) -> NodePlan:
        """Raises KeyError where there is no such node."""
        if node not in self._plans:
            self._plans[node] = self._lowering.plan(node)
        return self._plans[node]

    def files(self, node: str) -> Mapping[str, str]:
        """Name to text of the node's files, sorted.  Raises KeyError where there is no such node."""
        if node not in self._files:
            self._files[node] = dict(sorted(node_files(self.plan(node), self.descriptions).items()))
        return self._files[node]

    def policy(self, position: int) -> LoweredPolicy:
        """What a policy, by its position among the resolved ones, is on every node that asks it."""
        return self._lowering.policy(position)

    @cached_property
    def _lowering(self) -> Lowering:
        return Lowering(*self._stages)

    @cached_property
    def descriptions(self) -> dict[str, str]:
        return descriptions(self._stages[0].resolved)


def descriptions(resolved: Resolved) -> dict[str, str]:
    """The user's words about each policy and gateway, by kind and name."""
    policies = {str(p.policy.ref): p.policy.description for p in resolved.policies}
    gateways = {f"EgressGateway {name}": g.gateway.description for name, g in resolved.gateways.items()}
    return policies | gateways
