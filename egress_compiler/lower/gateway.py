"""A node's part as a gateway: translate what comes by the tunnel, and own addresses by VRRP.

A gateway holds the translations of every slot that it could own, at all times: the next master is ready
before it is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from egress_compiler.allocate import Allocation, Placement
from egress_compiler.allocate import Slot as AllocatedSlot
from egress_compiler.ir import SnatAnswer, SnatClass, Source, SourceMaps, VirtualAddress, VrrpInstance
from egress_compiler.lower.classes import Classification, Share, TrafficClass
from egress_compiler.lower.tunnel import TunnelLayout
from egress_compiler.lower.uplinks import MAIN, UplinkWays
from egress_compiler.model.cluster import Node
from egress_compiler.model.settings import Settings
from egress_compiler.net import FAMILIES, Family, contains, format_address, format_interval, union
from egress_compiler.numbering import TUNNEL_DEVICE
from egress_compiler.resolve import Resolved

HIGHEST_PRIORITY = 250
PRIORITY_STEP = 20
"""Between two gateways of a slot: keeps their skew times apart, so that one backup speaks first (RFC 5798)."""


NO_SOURCES = SourceMaps((), (), (), ())


@dataclass(frozen=True, slots=True)
class Translation:
    """``own_address_sources`` are those of ``sources`` of which something leaves with the node's own address.

    ``uplink_sources`` are those of which something leaves by a further uplink.  The pods in subnets that are among the
    ones or the others are there, too, whatever they leave with: an exact address counts first.
    """

    sources: SourceMaps
    classes: tuple[SnatClass, ...]
    own_address_sources: SourceMaps
    uplink_sources: SourceMaps


class GatewaySide:
    def __init__(
        self,
        resolved: Resolved,
        allocation: Allocation,
        classification: Classification,
        layout: TunnelLayout,
        ways: UplinkWays,
        settings: Settings,
    ) -> None:
        self._resolved = resolved
        self._allocation = allocation
        self._classification = classification
        self._layout = layout
        self._ways = ways
        self._settings = settings
        self._nodes = {node.name: node for node in resolved.cluster.nodes}
        self._memberships = {
            node.name: frozenset(
                name for name, gateway in resolved.gateways.items() if node.name in {n.name for n in gateway.nodes}
            )
            for node in resolved.cluster.nodes
        }
        self._with_node_ip = frozenset(p.gateway.name for p in resolved.policies if p.policy.use_node_ip)
        self._traffic_classes = classification.classes()
        self._sources: dict[frozenset[str], SourceMaps] = {}
        self._users = self._eip_users()
        self._eips_by_slot: dict[int, list[tuple[Family, int]]] = {}
        for slot, family, value in sorted(self._users):
            self._eips_by_slot.setdefault(slot, []).append((family, value))

    def _eip_users(self) -> dict[tuple[int, Family, int], list[str]]:
        """The policies behind each EIP of each slot."""
        users: dict[tuple[int, Family, int], list[str]] = {}
        for ref, placement in self._allocation.placements.items():
            for family in FAMILIES:
                value = placement.eip.of(family)
                if placement.slot is not None and value is not None:
                    users.setdefault((placement.slot, family, value), []).append(str(ref))
        return users

    def translation(self, node: Node) -> Translation:
        """The sources of the slots ``node`` could own, and what each of their destinations leaves with."""
        member = self._memberships[node.name]
        if not member:
            return Translation(NO_SOURCES, (), NO_SOURCES, NO_SOURCES)
        made = {name: self._class(c, node, member) for name, c in self._traffic_classes.items()}
        classes = tuple(c for c in made.values() if c is not None)
        here = frozenset(c.name for c in classes)
        # Which classes there are is the same for all nodes of the same gateways.
        if member not in self._sources:
            self._sources[member] = self._source_maps(here)
        own = frozenset(c.name for c in classes if any(answer.own for answer in (*c.ipv4, *c.ipv6)))
        further = frozenset(c.name for c in classes if any(answer.uplink for answer in (*c.ipv4, *c.ipv6)))
        return Translation(
            self._sources[member], classes, self._some_sources(own, here), self._some_sources(further, here)
        )

    def _some_sources(self, some: frozenset[str], here: frozenset[str]) -> SourceMaps:
        """The sources of some classes, of all that are ``here``, and the pods of others in their subnets."""
        if not some:
            return NO_SOURCES
        pods: dict[Family, tuple[Source, ...]] = {}
        for family in FAMILIES:
            subnets = self._classification.subnets[family]
            within = union(subnet.interval for subnet in subnets if subnet.source.traffic_class in some)
            pods[family] = tuple(
                pod.source
                for pod in self._classification.pods[family]
                if (name := pod.source.traffic_class) in some or (name in here and contains(within, pod.interval.first))
            )
        return replace(self._source_maps(some), pods4=pods[4], pods6=pods[6])

    def _source_maps(self, classes: frozenset[str]) -> SourceMaps:
        pods, subnets = self._classification.pods, self._classification.subnets
        return SourceMaps(
            pods4=tuple(pod.source for pod in pods[4] if pod.source.traffic_class in classes),
            pods6=tuple(pod.source for pod in pods[6] if pod.source.traffic_class in classes),
            subnets4=tuple(subnet.source for subnet in subnets[4] if subnet.source.traffic_class in classes),
            subnets6=tuple(subnet.source for subnet in subnets[6] if subnet.source.traffic_class in classes),
        )

    def _class(self, traffic_class: TrafficClass, node: Node, member: frozenset[str]) -> SnatClass | None:
        """The class as this gateway translates it; None where none of its policies leaves by this gateway."""
        four, six = (self._answers(f, traffic_class.shares[f], node, member) for f in FAMILIES)
        if not four and not six:
            return None
        policies = tuple(str(self._resolved.policies[p].policy.ref) for p in traffic_class.stack)
        return SnatClass(traffic_class.name, policies, four, six)

    def _answers(
        self, family: Family, shares: Sequence[Share], node: Node, member: frozenset[str]
    ) -> tuple[SnatAnswer, ...]:
        answers: list[SnatAnswer] = []
        for share in shares:
            resolved = self._resolved.policies[share.policy]
            placement = self._allocation.placements[resolved.policy.ref]
            if resolved.gateway.name not in member or placement.slot is None:
                continue
            address = self._address(placement, family, node)
            if address is None and not placement.use_node_ip:
                continue
            destinations = tuple(format_interval(family, i) for i in share.destinations)
            ref = str(resolved.policy.ref)
            own = placement.use_node_ip
            eip = None if own else placement.eip.of(family)
            uplink = MAIN if eip is None else self._ways.number(node, family, eip)
            answers.append(SnatAnswer(destinations, address, placement.slot, ref, own, uplink))
        return tuple(answers)

    def _address(self, placement: Placement, family: Family, node: Node) -> str | None:
        value = node.address(family) if placement.use_node_ip else placement.eip.of(family)
        return None if value is None else format_address(family, value)

    def _slots(self, node: Node) -> list[AllocatedSlot]:
        member = self._memberships[node.name]
        return [slot for slot in self._allocation.slots.values() if slot.gateway in member]

    def eips(self, node: Node, family: Family) -> tuple[str, ...]:
        """The EIPs that ``node`` could own."""
        by_slot = self._eips_by_slot
        values = {v for slot in self._slots(node) for f, v in by_slot.get(slot.number, ()) if f == family}
        return tuple(format_address(family, value) for value in sorted(values))

    def snat_addresses(self, node: Node, family: Family) -> tuple[str, ...]:
        """What governed traffic may leave ``node`` with: the EIPs, and its own address where a policy says so."""
        member = self._memberships[node.name]
        own = node.address(family)
        uses_own = not member.isdisjoint(self._with_node_ip)
        extra = (format_address(family, own),) if own is not None and uses_own else ()
        return (*self.eips(node, family), *extra)

    def vrrp(self, node: Node) -> tuple[VrrpInstance, ...]:
        eips = self._eips_by_slot
        return tuple(self._instance(slot, node, eips.get(slot.number, [])) for slot in self._slots(node))

    def _instance(self, slot: AllocatedSlot, node: Node, eips: Sequence[tuple[Family, int]]) -> VrrpInstance:
        interface = self._layout.uplink(node.name).interface
        step = min(PRIORITY_STEP, HIGHEST_PRIORITY // len(slot.order))
        family = self._layout.underlay_family
        peers = [self._nodes[name].address(family) for name in slot.order if name != node.name]
        devices = [self._ways.device(node, f, value) for f, value in eips]
        return VrrpInstance(
            name=f"slot_{slot.number}",
            slot=slot.number,
            gateway=slot.gateway,
            preferred_node=slot.node,
            vrid=slot.vrid,
            priority=HIGHEST_PRIORITY - step * slot.order.index(node.name),
            interface=interface,
            source=self._layout.underlay(node),
            peers=tuple(format_address(family, peer) for peer in sorted(p for p in peers if p is not None)),
            advert_ms=self._settings.vrrp.advert_ms,
            preempt=self._settings.vrrp.preempt,
            tunnel_vips=tuple(
                VirtualAddress(format_address(f, value), TUNNEL_DEVICE, "tunnel VIP")
                for f, value in slot.tunnel_vips.items()
            ),
            eips=tuple(
                VirtualAddress(format_address(f, value), device, self._named_users(slot.number, f, value))
                for (f, value), device in zip(eips, devices, strict=True)
            ),
            tracked=tuple(sorted({*devices} - {interface})),
        )

    def _named_users(self, slot: int, family: Family, value: int) -> str:
        """The policies that leave with an EIP, the first three by name."""
        names = sorted(self._users[slot, family, value])
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        return ", ".join(names[:3]) + more
