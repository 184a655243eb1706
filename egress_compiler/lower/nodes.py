"""The NodePlan of every node, from the allocation and the traffic classes."""

from __future__ import annotations

from collections.abc import Mapping

from egress_compiler.allocate import Allocation
from egress_compiler.ir import PLAN_VERSION, NodePlan
from egress_compiler.lower.classes import classify
from egress_compiler.lower.gateway import GatewaySide
from egress_compiler.lower.last_resort import SecondLine
from egress_compiler.lower.sync import SyncGroups
from egress_compiler.lower.system import fallback_sysctls, node_sysctls
from egress_compiler.lower.tunnel import TunnelLayout
from egress_compiler.lower.unknown import UnknownSources
from egress_compiler.lower.uplinks import UplinkWays
from egress_compiler.lower.worker import WorkerSide
from egress_compiler.model.cluster import Node
from egress_compiler.model.settings import Settings, Uplink
from egress_compiler.net import FAMILIES, Family, format_interval, union
from egress_compiler.resolve import Resolved


def lower(
    resolved: Resolved, allocation: Allocation, settings: Settings, uplinks: Mapping[str, Uplink]
) -> tuple[NodePlan, ...]:
    """One plan for each node of the cluster, sorted by name."""
    classification = classify(resolved.cluster.pods, resolved.policies)
    layout = TunnelLayout(resolved, allocation, settings, uplinks)
    unknown = UnknownSources(resolved, classification, settings.unknown_pods)
    worker = WorkerSide(resolved, allocation, classification, layout, unknown)
    ways = UplinkWays(layout)
    gateway = GatewaySide(resolved, allocation, classification, layout, ways, settings)
    groups = SyncGroups(resolved, layout, settings)
    cutting = frozenset(str(policy.policy.ref) for policy in resolved.policies if policy.policy.cut)
    covered = {f: union(i for policy in resolved.policies for i in policy.hosts[f]) for f in FAMILIES}
    second = SecondLine(resolved.inside, covered, resolved.families)
    inside = {f: tuple(format_interval(f, i) for i in resolved.inside[f]) for f in FAMILIES}
    return tuple(
        _node(node, resolved, layout, ways, worker, gateway, groups, second, cutting, inside, settings.vrrp.advert_ms)
        for node in resolved.cluster.nodes
    )


def _node(
    node: Node,
    resolved: Resolved,
    layout: TunnelLayout,
    ways: UplinkWays,
    worker: WorkerSide,
    gateway: GatewaySide,
    groups: SyncGroups,
    second: SecondLine,
    cutting: frozenset[str],
    inside: Mapping[Family, tuple[str, ...]],
    advert_ms: int,
) -> NodePlan:
    is_gateway = layout.is_gateway(node.name)
    steering = worker.steering(node)
    slots = worker.slots(steering)
    translation = gateway.translation(node)
    falls_back = any(slot.falls_back for slot in slots)
    named = {name for steer in steering.classes for name in steer.policies}
    named |= {name for snat in translation.classes for name in snat.policies}
    return NodePlan(
        version=PLAN_VERSION,
        node=node.name,
        role="gateway" if is_gateway else "worker",
        interface=layout.uplink(node.name).interface,
        tunnel=layout.tunnel(node),
        wire=layout.wire(node),
        peers=layout.peers(node),
        inside4=inside[4],
        inside6=inside[6],
        slots=slots,
        rules=(*worker.rules(slots), *layout.wire_rules(node), *layout.reply_rules(node), *ways.rules(node)),
        routes=(*worker.routes(slots), *layout.wire_routes(node), *layout.reply_routes(node), *ways.routes(node)),
        last_resort=second.of(steering.sources, layout.uplink(node.name).default_device(4), is_gateway=is_gateway),
        steer_sources=steering.sources,
        steer_classes=steering.classes,
        snat_sources=translation.sources,
        snat_classes=translation.classes,
        own_address_sources=translation.own_address_sources,
        uplinks=ways.tables(node),
        uplink_sources=translation.uplink_sources,
        eips4=gateway.eips(node, 4),
        eips6=gateway.eips(node, 6),
        own6=ways.own6(node),
        snat_addresses4=gateway.snat_addresses(node, 4),
        snat_addresses6=gateway.snat_addresses(node, 6),
        vrrp=gateway.vrrp(node),
        cut=tuple(sorted(named & cutting)),
        gateway_peers=groups.peers(node),
        sync=groups.sync(node),
        sysctls=node_sysctls(
            is_gateway,
            resolved.families,
            layout.uplink(node.name).interface,
            ways.tables(node),
            fallback_sysctls(resolved.families, advert_ms) if falls_back else (),
        ),
    )
