"""The way of a packet through the node plans: class, slot, gateway, address, and the lines that make it so."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from egress_compiler.decide import Outcome
from egress_compiler.explain.lines import Files, gathered
from egress_compiler.explain.model import Gateway, Hop, Line, Way
from egress_compiler.ir import NodePlan, Slot, SnatAnswer, Source, SourceMaps, SteerAnswer, SteerClass
from egress_compiler.lower.unknown import CLASS as UNKNOWN_CLASS
from egress_compiler.net import Address, Family, contains, format_address, parse_address, parse_span
from egress_compiler.numbering import MARK_MASK
from egress_compiler.pipeline import Analysis


def find_ways(analysis: Analysis, node: str, source: Address, to: Address | None) -> tuple[Way, ...]:
    """How ``source``, a pod's address on ``node``, leaves: by destinations, or towards ``to`` alone."""
    return tuple(_Explorer(analysis, node, source, to).ways())


def unsteered_way(node: str, why: str, source: Address, to: Address | None) -> Way:
    """How ``source`` leaves on a node without a configuration: as if there were no policy."""
    hop = Hop(node, "has no configuration of ours, and nothing steers what its pods send", ())
    outside = Hop("outside", "sees the address that the node's network gives it", ())
    return Way(
        family=source.family,
        source=format_address(*source),
        destinations=(format_address(*to),) if to is not None else (),
        rest=to is None,
        outcome="direct",
        why=f"node {node} {why}",
        policy="",
        traffic_class="",
        slot=None,
        gateway="",
        gateways=(),
        addresses=(),
        hops=(hop, outside),
    )


class _Explorer:
    def __init__(self, analysis: Analysis, node: str, source: Address, to: Address | None) -> None:
        self._nodes = analysis.nodes
        self._slots = analysis.allocation.slots
        self._inside = analysis.resolved.inside
        self._files = Files(analysis.nodes.text)
        self._plan = self._nodes.plan(node)
        self._family = source.family
        self._source = format_address(*source)
        self._to = to

    def ways(self) -> Iterator[Way]:
        if self._to is not None and contains(self._inside[self._family], self._to.value):
            yield self._direct("the destination is inside the cluster, where no policy applies")
            return
        found = source_class(self._plan.steer_sources, self._family, self._source)
        if found is None:
            yield self._direct("no policy selects this address")
            return
        steer = next(c for c in self._plan.steer_classes if c.name == found.traffic_class)
        answers = steer.ipv4 if self._family == 4 else steer.ipv6
        chosen = [answer for answer in answers if self._to is None or self._covers(answer)]
        # An answer without destinations has what the others leave.
        named = [answer for answer in chosen if answer.destinations]
        for answer in named[:1] if self._to is not None and named else chosen:
            yield self._governed(found, steer, answer)
        if not chosen or (self._to is None and all(answer.destinations for answer in answers)):
            yield self._direct("no policy that selects this address covers it", rest=self._to is None)

    def _covers(self, answer: SteerAnswer) -> bool:
        return not answer.destinations or self._interval(answer.destinations) != ""

    def _interval(self, destinations: Sequence[str]) -> str:
        """The one of ``destinations`` that holds the destination; without one, the first."""
        if self._to is None:
            return next(iter(destinations), "")
        return next((t for t in destinations if contains((parse_span(t).interval,), self._to.value)), "")

    def _direct(self, why: str, rest: bool = True, answer: SteerAnswer | None = None) -> Way:
        hop = Hop(self._plan.node, "routes it as it routes all other traffic of pods, through no gateway", ())
        outside = Hop("outside", "sees the address that the CNI gives it, as a rule the node's", ())
        return self._way("direct", why, answer, "", None, rest, (), (hop, outside))

    def _way(
        self,
        outcome: Outcome,
        why: str,
        answer: SteerAnswer | None,
        traffic_class: str,
        slot: Slot | None,
        rest: bool,
        gateways: tuple[Gateway, ...],
        hops: tuple[Hop, ...],
    ) -> Way:
        destinations = answer.destinations if answer is not None else ()
        return Way(
            family=self._family,
            source=self._source,
            destinations=(format_address(*self._to),) if self._to is not None else destinations,
            rest=rest if self._to is None and not destinations else False,
            outcome=outcome,
            why=why,
            policy=answer.origin if answer is not None else "",
            traffic_class=traffic_class,
            slot=slot.number if slot is not None else None,
            gateway=slot.gateway if slot is not None else "",
            gateways=gateways,
            addresses=tuple(dict.fromkeys(gateway.address for gateway in gateways if gateway.address)),
            hops=hops,
        )

    def _governed(self, source: Source, steer: SteerClass, answer: SteerAnswer) -> Way:
        if answer.direct:
            return self._direct("its gateway has no node, and falls back to the node's address", answer=answer)
        slot = next((slot for slot in self._plan.slots if slot.number == answer.slot), None)
        gateways = self._gateways(slot, answer) if slot is not None else ()
        classify = self._classify(source, steer, answer, slot)
        if slot is None or not any(gateway.address for gateway in gateways):
            why = "its gateway has no node, or no address of this family"
            if steer.name == UNKNOWN_CLASS:
                why = "no pod is known at this address, and unknownPods in the settings refuses those"
            return self._way("blocked", why, answer, steer.name, None, True, (), (classify,))
        members = self._members(slot)
        is_eip = any(gateways[0].address in (*plan.eips4, *plan.eips6) for plan in members)
        hops = (classify, self._route(slot), *self._translate(slot, answer, gateways))
        return self._way("eip" if is_eip else "node-ip", "", answer, steer.name, slot, True, gateways, hops)

    def _gateways(self, slot: Slot, answer: SteerAnswer) -> tuple[Gateway, ...]:
        """The slot's gateway nodes, the preferred one first, each with the address that it would give."""
        plans = self._members(slot)
        members = [(v.priority, plan.node) for plan in plans for v in plan.vrrp if v.slot == slot.number]
        return tuple(
            Gateway(node, priority, self._address(node, answer)) for priority, node in sorted(members, reverse=True)
        )

    def _members(self, slot: Slot) -> list[NodePlan]:
        return [self._nodes.plan(node) for node in self._slots[slot.number].order]

    def _address(self, node: str, answer: SteerAnswer) -> str:
        found = self._snat(node, answer)
        return found[1].address or "" if found is not None else ""

    def _snat(self, node: str, answer: SteerAnswer) -> tuple[Source, SnatAnswer] | None:
        """The gateway's own classification of the source, and its answer for the same destinations."""
        plan = self._nodes.plan(node)
        source = source_class(plan.snat_sources, self._family, self._source)
        if source is None:
            return None
        snat = next(c for c in plan.snat_classes if c.name == source.traffic_class)
        answers = snat.ipv4 if self._family == 4 else snat.ipv6
        return next(((source, own) for own in answers if own.origin == answer.origin), None)

    def _classify(self, source: Source, steer: SteerClass, answer: SteerAnswer, slot: Slot | None) -> Hop:
        file = f"nodes/{self._plan.node}/nftables.nft"
        target = "blocked" if slot is None else f"slot.{slot.number}"
        kind = "subnets" if source.owner == "podSubnet" else "pods"
        lines = gathered(
            self._files.line(file, f"{source.source} : goto steer.{source.traffic_class},"),
            self._rule(file, f"chain steer.{steer.name} {{", f"goto {target} ", answer),
            self._files.within(file, "chain blocked {", "reject") if slot is None else (),
            self._files.within(file, f"chain slot.{slot.number} {{", "ct mark set") if slot is not None else (),
            self._files.within(file, f"chain mark.{slot.number} {{", f"| {slot.mark:#010x}")
            if slot is not None
            else (),
        )
        way = f"classifies it: map steer_{kind}{self._family}, chain steer.{steer.name}, chain {target}"
        end = ", which refuses it" if slot is None else f", mark {slot.mark:#010x}"
        return Hop(self._plan.node, way + end, lines)

    def _rule(self, file: str, chain: str, verdict: str, answer: SteerAnswer | SnatAnswer) -> Iterator[Line]:
        """The rule of ``answer``, with the element of its set that holds the destination."""
        interval = self._interval(answer.destinations)
        family = "ipv4" if self._family == 4 else "ipv6"
        parts = (verdict,) if interval else (verdict, f"nfproto {family}")
        return self._files.within(file, chain, *parts, also=interval)

    def _route(self, slot: Slot) -> Hop:
        file = f"nodes/{self._plan.node}/routes{'' if self._family == 4 else '6'}.batch"
        vip = next((vip for vip in slot.tunnel_vips if (":" in vip) == (self._family == 6)), "")
        lines = gathered(
            self._files.line(file, "rule add", f"lookup {slot.table} "),
            self._files.line(file, "route add default", f"table {slot.table} "),
        )
        mask = f"{slot.mark:#010x}/{MARK_MASK:#010x}"
        what = f"routes it: rule fwmark {mask}, table {slot.table}, tunnel VIP {vip} on {self._plan.tunnel.device}"
        if any(instance.slot == slot.number for instance in self._plan.vrrp):
            what += "; while it is itself the master, its pods go over the wire egress.worker"
        if slot.falls_back:
            what += "; while nobody answers there, new connections leave with the node's own address"
        return Hop(self._plan.node, what, lines)

    def _translate(self, slot: Slot, answer: SteerAnswer, gateways: Sequence[Gateway]) -> Iterator[Hop]:
        first = gateways[0]
        found = self._snat(first.node, answer)
        after = f", while it is master of slot {slot.number}"
        after += f"; after it {', '.join(g.node for g in gateways[1:])}" if gateways[1:] else ""
        if found is None or not first.address:
            yield Hop(first.node, f"drops it{after}", ())
        else:
            source, own = found
            nft, keepalived = (f"nodes/{first.node}/{name}" for name in ("nftables.nft", "keepalived.conf"))
            chain = f"snat.{source.traffic_class}"
            lines = gathered(
                self._files.line(keepalived, f"vrrp_instance slot_{slot.number} {{"),
                self._files.within(keepalived, f"vrrp_instance slot_{slot.number} {{", f"{own.address}/"),
                self._files.line(nft, f"{source.source} : goto {chain},"),
                self._rule(nft, f"chain {chain} {{", f"to {own.address} ", own),
            )
            uplink = next((u for u in self._nodes.plan(first.node).uplinks if u.number == own.uplink), None)
            by = f", and sends it out of {uplink.interface}" if uplink is not None else ""
            what = f"translates its source: chain {chain}, to {own.address}{by}{after}"
            yield Hop(first.node, what, lines)
        yield Hop("outside", f"sees {first.address or 'nothing'}", ())


def source_class(maps: SourceMaps, family: Family, source: str) -> Source | None:
    """The entry that a node has for a source address: exact ones first, as the kernel looks them up."""
    pods, subnets = (maps.pods4, maps.subnets4) if family == 4 else (maps.pods6, maps.subnets6)
    exact = next((entry for entry in pods if entry.source == source), None)
    if exact is not None:
        return exact
    value = parse_address(source).value
    return next((entry for entry in subnets if contains((parse_span(entry.source).interval,), value)), None)
