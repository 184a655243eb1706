"""The NodePlan of every node, from the allocation and the classified sources."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import NamedTuple

from egress_compiler.allocate import Allocation
from egress_compiler.classify import Classified, classify
from egress_compiler.contract.plan import (
    PLAN_VERSION,
    Answer,
    Both,
    Follow,
    Gate,
    GatewayRole,
    KernelPart,
    NodePlan,
    PolicyChain,
    Slot,
    WorkerRole,
)
from egress_compiler.lower.gateway import GatewayRoles
from egress_compiler.lower.last_resort import LastResorts
from egress_compiler.lower.members import ClusterMembers, plan_slot
from egress_compiler.lower.policies import PolicyChains
from egress_compiler.lower.sources import governed_ranges
from egress_compiler.lower.sync import SyncGroups
from egress_compiler.lower.system import fallback_sysctls, node_sysctls
from egress_compiler.lower.tunnel import TunnelLayout
from egress_compiler.lower.unknown import UnknownSources
from egress_compiler.lower.uplinks import UplinkTables
from egress_compiler.lower.worker import WorkerRoles
from egress_compiler.model.cluster import Node
from egress_compiler.model.settings import Settings, Uplink
from egress_compiler.net import FAMILIES, format_interval
from egress_compiler.resolve import Resolved


class LoweredPolicy(NamedTuple):
    """A policy on every node that asks it; ``answer`` and ``slot`` are None where it has no address to leave with."""

    chain: PolicyChain
    answer: Answer | None
    slot: Slot | None


class Lowering:
    """Makes the plan of each node that is asked for; what nodes share is made once.

    Where nodes follow their pods, no plan has any, nor anything that depends on one; ``members`` are for that then.
    """

    def __init__(
        self, classified: Classified, allocation: Allocation, settings: Settings, uplinks: Mapping[str, Uplink]
    ) -> None:
        if classified.resolved.followed:
            classified = classify(classified.resolved.without_pods())
        resolved = self._resolved = classified.resolved
        self._allocation = allocation
        self._advert_ms = settings.vrrp.advert_ms
        self._nodes = {node.name: node for node in resolved.cluster.nodes}
        self._layout = TunnelLayout(resolved, allocation, settings, uplinks)
        self._uplinks = UplinkTables(self._layout)
        unknown = UnknownSources(resolved, classified, settings.unknown_pods)
        self._chains = PolicyChains(resolved, allocation)
        self._workers = WorkerRoles(resolved, allocation, classified, self._chains, unknown)
        ranges = governed_ranges(resolved)
        groups = SyncGroups(resolved, self._layout, settings, ranges)
        self._gateways = GatewayRoles(resolved, allocation, self._layout, self._uplinks, groups, settings, ranges)
        self._last_resorts = LastResorts(resolved)
        self._cutting = frozenset(str(policy.policy.ref) for policy in resolved.policies if policy.policy.cut)
        four, six = (tuple(format_interval(f, i) for i in resolved.inside[f]) for f in FAMILIES)
        self._inside = Both(four, six)
        self._follow = _follow(resolved, settings) if resolved.followed else None
        self.members = ClusterMembers(resolved, allocation, self._chains)

    def policy(self, position: int) -> LoweredPolicy:
        """By its position in ``resolved.policies``."""
        answer = self._chains.answer(position)
        slot = plan_slot(self._resolved, self._allocation, answer.slot) if answer is not None else None
        return LoweredPolicy(self._chains.chain(position), answer, slot)

    def plan(self, name: str) -> NodePlan:
        node = self._nodes[name]
        worker, gateway = self._workers.of(node), self._gateways.of(node)
        default_device = self._layout.uplink(name).default_device(4)
        named = {policy.origin for policy in worker.policies}
        named |= {translation.origin for translation in gateway.translations} if gateway is not None else set()
        return NodePlan(
            version=PLAN_VERSION,
            node=name,
            role="worker" if gateway is None else "gateway",
            inside=self._inside,
            kernel=self._kernel(node, worker, gateway),
            worker=worker,
            gateway=gateway,
            last_resort=self._last_resorts.of(node, worker, default_device, is_gateway=gateway is not None),
            cut=tuple(sorted(named & self._cutting)),
            follow=self._follow,
        )

    def _kernel(self, node: Node, worker: WorkerRole, gateway: GatewayRole | None) -> KernelPart:
        layout, families = self._layout, self._resolved.families
        interface = layout.uplink(node.name).interface
        tables = gateway.uplinks if gateway is not None else ()
        falls_back = any(slot.falls_back for slot in worker.slots)
        falls_back |= self._follow is not None and self._follow.falls_back
        fallback = fallback_sysctls(families, self._advert_ms) if falls_back else ()
        return KernelPart(
            families=families,
            interface=interface,
            tunnel=layout.tunnel(node),
            veth=layout.veth(node),
            peers=layout.peers(node),
            sysctls=node_sysctls(gateway is not None, families, interface, tables, fallback),
        )


def _follow(resolved: Resolved, settings: Settings) -> Follow:
    falls_back = any(gateway.nodes and gateway.gateway.falls_back for gateway in resolved.gateways.values())
    gate = settings.membership.gate
    return Follow(
        kubeconfig=settings.membership.kubeconfig,
        falls_back=falls_back,
        gate=Gate(**asdict(gate)) if gate is not None else None,
    )
