"""Which pod has which address.  Addresses go from pod to pod, and a snapshot may see both."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from operator import attrgetter
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
    try:
        addresses = tuple([parse_address(entry.ip) for entry in entries or () if entry.ip])
    except AddressError:
        return _judged(item)
    if not entries or len({*addresses}) != len(entries):
        return _judged(item)
    return PodIps(addresses, _places(len(entries)))


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


class _Owner(NamedTuple):
    """A pod and, of each of its addresses, where it stands."""

    pod: Pod
    origin: Origin
    places: Sequence[Path]


class PodAddresses:
    """Gathers the pods; those that may be gone give way to others with their addresses.

    They are those that are being deleted, whose node does not answer, or whose node there is not.
    """

    def __init__(self) -> None:
        self._owners: list[_Owner] = []
        self._leaving: set[str] = set()
        self._bad: list[BadAddress] = []

    def add(self, pod: Pod, item: Located, ips: PodIps) -> None:
        if item.object.metadata.deletionTimestamp or item.object.status.phase == "Unknown":
            self._leaving.add(pod.key)
        if pod.addresses:
            self._owners.append(_Owner(pod, item.origin, ips.places))
        self._bad += [BadAddress(problem, Claim(pod, item.origin, path)) for path, problem in ips.bad]

    def settled(
        self, nodes: Collection[str]
    ) -> tuple[tuple[Pod, ...], tuple[SharedAddress, ...], tuple[BadAddress, ...]]:
        """The pods with the addresses that are theirs, the addresses of several, and what is no address; sorted.

        Of several that may be gone the first by name keeps the address.
        """
        self._leaving |= {pod.key for pod, _, _ in self._owners if pod.node and pod.node not in nodes}
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
        pods: Iterable[Pod] = (owner.pod for owner in self._owners)
        if lost:
            pods = (_without(pod, lost[pod.key]) if pod.key in lost else pod for pod in pods)
        known = sorted((pod for pod in pods if pod.addresses), key=attrgetter("namespace", "name"))
        bad = sorted(self._bad, key=lambda one: (one.claim.pod.key, one.problem))
        return tuple(known), tuple(sorted(shared, key=lambda one: one.address)), tuple(bad)

    def _claimed_by_several(self) -> dict[Address, list[Claim]]:
        counts = Counter(address for pod, _, _ in self._owners for address in pod.addresses)
        claims: dict[Address, list[Claim]] = {address: [] for address, count in counts.items() if count > 1}
        for owner in self._owners if claims else ():
            for address, place in zip(owner.pod.addresses, owner.places, strict=True):
                if address in claims:
                    claims[address].append(Claim(owner.pod, owner.origin, place))
        return claims


def _without(pod: Pod, addresses: set[Address]) -> Pod:
    return replace(pod, addresses=tuple(a for a in pod.addresses if a not in addresses))
