"""Which gateway node each EIP prefers: evenly by policies, and never moved for evenness."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from heapq import heapify, heapreplace
from typing import NamedTuple


class Unit(NamedTuple):
    """What moves as one: an EIP with all its policies, or one useNodeIP policy.  ``key`` names it in the lock.

    ``keeps_address`` is False for the latter: on another node it leaves with another address.
    """

    key: str
    weight: int
    keeps_address: bool = True


def place_units(
    units: Sequence[Unit],
    nodes: Sequence[str],
    before: Mapping[str, str],
    total: Counter[str],
    unready: Collection[str] = (),
) -> dict[str, str]:
    """A node for each unit: the one of ``before`` while it is still among ``nodes``, else the emptiest.

    New units go to none of the ``unready`` nodes while there are others; what is placed stays.  Heavy units are placed
    first.  Nodes are compared by the policies of this gateway, then by ``total`` (all gateways placed so far, updated
    here), then by name, so that with units of one policy each no node gets more than its share.
    """
    load: Counter[str] = Counter()
    placed: dict[str, str] = {}
    members = frozenset(nodes)
    waiting: list[Unit] = []
    for unit in units:
        node = before.get(unit.key)
        if node is not None and node in members:
            placed[unit.key] = node
            load[node] += unit.weight
            total[node] += unit.weight
        else:
            waiting.append(unit)
    emptiest = [(load[node], total[node], node) for node in nodes if node not in unready]
    emptiest = emptiest or [(load[node], total[node], node) for node in nodes]
    heapify(emptiest)
    for unit in sorted(waiting, key=lambda unit: (-unit.weight, unit.key)):
        of_gateway, of_all, node = emptiest[0]
        heapreplace(emptiest, (of_gateway + unit.weight, of_all + unit.weight, node))
        placed[unit.key] = node
        total[node] += unit.weight
    return placed


def even_out(
    units: Sequence[Unit],
    nodes: Sequence[str],
    placed: Mapping[str, str],
    fixed: frozenset[str],
    unready: Collection[str] = (),
) -> dict[str, str]:
    """``placed`` made even by few moves; the units in ``fixed`` stay, and none moves to an ``unready`` node.

    Each move takes one unit from a fuller node to an emptier one and makes the two more alike, so it ends; with
    units of one policy each, no two nodes then differ by more than one, and no unit has moved twice.
    """
    now = dict(placed)
    targets = [node for node in nodes if node not in unready]
    load = Counter(dict.fromkeys(nodes, 0))
    movable: dict[str, list[Unit]] = {node: [] for node in nodes}
    for unit in sorted(units, key=lambda unit: unit.key):
        load[now[unit.key]] += unit.weight
        if unit.key not in fixed:
            movable[now[unit.key]].append(unit)
    while (move := _best_move(nodes, targets, load, movable)) is not None:
        unit, source, target = move
        movable[source].remove(unit)
        movable[target].append(unit)
        load[source] -= unit.weight
        load[target] += unit.weight
        now[unit.key] = target
    return now


def _best_move(
    nodes: Sequence[str], targets: Sequence[str], load: Mapping[str, int], movable: Mapping[str, Sequence[Unit]]
) -> tuple[Unit, str, str] | None:
    """From the fullest node that can give to the emptiest that can take: the unit that evens the two out most."""
    for source in sorted(nodes, key=lambda node: (-load[node], node)):
        for target in sorted(targets, key=lambda node: (load[node], node)):
            gap = load[source] - load[target]
            fitting = [unit for unit in movable[source] if unit.weight < gap]
            if fitting:
                return min(fitting, key=lambda u: (abs(2 * u.weight - gap), not u.keeps_address, u.key)), source, target
    return None
