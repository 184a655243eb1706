"""Which pod has which address.  Addresses go from pod to pod, and a snapshot may see both."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain
from operator import itemgetter
from typing import NamedTuple

from egress_compiler.document import Path
from egress_compiler.load.objects import Located
from egress_compiler.model.cluster import BadAddress, Claim, Pod, SharedAddress
from egress_compiler.net import Address, AddressError, parse_address
from egress_compiler.source import Origin

_Bad = tuple[Path, str]
"""Where something stands that is no address, and why it is none."""


def parsed(text: str) -> tuple[Address | None, str]:
    """The address, or what is wrong with it."""
    try:
        return parse_address(text), ""
    except AddressError as problem:
        return None, str(problem)


class PodIps(NamedTuple):
    """The addresses that a Pod has, each once, with their places, and what is none among them."""

    addresses: tuple[Address, ...]
    places: Sequence[Path]
    bad: Sequence[_Bad] = ()


def pod_ips(item: Located) -> PodIps:
    entries = item.object.status.podIPs
    if entries is None or not 1 <= len(entries) <= 2:
        return _judged(item)
    # Nearly every pod has one or two.
    try:
        first, last = parse_address(entries[0].ip or ""), parse_address(entries[-1].ip or "")
    except AddressError:
        return _judged(item)
    # As PodIps(...), without a call in between.
    if len(entries) == 1:
        return tuple.__new__(PodIps, ((first,), _places(1), ()))
    return tuple.__new__(PodIps, ((first, last), _places(2), ())) if first != last else _judged(item)


@lru_cache
def _places(count: int) -> tuple[Path, ...]:
    return tuple(("status", "podIPs", index, "ip") for index in range(count))


def _judged(item: Located) -> PodIps:
    entries, single = item.object.status.podIPs or (), item.object.status.podIP
    texts: list[tuple[Path, str]] = [
        (path, entry.ip) for path, entry in zip(_places(len(entries)), entries, strict=True) if entry.ip
    ]
    places: dict[Address, Path] = {}
    bad: list[_Bad] = []
    for path, text in texts or ([(("status", "podIP"), single)] if single else []):
        address, problem = parsed(text)
        if address is not None:
            places.setdefault(address, path)
        else:
            bad.append((path, problem))
    return PodIps(tuple(places), tuple(places.values()), bad)


class PodAddresses:
    """Gathers the pods; those that may be gone give way to others with their addresses.

    They are those that are being deleted, whose node does not answer, or whose node there is not.
    """

    def __init__(self) -> None:
        self._pods: list[Pod] = []
        self._said: list[tuple[Origin, PodIps]] = []
        """Of each of the pods where it stands, and its addresses with their places in it."""
        self._leaving: set[str] = set()
        self._bad: list[BadAddress] = []

    def add(self, pod: Pod, origin: Origin, ips: PodIps, *, leaves: bool) -> None:
        """``leaves``: the pod may be gone."""
        if leaves:
            self._leaving.add(pod.key)
        if pod.addresses:
            self._pods.append(pod)
            self._said.append((origin, ips))
        if ips.bad:
            self._bad += [BadAddress(problem, Claim(pod, origin, path)) for path, problem in ips.bad]

    def settled(
        self, nodes: Collection[str]
    ) -> tuple[tuple[Pod, ...], tuple[SharedAddress, ...], tuple[BadAddress, ...]]:
        """The pods with the addresses that are theirs, the addresses of several, and what is no address; sorted.

        Of several that may be gone the first by name keeps the address.
        """
        self._leaving |= {pod.key for pod in self._pods if pod.node and pod.node not in nodes}
        shared: list[SharedAddress] = []
        lost: dict[str, set[Address]] = {}
        for address, claims in self._claimed_by_several().items():
            staying = [claim for claim in claims if claim.pod.key not in self._leaving]
            keeping = staying or [min(claims, key=lambda claim: claim.pod.key)]
            kept = {claim.pod.key for claim in keeping}
            for claim in claims:
                if claim.pod.key not in kept:
                    lost.setdefault(claim.pod.key, set()).add(address)
            if len(staying) > 1:
                every = sorted(staying, key=lambda claim: claim.pod.key)
                shared.append(SharedAddress(address, tuple(every)))
        pods: Iterable[Pod] = self._pods
        if lost:
            kept_by = (_without(pod, lost[pod.key]) if pod.key in lost else pod for pod in pods)
            pods = (pod for pod in kept_by if pod.addresses)
        bad = sorted(self._bad, key=lambda one: (one.claim.pod.key, one.problem))
        return tuple(_sorted(pods)), tuple(sorted(shared, key=lambda one: one.address)), tuple(bad)

    def _claimed_by_several(self) -> dict[Address, list[Claim]]:
        every = [*chain.from_iterable(map(itemgetter(4), self._pods))]
        if len({*every}) == len(every):
            return {}
        claims: dict[Address, list[Claim]] = {address: [] for address, count in Counter(every).items() if count > 1}
        for pod, (origin, ips) in zip(self._pods, self._said, strict=True):
            for address, place in zip(ips.addresses, ips.places, strict=True):
                if address in claims:
                    claims[address].append(Claim(pod, origin, place))
        return claims


def _sorted(pods: Iterable[Pod]) -> Iterator[Pod]:
    """By namespace and name: names alone are compared in half the time that pairs take."""
    by_namespace: dict[str, list[Pod]] = {}
    for pod in pods:
        by_namespace.setdefault(pod[0], []).append(pod)
    for namespace in sorted(by_namespace):
        yield from sorted(by_namespace[namespace], key=itemgetter(1))


def _without(pod: Pod, addresses: set[Address]) -> Pod:
    return pod._replace(addresses=tuple(a for a in pod.addresses if a not in addresses))
