"""Answers that no policy gives any more, for the connections that began with them.

A worker leads an open connection by its answer number, and a gateway knows by it what may pass.  So a number is good
for its EIP beyond the change that took it from its policy: as long as the EIP is where another policy leaves with it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from egress_compiler.allocate.eips import EipPair
from egress_compiler.contract.numbers import MAX_NUMBER
from egress_compiler.model.lock import GoneLock, Lock

MAX_GONE = 100
"""Of a cluster; the numbers that were handed out last stay."""


@dataclass(frozen=True, slots=True)
class GoneAnswer:
    """``policy`` is what gave it; ``eip`` is NO_EIP for the address of the gateway node that has the slot."""

    number: int
    policy: str
    eip: EipPair
    slot: int


class Left(NamedTuple):
    """What a policy leaves with: EIPs as text, or the address of the node."""

    gateway: str
    ipv4: str
    ipv6: str
    node: str


def left_with(entry: GoneLock) -> Left:
    return Left(entry.gateway, entry.ipv4, entry.ipv6, entry.node)


def gone_locks(
    before: Lock, answers: Mapping[str, int], last: int, possible: Collection[int], used: Collection[Left]
) -> dict[str, GoneLock]:
    """What the new lock has of answers that are gone, where ``answers`` are those that are given.

    ``used`` is what policies leave with.  Of two with one number the first stays.
    """
    free = frozenset(possible) - {*answers.values()}
    left: dict[str, GoneLock] = {}
    for key, entry in sorted({**dict(_candidates(before)), **before.gone}.items()):
        if key not in answers and entry.number in free and left_with(entry) in used:
            left[key] = entry
            free -= {entry.number}
    newest = sorted(left, key=lambda key: (last - left[key].number) % (MAX_NUMBER + 1))
    return {key: left[key] for key in sorted(newest[:MAX_GONE])}


def _candidates(before: Lock) -> Iterator[tuple[str, GoneLock]]:
    for key, number in before.answers.items():
        policy = before.policies.get(policy_of(key))
        if policy is not None:
            yield key, GoneLock(number, policy.gateway, policy.ipv4, policy.ipv6, policy.node)


def policy_of(key: str) -> str:
    """Of a key of the lock's answers."""
    return key.rpartition(" ")[0]
