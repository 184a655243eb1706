"""Which EIP each policy gets: what it names, what it had, the gateway's default, or one that nobody uses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from heapq import heapify, heapreplace
from typing import NamedTuple

from egress_compiler.model.lock import GatewayLock, Lock, PolicyLock
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
    """What a policy leaves with; None where the gateway's pool has no such family.

    What is given out are partners, the n-th of both pools.  What people wrote as defaults, what was imported and what
    the lock file has may be any two addresses.
    """

    ipv4: int | None
    ipv6: int | None

    def of(self, family: Family) -> int | None:
        return self.ipv4 if family == 4 else self.ipv6

    @property
    def text(self) -> str:
        """The spelling that names it in the lock file: the IPv4 address where there is one."""
        if self.ipv4 is not None:
            return format_address(4, self.ipv4)
        return format_address(6, self.ipv6 or 0)

    @property
    def texts(self) -> tuple[str, str]:
        """Both addresses, '' for none."""
        four, six = (format_address(f, value) if (value := self.of(f)) is not None else "" for f in FAMILIES)
        return four, six

    @property
    def addresses(self) -> tuple[tuple[Family, int], ...]:
        return tuple((family, value) for family in FAMILIES if (value := self.of(family)) is not None)

    def within(self, families: Sequence[Family]) -> EipPair:
        """The same without the families that are not named."""
        return EipPair(self.ipv4 if 4 in families else None, self.ipv6 if 6 in families else None)


NO_EIP = EipPair(None, None)


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


def pair_said(gateway: Gateway, four: str, six: str) -> EipPair | None:
    """The pair of two spellings: both as they are while the pool has them, else the one that it has and its partner.

    None where the pool has neither.
    """
    held: dict[Family, int] = {}
    for family, text in zip(FAMILIES, (four, six), strict=True):
        try:
            address = parse_address(text)
        except AddressError:
            continue
        if address.family == family and contains(gateway.pool[family], address.value):
            held[family] = address.value
    if len(held) == len(gateway.families):
        return EipPair(held.get(4), held.get(6)) if held else None
    return next((pair_of(gateway, family, value) for family, value in held.items()), None)


def pair_named(gateway: Gateway, text: str) -> EipPair | None:
    """The pair that has the address ``text``; None where the pool does not hold it."""
    return pair_said(gateway, "", text) if ":" in text else pair_said(gateway, text, "")


def default_pair(gateway: Gateway, before: GatewayLock | None) -> EipPair:
    """The default EIP: what the user set, else what it was before, else the pool's first.

    Of one address that is set the other is what it was before with it, else the partner.
    """
    given = EipPair(gateway.default_eip[4], gateway.default_eip[6])
    kept = pair_said(gateway, before.ipv4, before.ipv6) if before is not None else None
    if kept is not None and _agrees(kept, given):
        return kept
    if len(given.addresses) == len(gateway.families):
        return given
    return next((pair for a in given.addresses if (pair := pair_of(gateway, *a)) is not None), pair_at(gateway, 0))


def _agrees(pair: EipPair, wanted: EipPair) -> bool:
    """Whether ``pair`` has all that is wanted."""
    return all(pair.of(family) == value for family, value in wanted.addresses)


def choose_eips(
    gateway: Gateway, policies: Sequence[ResolvedPolicy], default: EipPair, lock: Lock
) -> Mapping[Ref, EipPair]:
    """The EIP of every policy of ``gateway`` that does not use node addresses."""
    chosen: dict[Ref, EipPair] = {}
    waiting: list[ResolvedPolicy] = []
    for resolved in policies:
        before = lock.policies.get(str(resolved.policy.ref))
        if before is not None and before.gateway != gateway.name:
            before = None
        fixed = _fixed(gateway, resolved, before) or _kept(gateway, resolved, before)
        if fixed is None and resolved.policy.allocator == "default":
            fixed = default
        if fixed is not None:
            chosen[resolved.policy.ref] = fixed
        else:
            waiting.append(resolved)
    free = _FreeEips(gateway, chosen.values())
    for resolved in sorted(waiting, key=lambda r: r.policy.ref):
        pair = free.take()
        chosen[resolved.policy.ref] = pair
    return chosen


def _fixed(gateway: Gateway, resolved: ResolvedPolicy, before: PolicyLock | None) -> EipPair | None:
    """What the policy names; where that is one address, with the other that it had, else with the partner."""
    named = EipPair(resolved.policy.eip[4], resolved.policy.eip[6])
    if named == NO_EIP:
        return None
    kept = pair_said(gateway, before.ipv4, before.ipv6) if before is not None else None
    if kept is not None and _agrees(kept, named):
        return kept
    return EipPair(resolved.eip[4], resolved.eip[6])


def _kept(gateway: Gateway, resolved: ResolvedPolicy, before: PolicyLock | None) -> EipPair | None:
    if before is None or (resolved.policy.allocator == "default" and not before.kept):
        return None
    return pair_said(gateway, before.ipv4, before.ipv6)


class _FreeEips:
    """Hands out unused EIPs in pool order, and once there are none the ones with the fewest policies.

    An EIP is used where a policy leaves with either of its addresses.
    """

    def __init__(self, gateway: Gateway, chosen: Iterable[EipPair]) -> None:
        self._gateway = gateway
        self._users: Counter[EipPair] = Counter()
        for pair, count in Counter(chosen).items():
            for touched in {pair_of(gateway, *address) for address in pair.addresses}:
                if touched is not None:
                    self._users[touched] += count
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
