"""EIPs that cannot be on different nodes: an address is on one node, and with it all policies that leave with it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from egress_compiler.allocate.eips import EipPair
from egress_compiler.model.policy import Gateway
from egress_compiler.net import contains, rank


def eip_groups(gateway: Gateway, pairs: Iterable[EipPair], default: EipPair) -> Mapping[EipPair, tuple[EipPair, ...]]:
    """Of each pair all those that share its node; sorted by their addresses.

    Partners are alone as a rule.  Two addresses that are none tie the EIPs of both together, whether these are in use
    or not, and so does the default: no new policy then brings together what is on different nodes.
    """
    known = sorted(set(pairs), key=lambda pair: (pair.ipv4 or -1, pair.ipv6 or -1))
    head: dict[int, int] = {}

    def top(number: int) -> int:
        while (above := head.setdefault(number, number)) != number:
            head[number] = head[above]
            number = above
        return number

    for pair in (*known, default):
        numbers = _numbers(gateway, pair)
        for number in numbers[1:]:
            head[top(number)] = top(numbers[0])
    members: dict[int, list[EipPair]] = {}
    for pair in known:
        members.setdefault(top(_numbers(gateway, pair)[0]), []).append(pair)
    return {pair: tuple(group) for group in members.values() for pair in group}


def _numbers(gateway: Gateway, pair: EipPair) -> list[int]:
    """Which of the pool its addresses are."""
    held = ((gateway.pool[family], value) for family, value in pair.addresses)
    return [rank(pool, value) for pool, value in held if contains(pool, value)]
