"""The gateway nodes that may have a slot: of many a few, so that nothing grows with the square of a gateway's nodes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import cache


class SlotMembers:
    """Who may have the slots of an EgressGateway with these ``nodes``.  Behind each node stand the next ones of a ring.

    A node that comes or goes concerns its neighbours there alone.  EgressGateways with the same nodes have the same
    backups behind the same node.
    """

    def __init__(self, nodes: Iterable[str], gateways_per_slot: int) -> None:
        self._ring = tuple(sorted(nodes, key=_place))
        self._index = {name: index for index, name in enumerate(self._ring)}
        self._backups = min(gateways_per_slot, len(self._ring)) - 1

    def backups(self, preferred: str) -> tuple[str, ...]:
        """Who may take over from ``preferred``, sorted by name."""
        first = self._index[preferred] + 1
        after = self._ring[first : first + self._backups]
        return tuple(sorted(after + self._ring[: self._backups - len(after)]))

    def order(self, preferred: str, slot: int) -> tuple[str, ...]:
        """As they take over, ``preferred`` first: turned by the slot's number, so that a dead node's slots spread."""
        backups = self.backups(preferred)
        turn = slot % len(backups) if backups else 0
        return (preferred, *backups[turn:], *backups[:turn])


@cache
def _place(name: str) -> bytes:
    """Has nothing to do with how nodes are named."""
    return hashlib.blake2b(name.encode(), digest_size=8).digest()
