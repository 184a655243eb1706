"""Which pod has which address.  Addresses go from pod to pod, and a snapshot may see both."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace

from egress_compiler.document import Path
from egress_compiler.load.objects import Located
from egress_compiler.model.cluster import BadAddress, Claim, Pod, SharedAddress
from egress_compiler.net import Address

_Read = tuple[Path, Address | None, str]
"""Where an address stands, and what is wrong with it where it is none."""


class PodAddresses:
    """Gathers the pods; those that may be gone give way to others with their addresses.

    They are those that are being deleted, whose node does not answer, or whose node there is not.
    """

    def __init__(self) -> None:
        self._pods: list[Pod] = []
        self._leaving: set[str] = set()
        self._bad: list[BadAddress] = []
        self._owners: dict[Address, Claim | list[Claim]] = {}

    def add(self, pod: Pod, item: Located, read: Iterable[_Read]) -> None:
        if item.object.metadata.deletionTimestamp or item.object.status.phase == "Unknown":
            self._leaving.add(pod.key)
        if pod.addresses:
            self._pods.append(pod)
        for path, address, problem in read:
            claim = Claim(pod, item.origin, path)
            if address is None:
                self._bad.append(BadAddress(problem, claim))
                continue
            first = self._owners.setdefault(address, claim)
            if isinstance(first, list):
                first.append(claim)
            elif first.pod is not pod:
                self._owners[address] = [first, claim]

    def settled(
        self, nodes: Collection[str]
    ) -> tuple[tuple[Pod, ...], tuple[SharedAddress, ...], tuple[BadAddress, ...]]:
        """The pods with the addresses that are theirs, the addresses of several, and what is no address; sorted.

        Of several that may be gone the first by name keeps the address.
        """
        self._leaving |= {pod.key for pod in self._pods if pod.node and pod.node not in nodes}
        shared: list[SharedAddress] = []
        lost: dict[str, set[Address]] = {}
        for address, claims in self._owners.items():
            if isinstance(claims, list):
                staying = [claim for claim in claims if claim.pod.key not in self._leaving]
                keeping = staying or [min(claims, key=lambda claim: claim.pod.key)]
                kept = {claim.pod.key for claim in keeping}
                for claim in claims:
                    if claim.pod.key not in kept:
                        lost.setdefault(claim.pod.key, set()).add(address)
                if len(staying) > 1:
                    every = sorted(staying, key=lambda claim: claim.pod.key)
                    shared.append(SharedAddress(address, tuple(every)))
        pods = (_without(pod, lost[pod.key]) if pod.key in lost else pod for pod in self._pods)
        known = sorted((pod for pod in pods if pod.addresses), key=lambda pod: (pod.namespace, pod.name))
        bad = sorted(self._bad, key=lambda one: (one.claim.pod.key, one.problem))
        return tuple(known), tuple(sorted(shared, key=lambda one: one.address)), tuple(bad)


def _without(pod: Pod, addresses: set[Address]) -> Pod:
    return replace(pod, addresses=tuple(a for a in pod.addresses if a not in addresses))
