"""A node's part as a gateway: translate what comes by the tunnel, and own addresses by VRRP.

A gateway holds the translations of every slot that it could own, at all times: the next master is ready
before it is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from egress_compiler.allocate import Allocation, Placement
from egress_compiler.allocate import Slot as AllocatedSlot
from egress_compiler.ir import SnatAnswer, SnatClass, Source, SourceMaps, VirtualAddress, VrrpInstance
from egress_compiler.lower.classes import Classification, Share, TrafficClass
from egress_compiler.lower.tunnel import TunnelLayout
from egress_compiler.model.cluster import Node
from egress_compiler.model.settings import Settings
from egress_compiler.net import FAMILIES, Family, format_address, format_interval
from egress_compiler.numbering import TUNNEL_DEVICE
from egress_compiler.resolve import Resolved

HIGHEST_PRIORITY = 250
PRIORITY_STEP = 20
"""Between two gateways of a slot: keeps their skew times apart, so that one backup speaks first (RFC 5798)."""


@dataclass(frozen=True, slots=True)
class Translation:
    sources: SourceMaps
    classes: tuple[SnatClass, ...]


class GatewaySide:
    def __init__(
        self,
        resolved: Resolved,
        allocation: Allocation,
        classification: Classification,
        layout: TunnelLayout,
        settings: Settings,
    ) -> None:
        self._resolved = resolved
        self._allocation = allocation
        self._classification = classification
        self._layout = layout
        self._settings = settings
        self._nodes = {node.name: node for node in resolved.cluster.nodes}
        self._memberships = {
            node.name: frozenset(
                name for name, gateway in resolved.gateways.items() if node.name in {n.name for n in gateway.nodes}
            )
            for node in resolved.cluster.nodes
        }
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
            return Translation(SourceMaps((), (), (), ()), ())
        classes: dict[str, SnatClass | None] = {}
        pods: dict[Family, list[Source]] = {4: [], 6: []}
        subnets: dict[Family, list[Source]] = {4: [], 6: []}
        known = self._resolved.cluster.pods
        for family in FAMILIES:
            for pod in self._classification.pods[family]:
                if self._class(pod.traffic_class, node, member, classes) is not None:
                    text = format_address(family, pod.value)
                    pods[family].append(Source(text, pod.traffic_class.name, known[pod.pod].key))
            for subnet in self._classification.subnets[family]:
                if self._class(subnet.traffic_class, node, member, classes) is not None:
                    text = format_interval(family, subnet.interval)
                    subnets[family].append(Source(text, subnet.traffic_class.name, "podSubnet"))
        maps = SourceMaps(tuple(pods[4]), tuple(pods[6]), tuple(subnets[4]), tuple(subnets[6]))
        return Translation(maps, tuple(c for _, c in sorted(classes.items()) if c is not None))

    def _class(
        self, traffic_class: TrafficClass, node: Node, member: frozenset[str], made: dict[str, SnatClass | None]
    ) -> SnatClass | None:
        """The class as this gateway translates it; None where none of its policies leaves by this gateway."""
        if traffic_class.name not in made:
            four, six = (self._answers(f, traffic_class.shares[f], node, member) for f in FAMILIES)
            policies = tuple(str(self._resolved.policies[p].policy.ref) for p in traffic_class.stack)
            made[traffic_class.name] = SnatClass(traffic_class.name, policies, four, six) if four or six else None
        return made[traffic_class.name]

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
            answers.append(SnatAnswer(destinations, address, placement.slot, str(resolved.policy.ref)))
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
        uses_own = any(
            policy.policy.use_node_ip and policy.gateway.name in member for policy in self._resolved.policies
        )
        extra = (format_address(family, own),) if own is not None and uses_own else ()
        return (*self.eips(node, family), *extra)

    def vrrp(self, node: Node) -> tuple[VrrpInstance, ...]:
        eips = self._eips_by_slot
        return tuple(self._instance(slot, node, eips.get(slot.number, [])) for slot in self._slots(node))

    def _instance(self, slot: AllocatedSlot, node: Node, eips: Sequence[tuple[Family, int]]) -> VrrpInstance:
        interface = self._layout.uplink(node.name).interface
        step = min(PRIORITY_STEP, HIGHEST_PRIORITY // len(slot.order))
        family = self._layout.underlay_family(node)
        peers = [self._nodes[name].address(family) for name in slot.order if name != node.name]
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
                VirtualAddress(format_address(f, value), interface, self._named_users(slot.number, f, value))
                for f, value in eips
            ),
        )

    def _named_users(self, slot: int, family: Family, value: int) -> str:
        """The policies that leave with an EIP, the first three by name."""
        names = sorted(self._users[slot, family, value])
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        return ", ".join(names[:3]) + more
