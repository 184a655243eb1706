"""The gateway nodes that may have a slot: of many a few, so that nothing grows with the square of a gateway's nodes."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from egress_compiler.resolve import ResolvedGateway


class _Ring(NamedTuple):
    """Names in an order that has nothing to do with how they are made; ``place`` is that of each."""

    names: tuple[str, ...]
    place: dict[str, int]


class SlotMembers:
    """Behind each node stand the next ones of a ring: a node that comes or goes concerns its neighbours there alone.

    EgressGateways with the same nodes have the same backups behind the same node.
    """

    def __init__(self, gateways_per_slot: int) -> None:
        self._most = gateways_per_slot - 1
        self._rings: dict[tuple[str, ...], _Ring] = {}

    def backups(self, gateway: ResolvedGateway, preferred: str) -> tuple[str, ...]:
        """Who may take over from ``preferred``, sorted by name."""
        names, place = self._ring(tuple(node.name for node in gateway.nodes))
        after = place[preferred] + 1
        around = (*names[after : after + self._most], *names[: max(after + self._most - len(names), 0)])
        return tuple(sorted(set(around) - {preferred}))

    def order(self, gateway: ResolvedGateway, preferred: str, slot: int) -> tuple[str, ...]:
        """As they take over, ``preferred`` first: turned by the slot's number, so that a dead node's slots spread."""
        backups = self.backups(gateway, preferred)
        turn = slot % len(backups) if backups else 0
        return (preferred, *backups[turn:], *backups[:turn])

    def _ring(self, nodes: tuple[str, ...]) -> _Ring:
        if nodes not in self._rings:
            names = tuple(sorted(nodes, key=lambda name: hashlib.blake2b(name.encode(), digest_size=8).digest()))
            self._rings[nodes] = _Ring(names, {name: place for place, name in enumerate(names)})
        return self._rings[nodes]
