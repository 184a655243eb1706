"""The NodePlan of each node, from the allocation and the traffic classes."""

from __future__ import annotations

from collections.abc import Mapping

from egress_compiler.allocate import Allocation
from egress_compiler.classify import Classified
from egress_compiler.ir import PLAN_VERSION, NodePlan
from egress_compiler.lower.classes import traffic_classes
from egress_compiler.lower.gateway import GatewaySide
from egress_compiler.lower.last_resort import SecondLine
from egress_compiler.lower.sync import SyncGroups
from egress_compiler.lower.system import fallback_sysctls, node_sysctls
from egress_compiler.lower.tunnel import TunnelLayout
from egress_compiler.lower.unknown import UnknownSources
from egress_compiler.lower.uplinks import UplinkWays
from egress_compiler.lower.worker import WorkerSide
from egress_compiler.model.settings import Settings, Uplink
from egress_compiler.net import FAMILIES, format_interval, union


class Lowering:
    """Makes the plans of single nodes; what all of them share is made once."""

    def __init__(
        self, classified: Classified, allocation: Allocation, settings: Settings, uplinks: Mapping[str, Uplink]
    ) -> None:
        resolved, classification = classified.resolved, traffic_classes(classified)
        self._resolved = resolved
        self._nodes = {node.name: node for node in resolved.cluster.nodes}
        self._advert_ms = settings.vrrp.advert_ms
        self._layout = TunnelLayout(resolved, allocation, settings, uplinks)
        unknown = UnknownSources(resolved, classification, settings.unknown_pods)
        self._worker = WorkerSide(resolved, allocation, classification, self._layout, unknown)
        self._ways = UplinkWays(self._layout)
        self._gateway = GatewaySide(resolved, allocation, classification, self._layout, self._ways, settings)
        self._groups = SyncGroups(resolved, self._layout, settings)
        self._cutting = frozenset(str(policy.policy.ref) for policy in resolved.policies if policy.policy.cut)
        covered = {f: union(i for policy in resolved.policies for i in policy.hosts[f]) for f in FAMILIES}
        self._second = SecondLine(resolved.inside, covered, resolved.families)
        self._inside = {f: tuple(format_interval(f, i) for i in resolved.inside[f]) for f in FAMILIES}

    def plan(self, name: str) -> NodePlan:
        """The plan of one node of the cluster.  Raises KeyError where there is none of that name."""
        node, layout, ways = self._nodes[name], self._layout, self._ways
        worker, gateway, resolved = self._worker, self._gateway, self._resolved
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
            inside4=self._inside[4],
            inside6=self._inside[6],
            slots=slots,
            rules=(*worker.rules(slots), *layout.wire_rules(node), *layout.reply_rules(node), *ways.rules(node)),
            routes=(*worker.routes(slots), *layout.wire_routes(node), *layout.reply_routes(node), *ways.routes(node)),
            last_resort=self._second.of(
                steering.sources, layout.uplink(node.name).default_device(4), is_gateway=is_gateway
            ),
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
            cut=tuple(sorted(named & self._cutting)),
            gateway_peers=self._groups.peers(node),
            sync=self._groups.sync(node),
            sysctls=node_sysctls(
                is_gateway,
                resolved.families,
                layout.uplink(node.name).interface,
                ways.tables(node),
                fallback_sysctls(resolved.families, self._advert_ms) if falls_back else (),
            ),
        )
