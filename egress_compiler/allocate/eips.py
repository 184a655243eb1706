"""Which EIP each policy gets: what it names, what it had, the gateway's default, or one that nobody uses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from heapq import heapify, heapreplace
from typing import NamedTuple

from egress_compiler.model.lock import GatewayLock, Lock
from egress_compiler.model.policy import Gateway, Ref
from egress_compiler.net import (
    FAMILIES,
    AddressError,
    Family,
    contains,
    format_address,
    nth,
    parse_address,
    rank,
    size,
)
from egress_compiler.resolve import ResolvedPolicy


class EipPair(NamedTuple):
    """One EIP, with its partner in dual stack; None where the gateway's pool has no such family."""

    ipv4: int | None
    ipv6: int | None

    def of(self, family: Family) -> int | None:
        return self.ipv4 if family == 4 else self.ipv6

    @property
    def text(self) -> str:
        """The spelling that names the pair in the lock file: the IPv4 address where there is one."""
        if self.ipv4 is not None:
            return format_address(4, self.ipv4)
        return format_address(6, self.ipv6 or 0)


def pair_at(gateway: Gateway, index: int) -> EipPair:
    """The ``index``-th EIP of the pool."""
    four, six = (nth(gateway.pool[f], index) if gateway.pool[f] else None for f in FAMILIES)
    return EipPair(four, six)


def pool_size(gateway: Gateway) -> int:
    return max(size(gateway.pool[4]), size(gateway.pool[6]))


def pair_of(gateway: Gateway, family: Family, value: int) -> EipPair | None:
    """The pair that has ``value``; None where the pool does not hold it."""
    if not contains(gateway.pool[family], value):
        return None
    return pair_at(gateway, rank(gateway.pool[family], value))


def default_pair(gateway: Gateway, before: GatewayLock | None) -> EipPair:
    """The default EIP: what the user set, else what it was before, else the pool's first."""
    for family in FAMILIES:
        value = gateway.default_eip[family]
        if value is not None:
            found = pair_of(gateway, family, value)
            if found is not None:
                return found
    if before is not None:
        for text in (before.ipv4, before.ipv6):
            kept = _parsed(gateway, text)
            if kept is not None:
                return kept
    return pair_at(gateway, 0)


def _parsed(gateway: Gateway, text: str) -> EipPair | None:
    try:
        family, value = parse_address(text)
    except AddressError:
        return None
    return pair_of(gateway, family, value)


def choose_eips(
    gateway: Gateway, policies: Sequence[ResolvedPolicy], default: EipPair, lock: Lock
) -> Mapping[Ref, EipPair]:
    """The EIP of every policy of ``gateway`` that does not use node addresses."""
    chosen: dict[Ref, EipPair] = {}
    waiting: list[ResolvedPolicy] = []
    for resolved in policies:
        fixed = _fixed(resolved) or _kept(gateway, resolved, lock)
        if fixed is None and resolved.policy.allocator == "default":
            fixed = default
        if fixed is not None:
            chosen[resolved.policy.ref] = fixed
        else:
            waiting.append(resolved)
    users = Counter(chosen.values())
    free = _FreeEips(gateway, users)
    for resolved in sorted(waiting, key=lambda r: r.policy.ref):
        pair = free.take()
        chosen[resolved.policy.ref] = pair
    return chosen


def _fixed(resolved: ResolvedPolicy) -> EipPair | None:
    named = EipPair(resolved.eip[4], resolved.eip[6])
    return named if named != EipPair(None, None) else None


def _kept(gateway: Gateway, resolved: ResolvedPolicy, lock: Lock) -> EipPair | None:
    before = lock.policies.get(str(resolved.policy.ref))
    if before is None or before.gateway != gateway.name:
        return None
    if resolved.policy.allocator == "default" and not before.kept:
        return None
    return _parsed(gateway, before.ipv4) or _parsed(gateway, before.ipv6)


class _FreeEips:
    """Hands out unused EIPs in pool order, and once there are none the ones with the fewest policies."""

    def __init__(self, gateway: Gateway, users: Counter[EipPair]) -> None:
        self._gateway = gateway
        self._users = users
        self._next = 0
        self._size = pool_size(gateway)
        self._fewest: list[tuple[int, int]] = []

    def take(self) -> EipPair:
        while self._next < self._size:
            pair = pair_at(self._gateway, self._next)
            self._next += 1
            if not self._users[pair]:
                self._users[pair] += 1
                return pair
        if not self._fewest:
            self._fewest = [(self._users[pair_at(self._gateway, i)], i) for i in range(self._size)]
            heapify(self._fewest)
        count, index = self._fewest[0]
        heapreplace(self._fewest, (count + 1, index))
        return pair_at(self._gateway, index)
