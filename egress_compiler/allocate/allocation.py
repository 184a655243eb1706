"""Resolved policies plus the lock of earlier runs to EIPs, nodes, slots and all numbers; and the new lock.

Pure: the same input gives the same allocation, and what the lock holds and is still possible stays.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from egress_compiler.allocate.eips import NO_EIP, EipPair, choose_eips, default_pair, pair_named
from egress_compiler.allocate.groups import eip_groups
from egress_compiler.allocate.numbers import Exhausted, keep_or_give
from egress_compiler.allocate.placement import Unit, even_out, place_units
from egress_compiler.diagnostics import Collector
from egress_compiler.model.lock import EipLock, GatewayLock, Lock, PolicyLock, SlotLock
from egress_compiler.model.policy import Gateway, Ref
from egress_compiler.model.settings import Settings
from egress_compiler.net import Family
from egress_compiler.numbering import MAX_NODE_INDEX, MAX_SLOT, MAX_VRID
from egress_compiler.resolve import Resolved, ResolvedGateway, ResolvedPolicy
from egress_compiler.source import Position


@dataclass(frozen=True, slots=True)
class Slot:
    """One gateway on one preferred node.  ``order`` are the gateway's nodes as they take over, preferred first."""

    number: int
    gateway: str
    node: str
    vrid: int
    tunnel_vips: Mapping[Family, int]
    order: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Placement:
    """What a policy leaves with.  ``slot`` is None where its gateway has no node: blocked.

    ``eip`` has no address of a family that no node of the gateway has: it is not promised, though the lock keeps it.
    """

    eip: EipPair
    use_node_ip: bool
    slot: int | None


@dataclass(frozen=True, slots=True)
class Allocation:
    """``node_index`` gives tunnel address and MAC of every node; ``slots`` is keyed by slot number.

    ``groups`` has of each EIP that is in use, as the lock names it, all those that share its node, itself among them.
    """

    node_index: Mapping[str, int]
    slots: Mapping[int, Slot]
    placements: Mapping[Ref, Placement]
    groups: Mapping[str, tuple[str, ...]]
    lock: Lock


def allocate(
    resolved: Resolved, lock: Lock, settings: Settings, found: Collector, *, rebalance: bool = False
) -> Allocation:
    """All numbers of the run; exhaustion goes to ``found``.  ``rebalance`` moves what is not pinned, to be even."""
    by_gateway: dict[str, list[ResolvedPolicy]] = {name: [] for name in sorted(resolved.gateways)}
    for policy in resolved.policies:
        by_gateway[policy.gateway.name].append(policy)
    total: Counter[str] = Counter()
    shares = [
        _share(resolved.gateways[name], policies, lock, total, rebalance) for name, policies in by_gateway.items()
    ]
    pairs = {key for share in shares for key in share.slot_keys()}
    numbers = _numbers(resolved, pairs, lock, settings, found)
    slots = {number.slot: _slot(key, number, resolved, settings) for key, number in numbers.slots.items()}
    families = {share.gateway: resolved.gateways[share.gateway].families for share in shares}
    placements = {ref: _placement(s, ref, numbers, families[s.gateway]) for s in shares for ref in s.eips}
    groups = {key: keys for share in shares for keys in share.groups.values() for key in keys}
    new_lock = Lock(
        nodes=numbers.nodes,
        slots=numbers.slots,
        gateways={share.gateway: share.default for share in shares if share.default is not None},
        eips={key: entry for share in shares for key, entry in share.eip_locks(lock).items()},
        policies={str(ref): entry for share in shares for ref, entry in share.policy_locks().items()},
        underlay=resolved.cluster.underlay,
    )
    return Allocation(numbers.nodes, dict(sorted(slots.items())), placements, groups, new_lock)


@dataclass(frozen=True, slots=True)
class _Share:
    """One gateway's part: the EIP of each policy (NO_EIP with useNodeIP) and the node of each unit.

    ``groups`` are the units that have EIPs, with the names of these in the lock.  ``kept`` are the policies that take
    the default EIP and have another, which they were imported with.
    """

    gateway: str
    default: GatewayLock | None
    eips: Mapping[Ref, EipPair]
    units: Mapping[Ref, str]
    groups: Mapping[str, tuple[str, ...]]
    nodes: Mapping[str, str]
    kept: frozenset[Ref]
    waiting: Mapping[str, EipLock]

    def slot_key(self, ref: Ref) -> str | None:
        node = self.nodes.get(self.units[ref])
        return f"{self.gateway}/{node}" if node is not None else None

    def slot_keys(self) -> set[str]:
        return {f"{self.gateway}/{node}" for node in self.nodes.values()}

    def eip_locks(self, before: Lock) -> dict[str, EipLock]:
        """Of the EIPs in use; and the pins of those that nobody uses, or that no node can have."""
        locks = dict(self.waiting)
        for unit, keys in self.groups.items():
            for key in keys if unit in self.nodes else ():
                node, kept = self.nodes[unit], before.eips.get(key)
                if kept is None or not kept.pinned:
                    locks[key] = EipLock(node)
                else:
                    locks[key] = EipLock(kept.node, pinned=True, meanwhile=node if node != kept.node else "")
        return locks

    def policy_locks(self) -> dict[Ref, PolicyLock]:
        locks: dict[Ref, PolicyLock] = {}
        for ref, pair in self.eips.items():
            node = self.nodes.get(self.units[ref], "") if pair == NO_EIP else ""
            locks[ref] = PolicyLock(self.gateway, *pair.texts, node, ref in self.kept)
        return locks


def _share(
    resolved: ResolvedGateway, policies: Sequence[ResolvedPolicy], lock: Lock, total: Counter[str], rebalance: bool
) -> _Share:
    gateway = resolved.gateway
    with_eip = [policy for policy in policies if not policy.policy.use_node_ip]
    eips: dict[Ref, EipPair] = {policy.policy.ref: NO_EIP for policy in policies}
    pair, default, kept = NO_EIP, None, frozenset[Ref]()
    if gateway.families:
        pair = default_pair(gateway, lock.gateways.get(gateway.name))
        eips |= choose_eips(gateway, with_eip, pair, lock)
        default = GatewayLock(*pair.texts)
        kept = frozenset(p.policy.ref for p in with_eip if p.takes_default and eips[p.policy.ref] != pair)
    units, groups = _units(gateway, eips, pair)
    weighed = [Unit(key, weight, key in groups) for key, weight in sorted(Counter(units.values()).items())]
    names = [node.name for node in resolved.nodes]
    users = Counter(f"{gateway.name}/{pair.text}" for pair in eips.values() if pair != NO_EIP)
    before, fixed = _nodes_before(gateway.name, groups, users, names, lock)
    unready = [node.name for node in resolved.nodes if not node.ready]
    nodes = place_units(weighed, names, before, total, unready) if names else {}
    if rebalance and nodes:
        nodes = even_out(weighed, names, nodes, fixed, unready)
    in_use = {key for keys in groups.values() for key in keys} if names else set()
    waiting = {key: entry for key, entry in _pins(gateway, lock).items() if key not in in_use}
    return _Share(gateway.name, default, eips, units, groups, nodes, kept, waiting)


def _units(
    gateway: Gateway, eips: Mapping[Ref, EipPair], default: EipPair
) -> tuple[dict[Ref, str], dict[str, tuple[str, ...]]]:
    """What moves as one: by policy, named by the first of its EIPs; and of each the names of all its EIPs."""
    groups = eip_groups(gateway, (pair for pair in eips.values() if pair != NO_EIP), default)
    names = {pair: f"{gateway.name}/{group[0].text}" for pair, group in groups.items()}
    units = {ref: names[pair] if pair != NO_EIP else str(ref) for ref, pair in eips.items()}
    return units, {
        names[group[0]]: tuple(sorted({f"{gateway.name}/{pair.text}" for pair in group})) for group in groups.values()
    }


def _nodes_before(
    gateway: str, groups: Mapping[str, tuple[str, ...]], users: Mapping[str, int], nodes: Collection[str], lock: Lock
) -> tuple[dict[str, str], frozenset[str]]:
    """Of each unit the node that it was on and that is still there; and the units that are pinned to it.

    EIPs that come together were perhaps on different nodes: the one with the most ``users`` stays where it is.
    """
    before = {key: e.node for key, e in lock.policies.items() if e.node and e.gateway == gateway and e.node in nodes}
    fixed: set[str] = set()
    for unit, keys in groups.items():
        by_users = sorted(keys, key=lambda key: (-users[key], key))
        entries = [lock.eips[key] for key in by_users if key in lock.eips]
        pins = [entry.node for entry in entries if entry.pinned and entry.node in nodes]
        others = [name for entry in entries for name in (entry.meanwhile, entry.node) if name in nodes]
        if pins:
            fixed.add(unit)
        if pins or others:
            before[unit] = (pins or others)[0]
    return before, frozenset(fixed)


def _pins(gateway: Gateway, lock: Lock) -> dict[str, EipLock]:
    """The pins of the EIPs that the pool has, whether anybody uses them or not."""
    pins: dict[str, EipLock] = {}
    for key, entry in lock.eips.items():
        name, _, text = key.partition("/")
        pair = pair_named(gateway, text) if entry.pinned and name == gateway.name else None
        if pair is not None and pair.text == text:
            pins[key] = EipLock(entry.node, pinned=True)
    return pins


@dataclass(frozen=True, slots=True)
class _Numbers:
    nodes: Mapping[str, int]
    slots: Mapping[str, SlotLock]


class _Range(NamedTuple):
    """Numbers from ``first`` to ``last`` for ``keys``; ``setting`` is what bounds them, nothing where nobody can."""

    what: str
    keys: Collection[str]
    before: Mapping[str, int]
    first: int
    last: int
    setting: tuple[str, ...]
    hint: str


def _numbers(resolved: Resolved, pairs: set[str], lock: Lock, settings: Settings, found: Collector) -> _Numbers:
    """Node indices count up from the tunnel subnet's start, slot VIPs down from its end."""
    tunnel = settings.tunnel.subnets
    room = {family: (tunnel[family].last - tunnel[family].first - 1) // 2 for family in resolved.families}
    tight = min(room, key=lambda family: room[family])
    subnet, half = ("tunnel", f"ipv{tight}Subnet"), room[tight]
    larger = f"set {'.'.join(subnet)} in the settings to a larger subnet: half is for nodes, half for slots"
    fewer = "a slot is one gateway on one preferred node: use fewer gateways, or fewer nodes in each"
    names = [node.name for node in resolved.cluster.nodes]
    # A host without an address keeps its number for when it has one again.
    names += [o.node.name for o in resolved.cluster.other_nodes if o.waiting and o.node.name in lock.nodes]
    slots, vrids, vips = ({k: getattr(e, name) for k, e in lock.slots.items()} for name in ("slot", "vrid", "vip"))
    first = settings.vrrp.first_vrid
    lower = f"{fewer}; or set a lower vrrp.firstVRID in the settings" if first > 1 else fewer
    ranges = (
        _Range(
            "address for a node in the tunnel subnet", names, lock.nodes, 1, min(half, MAX_NODE_INDEX), subnet, larger
        ),
        _Range("slot number (mark and table)", pairs, slots, 1, MAX_SLOT, (), fewer),
        _Range("VRID on the gateways' segment", pairs, vrids, first, MAX_VRID, ("vrrp", "firstVRID"), lower),
        _Range("address for a slot in the tunnel subnet", pairs, vips, 1, half, subnet, larger),
    )
    given: list[dict[str, int]] = []
    for numbers in ranges:
        try:
            given.append(keep_or_give(numbers.keys, numbers.before, numbers.first, numbers.last))
        except Exhausted as problem:
            possible = numbers.last - numbers.first + 1
            message = f"no {numbers.what} is left: {len(numbers.keys)} needed, {possible} possible"
            place = _limit_place(numbers.setting, problem.key, resolved, settings)
            found.error("exhausted", message, place, hint=numbers.hint)
    if len(given) < len(ranges):
        return _Numbers({}, {})
    return _Numbers(given[0], {key: SlotLock(given[1][key], given[2][key], given[3][key]) for key in sorted(pairs)})


def _limit_place(setting: tuple[str, ...], key: str, resolved: Resolved, settings: Settings) -> Position | None:
    """Where the limit is said, else the gateway whose slot gets no number."""
    if settings.document is not None and settings.document.has(*setting):
        return settings.document.at(*setting)
    gateway = resolved.gateways.get(key.partition("/")[0]) if "/" in key else None
    return gateway.gateway.document.at("metadata", "name") if gateway is not None else None


def _slot(key: str, numbers: SlotLock, resolved: Resolved, settings: Settings) -> Slot:
    gateway, _, node = key.partition("/")
    names = [member.name for member in resolved.gateways[gateway].nodes]
    others = [name for name in names if name != node]
    # Rotated by the slot's number, so that the slots of a dead node spread over the others.
    turn = numbers.slot % len(others) if others else 0
    vips = {family: settings.tunnel.subnets[family].last - numbers.vip for family in resolved.families}
    return Slot(numbers.slot, gateway, node, numbers.vrid, vips, (node, *others[turn:], *others[:turn]))


def _placement(share: _Share, ref: Ref, numbers: _Numbers, families: Sequence[Family]) -> Placement:
    pair, key = share.eips[ref], share.slot_key(ref)
    slot = numbers.slots.get(key) if key is not None else None
    return Placement(pair.within(families), pair == NO_EIP, slot.slot if slot is not None else None)
