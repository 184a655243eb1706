"""Which gateway node each EIP prefers: evenly by policies, and never moved for evenness."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Unit(NamedTuple):
    """What moves as one: an EIP with all its policies, or one useNodeIP policy.  ``key`` names it in the lock."""

    key: str
    weight: int


def place_units(
    units: Sequence[Unit], nodes: Sequence[str], before: Mapping[str, str], total: Counter[str]
) -> dict[str, str]:
    """A node for each unit: the one of ``before`` while it is still among ``nodes``, else the emptiest.

    Heavy units are placed first.  Nodes are compared by the policies of this gateway, then by ``total``
    (all gateways placed so far, updated here), then by name, so that with units of one policy each no node
    gets more than its share.
    """
    load: Counter[str] = Counter()
    placed: dict[str, str] = {}

    def put(unit: Unit, node: str) -> None:
        placed[unit.key] = node
        load[node] += unit.weight
        total[node] += unit.weight

    waiting: list[Unit] = []
    for unit in units:
        node = before.get(unit.key)
        if node in nodes and node is not None:
            put(unit, node)
        else:
            waiting.append(unit)
    for unit in sorted(waiting, key=lambda unit: (-unit.weight, unit.key)):
        put(unit, min(nodes, key=lambda node: (load[node], total[node], node)))
    return placed
