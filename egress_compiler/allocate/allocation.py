"""Resolved policies plus the lock of earlier runs to EIPs, nodes, slots and all numbers; and the new lock.

Pure: the same input gives the same allocation, and what the lock holds and is still possible stays.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from egress_compiler.allocate.answers import Answers, answer_key, give_answers, possible_numbers
from egress_compiler.allocate.eips import NO_EIP, EipPair, choose_eips, default_pair, pair_named
from egress_compiler.allocate.gone import GoneAnswer, Left, gone_locks, left_with, policy_of
from egress_compiler.allocate.groups import eip_groups
from egress_compiler.allocate.numbers import Exhausted
from egress_compiler.allocate.placement import Unit, even_out, place_units
from egress_compiler.allocate.slots import Slot, SlotNumbers, limit_place, slot_numbers, slot_of
from egress_compiler.diagnostics import Collector, counted, listing
from egress_compiler.model.lock import EipLock, GatewayLock, GoneLock, Lock, PolicyLock
from egress_compiler.model.policy import Gateway, Ref
from egress_compiler.model.settings import Settings
from egress_compiler.net import Family
from egress_compiler.resolve import Resolved, ResolvedGateway, ResolvedPolicy


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

    ``answers`` has the answer number of every policy, ``gone`` those that no policy gives any more; ``groups`` has of
    each EIP that is in use, as the lock names it, all those that share its node, itself among them.
    """

    node_index: Mapping[str, int]
    slots: Mapping[int, Slot]
    placements: Mapping[Ref, Placement]
    answers: Mapping[Ref, int]
    gone: tuple[GoneAnswer, ...]
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
    before = _entries_by_gateway(lock)
    shares = [
        _share(resolved.gateways[name], policies, lock, before.get(name, _Entries({}, {})), total, rebalance)
        for name, policies in by_gateway.items()
    ]
    keys = {key for share in shares for key in share.slot_keys()}
    numbers = slot_numbers(resolved, keys, lock, settings, found)
    answers = _answers(shares, resolved, lock, settings, found)
    by_policy = {ref: answers.numbers.get(answer_key(ref, pair), 0) for s in shares for ref, pair in s.eips.items()}
    slots = {number.slot: slot_of(key, numbers, resolved, settings) for key, number in numbers.slots.items()}
    families = {share.gateway: resolved.gateways[share.gateway].families for share in shares}
    placements = {ref: _placement(s, ref, numbers, families[s.gateway]) for s in shares for ref in s.eips}
    groups = {key: keys for share in shares for keys in share.groups.values() for key in keys}
    used = _used(shares, placements)
    possible = possible_numbers(settings.foreign_marks)
    gone = gone_locks(lock, answers.numbers, answers.last, possible, used)
    new_lock = Lock(
        nodes=numbers.nodes,
        slots=numbers.slots,
        gateways={share.gateway: share.default for share in shares if share.default is not None},
        eips={key: entry for share in shares for key, entry in share.eip_locks(lock).items()},
        policies={str(ref): entry for share in shares for ref, entry in share.policy_locks().items()},
        answers=answers.numbers,
        last_answer=answers.last,
        gone=gone,
        underlay=resolved.cluster.underlay,
    )
    return Allocation(
        numbers.nodes, dict(sorted(slots.items())), placements, by_policy, _gone(gone, used), groups, new_lock
    )


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


class _Entries(NamedTuple):
    """Of one gateway what the lock says of its EIPs, and the nodes of its policies with useNodeIP."""

    eips: dict[str, EipLock]
    nodes: dict[str, str]


def _entries_by_gateway(lock: Lock) -> Mapping[str, _Entries]:
    """In one pass: there may be as many gateways as policies."""
    entries: dict[str, _Entries] = {}
    for key, eip in lock.eips.items():
        entries.setdefault(key.partition("/")[0], _Entries({}, {})).eips[key] = eip
    for key, policy in lock.policies.items():
        if policy.node:
            entries.setdefault(policy.gateway, _Entries({}, {})).nodes[key] = policy.node
    return entries


def _share(
    resolved: ResolvedGateway,
    policies: Sequence[ResolvedPolicy],
    lock: Lock,
    entries: _Entries,
    total: Counter[str],
    rebalance: bool,
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
    before, fixed = _nodes_before(groups, users, names, entries)
    unready = [node.name for node in resolved.nodes if not node.ready]
    nodes = place_units(weighed, names, before, total, unready) if names else {}
    if rebalance and nodes:
        nodes = even_out(weighed, names, nodes, fixed, unready)
    in_use = {key for keys in groups.values() for key in keys} if names else set()
    waiting = {key: entry for key, entry in _pins(gateway, entries).items() if key not in in_use}
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
    groups: Mapping[str, tuple[str, ...]], users: Mapping[str, int], members: Collection[str], known: _Entries
) -> tuple[dict[str, str], frozenset[str]]:
    """Of each unit the node that it was on and that is still there; and the units that are pinned to it.

    EIPs that come together were perhaps on different nodes: the one with the most ``users`` stays where it is.
    """
    nodes = frozenset(members)
    before = {key: node for key, node in known.nodes.items() if node in nodes}
    fixed: set[str] = set()
    for unit, keys in groups.items():
        by_users = sorted(keys, key=lambda key: (-users[key], key))
        entries = [known.eips[key] for key in by_users if key in known.eips]
        pins = [entry.node for entry in entries if entry.pinned and entry.node in nodes]
        others = [name for entry in entries for name in (entry.meanwhile, entry.node) if name in nodes]
        if pins:
            fixed.add(unit)
        if pins or others:
            before[unit] = (pins or others)[0]
    return before, frozenset(fixed)


def _pins(gateway: Gateway, known: _Entries) -> dict[str, EipLock]:
    """The pins of the EIPs that the pool has, whether anybody uses them or not."""
    pins: dict[str, EipLock] = {}
    for key, entry in known.eips.items():
        text = key.partition("/")[2]
        pair = pair_named(gateway, text) if entry.pinned else None
        if pair is not None and pair.text == text:
            pins[key] = EipLock(entry.node, pinned=True)
    return pins


def _answers(
    shares: Sequence[_Share], resolved: Resolved, lock: Lock, settings: Settings, diagnostics: Collector
) -> Answers:
    """For every policy, whether it governs a pod today or not; none where they are exhausted."""
    refs = {answer_key(ref, pair): ref for share in shares for ref, pair in share.eips.items()}
    possible = possible_numbers(settings.foreign_marks)
    try:
        # Who comes back finds its number again.
        before = {**{key: entry.number for key, entry in lock.gone.items()}, **lock.answers}
        answers = give_answers(refs, before, lock.last_answer, possible)
    except Exhausted as problem:
        documents = {policy.policy.ref: policy.policy.document for policy in resolved.policies}
        place = documents[refs[problem.key]].at("metadata", "name")
        diagnostics.error(
            "exhausted",
            f"no answer number is left: {len(refs)} needed, {len(possible)} possible",
            limit_place(("foreignMarks",), place, settings),
            hint="each policy has one: use fewer policies, or fewer foreignMarks in the settings",
        )
        return Answers({}, 0, ())
    if answers.reused:
        diagnostics.warning(
            "number-reused",
            f"{counted(len(answers.reused), 'policy takes', 'policies take')} over an answer number that another had "
            f"until now ({listing([str(refs[key]) for key in answers.reused])}): a node with an older bundle sends "
            "that one's traffic under it",
            limit_place(("foreignMarks",), None, settings),
            hint="change fewer policies at a time, and apply each time; or use fewer foreignMarks in the settings",
        )
    return answers


def _used(shares: Sequence[_Share], placements: Mapping[Ref, Placement]) -> dict[Left, Placement]:
    """What policies with a slot leave with."""
    used: dict[Left, Placement] = {}
    for share in shares:
        for ref, pair in share.eips.items():
            if placements[ref].slot is not None:
                node = share.nodes[share.units[ref]] if pair == NO_EIP else ""
                used[Left(share.gateway, *pair.texts, node)] = placements[ref]
    return used


def _gone(locks: Mapping[str, GoneLock], used: Mapping[Left, Placement]) -> tuple[GoneAnswer, ...]:
    gone = []
    for key, entry in locks.items():
        placement = used[left_with(entry)]
        if placement.slot is not None:
            gone.append(GoneAnswer(entry.number, policy_of(key), placement.eip, placement.slot))
    return tuple(sorted(gone, key=lambda answer: answer.number))


def _placement(share: _Share, ref: Ref, numbers: SlotNumbers, families: Sequence[Family]) -> Placement:
    pair, key = share.eips[ref], share.slot_key(ref)
    slot = numbers.slots.get(key) if key is not None else None
    return Placement(pair.within(families), pair == NO_EIP, slot.slot if slot is not None else None)
