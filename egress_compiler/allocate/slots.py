"""Slots, and the numbers that they and the nodes have."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from egress_compiler.allocate.numbers import Exhausted, keep_or_give, keep_or_give_apart
from egress_compiler.allocate.segments import connected
from egress_compiler.contract.numbers import MAX_NODE_INDEX, MAX_REPLY_INDEX, MAX_SLOT, MAX_VRID
from egress_compiler.diagnostics import Collector, listing
from egress_compiler.model.lock import Lock, SlotLock
from egress_compiler.model.settings import Settings
from egress_compiler.net import Family
from egress_compiler.resolve import Resolved
from egress_compiler.source import Position

FEWER_SLOTS = "a slot is one gateway on one preferred node: use fewer gateways, or fewer nodes in each"


@dataclass(frozen=True, slots=True)
class Slot:
    """One gateway on one preferred node.  ``order`` are the gateway's nodes as they take over, preferred first."""

    number: int
    gateway: str
    node: str
    vrid: int
    tunnel_vips: Mapping[Family, int]
    order: tuple[str, ...]


class SlotNumbers(NamedTuple):
    """The index of each node; and the numbers of each slot, by ``GATEWAY/NODE``."""

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
    slots, vips = ({key: getattr(entry, name) for key, entry in lock.slots.items()} for name in ("slot", "vip"))
    most = min(half, MAX_NODE_INDEX)
    bound: tuple[tuple[str, ...], str] = (subnet, larger)
    if settings.gateway_reply_route and most > MAX_REPLY_INDEX:
        most, bound = MAX_REPLY_INDEX, (("gatewayReplyRoute",), _FEWER_NODES)
    ranges = (
        _Range("address for a node in the tunnel subnet", names, lock.nodes, 1, most, *bound),
        _Range("slot number (mark and table)", keys, slots, 1, MAX_SLOT, (), FEWER_SLOTS),
        _Range("address for a slot in the tunnel subnet", keys, vips, 1, half, subnet, larger),
    )
    given: list[dict[str, int]] = []
    for numbers in ranges:
        try:
            given.append(keep_or_give(numbers.keys, numbers.before, numbers.first, numbers.last))
        except Exhausted as problem:
            possible = numbers.last - numbers.first + 1
            message = f"no {numbers.what} is left: {len(numbers.keys)} needed, {possible} possible"
            place = limit_place(numbers.setting, _gateway_place(problem.key, resolved), settings)
            diagnostics.error("exhausted", message, place, hint=numbers.hint)
    vrids = _vrids(resolved, keys, lock, settings, diagnostics)
    if len(given) < len(ranges) or vrids is None:
        return SlotNumbers({}, {})
    return SlotNumbers(given[0], {key: SlotLock(given[1][key], vrids[key], given[2][key]) for key in sorted(keys)})


def slots_by_segment(resolved: Resolved, keys: Collection[str]) -> tuple[tuple[str, ...], ...]:
    """``keys``, which name slots, in groups: gateway nodes of slots in different groups do not hear each other."""
    of_gateway: dict[str, list[str]] = {}
    for key in sorted(keys):
        of_gateway.setdefault(key.partition("/")[0], []).append(key)
    groups = connected({name: [node.name for node in resolved.gateways[name].nodes] for name in of_gateway})
    return tuple(tuple(key for name in group for key in of_gateway[name]) for group in groups)


def _vrids(
    resolved: Resolved, keys: Collection[str], lock: Lock, settings: Settings, diagnostics: Collector
) -> Mapping[str, int] | None:
    """Of each slot another than that of all slots whose gateway nodes hear its own; None where they do not suffice."""
    groups, first = slots_by_segment(resolved, keys), settings.vrrp.first_vrid
    possible = MAX_VRID - first + 1
    hint = f"{FEWER_SLOTS}; or set a lower vrrp.firstVRID in the settings" if first > 1 else FEWER_SLOTS
    full = [group for group in groups if len(group) > possible]
    for group in full:
        names = sorted({key.partition("/")[0] for key in group})
        whose = f"EgressGateway {names[0]}" if len(names) == 1 else f"the EgressGateways {listing(names)}"
        sharing = ", which share nodes" if len(names) > 1 else ""
        message = f"no VRID is left for {whose}{sharing}: {len(group)} needed, {possible} possible"
        place = limit_place(("vrrp", "firstVRID"), _gateway_place(max(group), resolved), settings)
        diagnostics.error("exhausted", message, place, hint=hint)
    before = {key: entry.vrid for key, entry in lock.slots.items()}
    return None if full else keep_or_give_apart(groups, before, first, MAX_VRID)


def limit_place(setting: tuple[str, ...], otherwise: Position | None, settings: Settings) -> Position | None:
    """Where the limit is said, else what gets no number."""
    if settings.document is not None and settings.document.has(*setting):
        return settings.document.at(*setting)
    return otherwise


def _gateway_place(key: str, resolved: Resolved) -> Position | None:
    gateway = resolved.gateways.get(key.partition("/")[0]) if "/" in key else None
    return gateway.gateway.document.at("metadata", "name") if gateway is not None else None


def slot_of(key: str, numbers: SlotLock, resolved: Resolved, settings: Settings) -> Slot:
    gateway, _, node = key.partition("/")
    names = [member.name for member in resolved.gateways[gateway].nodes]
    others = [name for name in names if name != node]
    # Rotated by the slot's number, so that the slots of a dead node spread over the others.
    turn = numbers.slot % len(others) if others else 0
    vips = {family: settings.tunnel.subnets[family].last - numbers.vip for family in resolved.families}
    return Slot(numbers.slot, gateway, node, numbers.vrid, vips, (node, *others[turn:], *others[:turn]))
