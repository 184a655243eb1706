"""Slots, and the numbers that they and the nodes have."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from egress_compiler.allocate.members import SlotMembers
from egress_compiler.allocate.numbers import Exhausted, keep_or_give, keep_or_give_apart
from egress_compiler.contract.numbers import MAX_NODE_INDEX, MAX_REPLY_INDEX, MAX_SLOT, MAX_VRID
from egress_compiler.diagnostics import Collector
from egress_compiler.model.lock import Lock, SlotLock
from egress_compiler.model.settings import Settings
from egress_compiler.net import Family
from egress_compiler.resolve import Resolved
from egress_compiler.source import Position

FEWER_SLOTS = "a slot is one gateway on one preferred node: use fewer gateways, or fewer nodes in each"


@dataclass(frozen=True, slots=True)
class Slot:
    """One gateway on one preferred node.  ``order`` are its members as they take over, preferred first.

    Where VRIDs are short, slots with the same ``order`` have one ``vrid``, and the tunnel VIP with it.
    """

    number: int
    gateway: str
    node: str
    vrid: int
    tunnel_vips: Mapping[Family, int]
    order: tuple[str, ...]


class SlotNumbers(NamedTuple):
    """The index of each node; and of each slot, by ``GATEWAY/NODE``, its numbers, and its nodes as they take over."""

    nodes: Mapping[str, int]
    slots: Mapping[str, SlotLock]
    orders: Mapping[str, tuple[str, ...]]


class _Range(NamedTuple):
    """Numbers from ``first`` to ``last`` for ``keys``; ``setting`` is what bounds them, nothing where nobody can."""

    what: str
    keys: Collection[str]
    before: Mapping[str, int]
    first: int
    last: int
    setting: tuple[str, ...]
    hint: str


_FEWER_NODES = "replies by the tunnel are for at most 1023 nodes: leave gatewayReplyRoute out of the settings"


def slot_numbers(
    resolved: Resolved, keys: Collection[str], lock: Lock, settings: Settings, diagnostics: Collector
) -> SlotNumbers:
    """Node indices count up from the tunnel subnet's start, slot VIPs down from its end.

    ``keys`` name the slots.  There are none of either where numbers are exhausted.
    """
    tunnel = settings.tunnel.subnets
    room = {family: (tunnel[family].last - tunnel[family].first - 1) // 2 for family in resolved.families}
    tight = min(room, key=lambda family: room[family])
    subnet, half = ("tunnel", f"ipv{tight}Subnet"), room[tight]
    larger = f"set {'.'.join(subnet)} in the settings to a larger subnet: half is for nodes, half for slots"
    names = [node.name for node in resolved.cluster.nodes]
    # A host without an address keeps its number for when it has one again.
    names += [o.node.name for o in resolved.cluster.other_nodes if o.waiting and o.node.name in lock.nodes]
    slots = {key: entry.slot for key, entry in lock.slots.items()}
    most = min(half, MAX_NODE_INDEX)
    bound: tuple[tuple[str, ...], str] = (subnet, larger)
    if settings.gateway_reply_route and most > MAX_REPLY_INDEX:
        most, bound = MAX_REPLY_INDEX, (("gatewayReplyRoute",), _FEWER_NODES)
    nothing = SlotNumbers({}, {}, {})

    def give(numbers: _Range) -> dict[str, int] | None:
        try:
            return keep_or_give(numbers.keys, numbers.before, numbers.first, numbers.last)
        except Exhausted as problem:
            possible = numbers.last - numbers.first + 1
            message = f"no {numbers.what} is left: {len(numbers.keys)} needed, {possible} possible"
            place = limit_place(numbers.setting, _gateway_place(problem.key, resolved), settings)
            diagnostics.error("exhausted", message, place, hint=numbers.hint)
            return None

    indices = give(_Range("address for a node in the tunnel subnet", names, lock.nodes, 1, most, *bound))
    given = give(_Range("slot number (mark and table)", keys, slots, 1, MAX_SLOT, (), FEWER_SLOTS))
    if given is None:
        return nothing
    orders = _orders(given, resolved, settings)
    vrids = _vrids(orders, resolved, lock, settings, diagnostics)
    if vrids is None:
        return nothing
    instances = _by_instance(orders, vrids)
    vips = {first: vip for first, own in instances.items() if (vip := _vip_before(own, vrids[first], lock)) is not None}
    shared = give(_Range("address for a slot in the tunnel subnet", instances, vips, 1, half, subnet, larger))
    if indices is None or shared is None:
        return nothing
    of = {key: shared[first] for first, own in instances.items() for key in own}
    return SlotNumbers(indices, {key: SlotLock(given[key], vrids[key], of[key]) for key in orders}, orders)


def _orders(given: Mapping[str, int], resolved: Resolved, settings: Settings) -> dict[str, tuple[str, ...]]:
    """The nodes of each slot as they take over; ``given`` are the slots' numbers."""
    members: dict[str, SlotMembers] = {}
    orders: dict[str, tuple[str, ...]] = {}
    for key, number in sorted(given.items()):
        gateway, _, node = key.partition("/")
        if gateway not in members:
            nodes = (one.name for one in resolved.gateways[gateway].nodes)
            members[gateway] = SlotMembers(nodes, settings.vrrp.gateways_per_slot)
        orders[key] = members[gateway].order(node, number)
    return orders


def _vip_before(slots: Iterable[str], vrid: int, lock: Lock) -> int | None:
    """That of the instance with the VRID, which who comes to it takes over, or else of one of its slots."""
    known = sorted((lock.slots[key] for key in slots if key in lock.slots), key=lambda entry: entry.vrid != vrid)
    return known[0].vip if known else None


def _vrids(
    orders: Mapping[str, tuple[str, ...]], resolved: Resolved, lock: Lock, settings: Settings, diagnostics: Collector
) -> Mapping[str, int] | None:
    """Of each slot another than that of all slots that share nodes with it; None where they do not suffice.

    At last, slots with the same nodes in the same ``orders`` have one.
    """
    first = settings.vrrp.first_vrid
    before: dict[str, int] = {}
    vips: dict[tuple[tuple[str, ...], int], int] = {}
    for key in sorted(orders.keys() & lock.slots.keys()):
        # Those that share a VRID have one tunnel VIP; without that the file was merged.
        entry = lock.slots[key]
        if vips.setdefault((orders[key], entry.vrid), entry.vip) == entry.vip:
            before[key] = entry.vrid
    try:
        return keep_or_give_apart(orders, before, first, MAX_VRID)
    except Exhausted as problem:
        gateway, _, node = problem.key.partition("/")
        message = (
            f"no VRID is left for EgressGateway {gateway} on node {node}: {first} to {MAX_VRID} are taken by slots "
            "that have some of its nodes, or all in another order"
        )
        hint = f"{FEWER_SLOTS}; or set a lower vrrp.firstVRID in the settings" if first > 1 else FEWER_SLOTS
        place = limit_place(("vrrp", "firstVRID"), _gateway_place(problem.key, resolved), settings)
        diagnostics.error("exhausted", message, place, hint=hint)
        return None


def _by_instance(orders: Mapping[str, tuple[str, ...]], vrids: Mapping[str, int]) -> Mapping[str, tuple[str, ...]]:
    """Slots that one VRRP instance announces, by the first of each: they have the same nodes and the same VRID."""
    instances: dict[tuple[tuple[str, ...], int], list[str]] = {}
    for key in sorted(orders):
        instances.setdefault((orders[key], vrids[key]), []).append(key)
    return {keys[0]: tuple(keys) for keys in instances.values()}


def limit_place(setting: tuple[str, ...], otherwise: Position | None, settings: Settings) -> Position | None:
    """Where the limit is said, else what gets no number."""
    if settings.document is not None and settings.document.has(*setting):
        return settings.document.at(*setting)
    return otherwise


def _gateway_place(key: str, resolved: Resolved) -> Position | None:
    gateway = resolved.gateways.get(key.partition("/")[0]) if "/" in key else None
    return gateway.gateway.document.at("metadata", "name") if gateway is not None else None


def slot_of(key: str, numbers: SlotNumbers, resolved: Resolved, settings: Settings) -> Slot:
    gateway, _, node = key.partition("/")
    own = numbers.slots[key]
    vips = {family: settings.tunnel.subnets[family].last - own.vip for family in resolved.families}
    return Slot(own.slot, gateway, node, own.vrid, vips, numbers.orders[key])
