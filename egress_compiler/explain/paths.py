"""The egress path of a packet: policy, answer number, slot, gateway, address, and the lines that make it so."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from egress_compiler.classify import Region
from egress_compiler.contract.names import WORKER_DEVICE
from egress_compiler.contract.numbers import MARK_MASK, slot_mark, slot_table
from egress_compiler.contract.plan import Answer, NodePlan, PolicyAnswer, PolicyChain, Slot, Source, Translation
from egress_compiler.decide import Outcome
from egress_compiler.explain.lines import Generated, GeneratedFiles
from egress_compiler.explain.model import EgressPath, Gateway, Hop, Line
from egress_compiler.lower.unknown import REFUSED
from egress_compiler.net import Address, Family, contains, format_address, format_interval, parse_span
from egress_compiler.pipeline import Analysis
from egress_compiler.ruleset.hooks import NUMBERED
from egress_compiler.ruleset.words import mark

UNKNOWN_POD = "no pod is known at this address, and unknownPods in the settings refuses those"
NO_ADDRESS = "its gateway has no node, or no address of this family"


def find_paths(analysis: Analysis, node: str, sources: Sequence[Address], to: Address | None) -> tuple[EgressPath, ...]:
    """How ``sources``, a pod's addresses on ``node``, leave: by destinations, or towards ``to`` alone."""
    files = GeneratedFiles(analysis.nodes)
    return tuple(path for source in sources for path in _Explorer(analysis, files, node, source, to).paths())


def unsteered_path(node: str, why: str, source: Address, to: Address | None) -> EgressPath:
    """How ``source`` leaves on a node without a configuration: as if there were no policy."""
    hop = Hop(node, "has no configuration of ours, and nothing steers what its pods send", ())
    outside = Hop("outside", "sees the address that the node's network gives it", ())
    why = f"node {node} {why}"
    return _path(source, _Destinations.towards(to), "direct", why, (hop, outside))


def _path(
    source: Address, to: _Destinations, outcome: Outcome, why: str, hops: tuple[Hop, ...], policy: str = ""
) -> EgressPath:
    """Without a gateway."""
    return EgressPath(
        family=source.family,
        source=format_address(*source),
        destinations=to.texts,
        rest=to.rest,
        outcome=outcome,
        why=why,
        policy=policy,
        chain="",
        answer=None,
        slot=None,
        gateway="",
        gateways=(),
        addresses=(),
        hops=hops,
    )


class _Destinations(NamedTuple):
    """What a path is for, and one ``example`` of it."""

    texts: tuple[str, ...]
    rest: bool
    example: int

    @classmethod
    def towards(cls, to: Address | None) -> _Destinations:
        """One destination, or all."""
        return cls((), True, 0) if to is None else cls((format_address(*to),), False, to.value)

    @classmethod
    def won(cls, region: Region, rest: bool) -> _Destinations:
        texts = () if rest else tuple(format_interval(region.family, i) for i in region.intervals)
        return cls(texts, rest, region.intervals[0].first)


class _Explorer:
    """Who wins is what ``classify`` says; the rest is what ``lower`` made of it."""

    def __init__(
        self, analysis: Analysis, files: GeneratedFiles, node: str, source: Address, to: Address | None
    ) -> None:
        self._analysis = analysis
        self._files = files
        self._node = files.of(node)
        self._family = source.family
        self._source = source
        self._to = to

    def paths(self) -> Iterator[EgressPath]:
        classified, to = self._analysis.classified, self._to
        everything = _Destinations.towards(to)
        if to is not None and contains(self._analysis.resolved.inside[self._family], to.value):
            yield self._direct(everything, "the destination is inside the cluster, where no policy applies")
            return
        order = classified.order_of(self._source)
        if not order:
            _, source = self._entry()
            refused = source is not None and source.chain == REFUSED.name
            yield self._refused(everything) if refused else self._direct(everything, "no policy selects this address")
        elif to is not None:
            winner = classified.winner(order, to)
            yield self._uncovered() if winner is None else self._governed(winner, everything)
        else:
            wins = classified.wins(order, self._family)
            yield from (self._governed(win.policy, _Destinations.won(win.region, win.rest)) for win in wins)
            if not any(win.rest for win in wins):
                yield self._uncovered()

    def _entry(self) -> tuple[str, Source | None]:
        """The map in which the node has the source, exact ones first, and the entry."""
        worker = self._node.plan.worker
        text = format_address(*self._source)
        pods, subnets = f"governed_pods{self._family}", f"governed_subnets{self._family}"
        exact = next((entry for entry in worker.pods.of(self._family) if entry.source == text), None)
        if exact is not None:
            return pods, exact
        value = self._source.value
        covering = (s for s in worker.subnets.of(self._family) if contains((parse_span(s.source).interval,), value))
        return subnets, next(covering, None)

    def _direct(self, to: _Destinations, why: str, policy: str = "") -> EgressPath:
        node = self._node.plan.node
        hop = Hop(node, "routes it as it routes all other traffic of pods, through no gateway", ())
        outside = Hop("outside", "sees the address that the CNI gives it, as a rule the node's", ())
        return _path(self._source, to, "direct", why, (hop, outside), policy)

    def _uncovered(self) -> EgressPath:
        return self._direct(_Destinations.towards(self._to), "no policy that selects this address covers it")

    def _refused(self, to: _Destinations) -> EgressPath:
        hop = self._classify(REFUSED, to, "chain blocked, which refuses it", self._blocked())
        return _path(self._source, to, "blocked", UNKNOWN_POD, (hop,), REFUSED.origin)

    def _governed(self, position: int, to: _Destinations) -> EgressPath:
        chain, answer, slot = self._analysis.nodes.policy(position)
        given: PolicyAnswer | None = chain.answers.of(self._family)
        if given is not None and given.direct:
            return self._direct(to, "its gateway has no node, and falls back to the node's address", chain.origin)
        if given is None or given.number is None or answer is None or slot is None:
            hop = self._classify(chain, to, "chain blocked, which refuses it", self._blocked())
            return _path(self._source, to, "blocked", NO_ADDRESS, (hop,), chain.origin)
        members = [_Member.of(self._files.of(name), answer) for name in self._members(slot)]
        gateways = tuple(member.gateway(self._family) for member in members)
        number = f"answer number {answer.number}, chain slot.{slot.number}"
        hops = (
            self._classify(chain, to, number, self._numbered(answer)),
            self._route(slot),
            *_translate(members, slot, self._family),
        )
        own = any(member.translation is not None and member.translation.own for member in members)
        return EgressPath(
            family=self._family,
            source=format_address(*self._source),
            destinations=to.texts,
            rest=to.rest,
            outcome="node-ip" if own else "eip",
            why="",
            policy=chain.origin,
            chain=f"policy.{chain.name}",
            answer=answer.number,
            slot=slot.number,
            gateway=slot.gateway,
            gateways=gateways,
            addresses=tuple(dict.fromkeys(gateway.address for gateway in gateways if gateway.address)),
            hops=hops,
        )

    def _members(self, slot: Slot) -> Sequence[str]:
        return self._analysis.allocation.slots[slot.number].order

    def _classify(self, chain: PolicyChain, to: _Destinations, end: str, last: Iterator[Line]) -> Hop:
        kind, source = self._entry()
        steps = [f"map {kind}"]
        lines = [*self._node.element(kind, source.source)] if source is not None else []
        orders = {order.name for order in self._node.plan.worker.orders}
        if source is not None and source.chain in orders:
            steps.append(f"chain order.{source.chain}")
            lines += self._node.rules(steps[-1].removeprefix("chain "), _jumps(f"policy.{chain.name}"))
        steps += [f"chain policy.{chain.name}", end]
        lines += [*self._node.policy(chain, self._family, to.example), *last]
        return Hop(self._node.plan.node, f"classifies it: {', '.join(steps)}", tuple(lines))

    def _blocked(self) -> Iterator[Line]:
        return self._node.rules("blocked", lambda rule: rule.verdict.startswith("reject"))

    def _numbered(self, answer: Answer) -> Iterator[Line]:
        """Where the connection gets its number, and the packet its slot."""
        yield from self._node.rules(f"answer.{answer.number}", lambda rule: rule.origin == answer.origin)
        yield from self._node.rule(f"slot.{answer.slot}", 0)

    def _route(self, slot: Slot) -> Hop:
        plan, number = self._node.plan, slot.number
        place = plan.kernel.families.index(self._family)
        rule = f"rule fwmark {mark(slot_mark(number))}/{mark(MARK_MASK)}"
        vip = f"tunnel VIP {slot.tunnel_vips[place]} on {plan.kernel.tunnel.device}"
        what = f"routes it: {rule}, table {slot_table(number)}, {vip}"
        lines = [*self._node.steering(self._family, number), *self._node.rule(NUMBERED.name, 0)]
        what += ", which carries the answer number"
        if plan.gateway is not None and any(m.slot == number for m in plan.gateway.memberships):
            what += f"; while it is itself the master, its pods go over the veth pair, {WORKER_DEVICE}"
            lines += self._node.rule(f"slot.{number}", 1 + place)
        if slot.falls_back:
            what += "; while nobody answers there, new connections leave with the node's own address"
        return Hop(plan.node, what, tuple(lines))


def _jumps(chain: str) -> Callable[..., bool]:
    return lambda rule: rule.verdict == f"jump {chain}"


class _Member(NamedTuple):
    """A gateway node that may have the slot, and what it gives to the answer number."""

    files: Generated
    translation: Translation | None

    @classmethod
    def of(cls, files: Generated, answer: Answer) -> _Member:
        role = files.plan.gateway
        given = role.translations if role is not None else ()
        return cls(files, next((one for one in given if one.number == answer.number), None))

    def gateway(self, family: Family) -> Gateway:
        plan: NodePlan = self.files.plan
        slot = self.translation.slot if self.translation is not None else None
        instances = plan.gateway.vrrp if plan.gateway is not None else ()
        priority = next((instance.priority for instance in instances if slot in instance.slots), 0)
        return Gateway(plan.node, priority, self.address(family))

    def address(self, family: Family) -> str:
        return (self.translation.addresses.of(family) or "") if self.translation is not None else ""


def _translate(members: Sequence[_Member], slot: Slot, family: Family) -> Iterator[Hop]:
    first, *others = members
    node, address, given = first.files.plan.node, first.address(family), first.translation
    after = f", while it is master of slot {slot.number}"
    after += f"; after it {', '.join(other.files.plan.node for other in others)}" if others else ""
    if given is None or not address:
        yield Hop(node, f"drops it{after}", ())
        yield Hop("outside", "sees nothing", ())
        return
    files, key = first.files, mark(given.number)
    role = files.plan.gateway
    uplinks = role.uplinks if role is not None else ()
    uplink = next((u for u in uplinks if u.number == given.uplinks.of(family)), None)
    lines = [
        *files.keepalived("instance", slot.number),
        *files.keepalived("eip", slot.number, address),
        *(files.element(f"uplink_answers{family}", key) if uplink is not None else ()),
        *files.element(f"answers{family}", key),
    ]
    by = f", and sends it out of {uplink.interface}" if uplink is not None else ""
    what = f"translates its source: map answers{family}, number {given.number} to {address}{by}{after}"
    yield Hop(node, what, tuple(lines))
    yield Hop("outside", f"sees {address}", ())
