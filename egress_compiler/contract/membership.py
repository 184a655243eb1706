# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""Which pods belong to which policies, and what that makes of a node's plan: the fast loop's meaning.

Pure: what a node knows of its pods goes in, a plan comes out that means what a compilation with these pods means.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Optional, Protocol

from .members import MemberPolicy, MemberSlot
from .plan import (
    Address,
    Answer,
    Both,
    Family,
    LastResort,
    NodePlan,
    PolicyOrder,
    Source,
    Sources,
    WorkerRole,
)
from .selectors import Labels

UNGOVERNED = ""
"""In place of a chain: a known pod that no policy selects, where unknown ones are refused."""
BLOCKED = "blocked"
"""In place of a chain: a pod of which only the address is known, and which must not leave yet."""
REFUSED = "unknown_pods"
"""The chain of sources that are refused unless a pod is known there; no Kubernetes name has an underscore."""
WAITING = "waits to be known"
"""The owner of a source that is blocked."""
MAX_NAME = 80
"""Of policies in a chain's name: the kernel takes 127 characters, and prefixes are put before it."""


@dataclass(frozen=True)
class KnownPod:
    """A pod of the node; ``addresses`` are those by which policies may take it, in the kernel's spelling."""

    namespace: str
    name: str
    uid: str
    labels: Mapping[str, str]
    addresses: tuple[Address, ...]

    @property
    def owner(self) -> str:
        return "%s/%s" % (self.namespace, self.name)


@dataclass(frozen=True)
class Known:
    """What a node knows of its pods.  Of two pods with one address the later one has it.

    ``namespaces`` has their labels by name.  ``kept`` names policies, as their chains do, whose answers stay for the
    connections that have them.  ``waiting`` are addresses whose pod is not known yet.
    """

    pods: tuple[KnownPod, ...] = ()
    namespaces: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    kept: frozenset[str] = frozenset()
    waiting: tuple[Address, ...] = ()


class Members(Protocol):
    """Policies and slots of members.json."""

    def of_namespace(self, namespace: str) -> Sequence[MemberPolicy]:
        """Those that may select a pod there, by rank."""

    @property
    def whole(self) -> Sequence[MemberPolicy]:
        """Those that take addresses, whoever has them, by rank."""

    @property
    def gone(self) -> Sequence[Answer]:
        """Answers that no policy gives any more, for the connections that have them."""

    def named(self, name: str) -> Optional[MemberPolicy]:
        """By the name of its chain."""

    def slot(self, number: int) -> MemberSlot: ...


class Selection:
    """Which policies select a pod, remembered for pods and labels of namespaces that stay the same objects.

    For one ``members``: who asks again and again of many pods, of which few change, asks with the same one.
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[KnownPod, Optional[Mapping[str, str]], tuple[MemberPolicy, ...]]] = {}

    def of(self, pod: KnownPod, members: Members, known: Known) -> tuple[MemberPolicy, ...]:
        labels = known.namespaces.get(pod.namespace)
        found = self._known.get(pod.owner)
        if found is None or found[0] is not pod or found[1] is not labels:
            policies = members.of_namespace(pod.namespace)
            found = (pod, labels, tuple(policy for policy in policies if selects(policy, pod, known)))
            self._known[pod.owner] = found
        return found[2]

    def forget_others(self, pods: Iterable[KnownPod]) -> None:
        """All but of these."""
        self._known = {pod.owner: self._known[pod.owner] for pod in pods if pod.owner in self._known}


def with_pods(plan: NodePlan, members: Members, known: Known, selection: Optional[Selection] = None) -> NodePlan:
    """The node's plan with the pods that it knows: what is in the kernel.  ``plan`` has none."""
    sources = dict(_sources(plan, members, known, selection or Selection()))
    used = {policy.chain.name: policy for source in sources.values() for policy in source.order}
    kept = (members.named(name) for name in sorted(known.kept - used.keys()))
    worker = _with_policies(plan.worker, members, used, [policy for policy in kept if policy is not None])
    orders = {order.name: order for order in plan.worker.orders}
    for source in sources.values():
        if len(source.order) > 1:
            orders[source.source.chain] = PolicyOrder(source.source.chain, tuple(p.chain.name for p in source.order))
    worker = replace(
        worker,
        pods=Both.made(lambda family: _of_family(sources, family)),
        orders=tuple(sorted(orders.values(), key=lambda order: order.name)),
    )
    cut = {policy.chain.origin for policy in used.values() if policy.cut}
    return replace(
        plan,
        worker=worker,
        last_resort=_with_sources(plan.last_resort, worker.pods),
        cut=tuple(sorted({*plan.cut, *cut})),
    )


def order_name(names: Sequence[str], origins: Sequence[str]) -> str:
    """Of the chain of several policies: the first, and a digest of all.

    It depends on nothing but the policies' names, so that no other change renames it.
    """
    digest = hashlib.sha256("\n".join(origins).encode()).hexdigest()[:10]
    return "%s_and%d_%s" % (names[0][: MAX_NAME - 20], len(names) - 1, digest)


@dataclass(frozen=True)
class _Given:
    source: Source
    order: tuple[MemberPolicy, ...] = ()


def _sources(plan: NodePlan, members: Members, known: Known, selection: Selection) -> Iterator[tuple[Address, _Given]]:
    """Each address that the ruleset says something of, with the policies that its packets meet."""
    owners = {address: pod for pod in known.pods for address in pod.addresses}
    for address in known.waiting:
        if address not in owners:
            yield address, _Given(Source(address, BLOCKED, WAITING))
    subnets = Both.made(lambda family: _spans(s.source for s in _subnets(plan.worker, family, refused=False)))
    refused = Both.made(lambda family: _spans(s.source for s in _subnets(plan.worker, family, refused=True)))
    ranges = Both.made(lambda family: _spans(plan.last_resort.ranges.of(family)))
    for address, pod in owners.items():
        family, value = _value(address)
        selecting = selection.of(pod, members, known)
        # The node has the subnets that are in its ranges; of a pod from elsewhere it has none that would speak.
        in_subnet, stray = _within(value, subnets.of(family)), not _within(value, ranges.of(family))
        also: list[MemberPolicy] = []
        if in_subnet or stray:
            also = [policy for policy in members.whole if _within(value, _spans(policy.whole.of(family)))]
        if selecting or (also and not in_subnet):
            order = tuple(sorted((*selecting, *also), key=lambda policy: policy.rank))
            yield address, _Given(Source(address, _chain(order), pod.owner), order)
        elif _within(value, refused.of(family)):
            yield address, _Given(Source(address, UNGOVERNED, pod.owner))


def selects(policy: MemberPolicy, pod: KnownPod, known: Known) -> bool:
    """Whether the pod itself is meant, wherever its addresses are."""
    if not selects_namespace(policy, pod.namespace, known.namespaces.get(pod.namespace)):
        return False
    if policy.pods is not None:
        return policy.pods.matches(pod.labels)
    values = map(_value, pod.addresses)
    return any(_within(value, _spans(policy.within.of(family))) for family, value in values)


def selects_namespace(policy: MemberPolicy, namespace: str, labels: Optional[Labels]) -> bool:
    """Whether pods of the namespace are looked at; None for the labels of one that is not known."""
    if policy.namespace and policy.namespace != namespace:
        return False
    if policy.namespaces is None or policy.namespaces.empty:
        return True
    return labels is not None and policy.namespaces.matches(labels)


def _chain(order: Sequence[MemberPolicy]) -> str:
    if len(order) == 1:
        return order[0].chain.name
    return order_name([p.chain.name for p in order], [p.chain.origin for p in order])


def _subnets(worker: WorkerRole, family: Family, *, refused: bool) -> Iterator[Source]:
    return (source for source in worker.subnets.of(family) if (source.chain == REFUSED) == refused)


def _with_policies(
    worker: WorkerRole, members: Members, used: Mapping[str, MemberPolicy], kept: Iterable[MemberPolicy]
) -> WorkerRole:
    """With the policies that pods meet, and the answers and slots of these and of the kept ones."""
    policies = {chain.name: chain for chain in worker.policies}
    policies.update((name, policy.chain) for name, policy in used.items())
    answers = {answer.number: answer for answer in worker.answers}
    for policy in (*kept, *used.values()):
        if policy.answer is not None:
            answers[policy.answer.number] = policy.answer
    slots = {slot.number: slot for slot in worker.slots}
    for number in {answer.slot for answer in answers.values()} - slots.keys():
        slots[number] = members.slot(number).slot
    answers.update((answer.number, answer) for answer in members.gone if answer.slot in slots)
    return replace(
        worker,
        policies=tuple(policies[name] for name in sorted(policies)),
        answers=tuple(answers[number] for number in sorted(answers)),
        slots=tuple(slots[number] for number in sorted(slots)),
    )


def _of_family(sources: Mapping[Address, _Given], family: Family) -> tuple[Source, ...]:
    found = [(value, given.source) for text, given in sources.items() for f, value in [_value(text)] if f == family]
    return tuple(one[1] for one in sorted(found, key=lambda one: one[0]))


def _with_sources(last: LastResort, pods: Both[tuple[Source, ...]]) -> LastResort:
    """Each pod by itself, so that one that comes or goes changes one rule; and the ranges of those from elsewhere."""

    def governed(family: Family) -> list[Address]:
        return [source.source for source in pods.of(family) if source.chain != UNGOVERNED]

    def sources(family: Family) -> tuple[Address, ...]:
        known = last.sources.of(family)
        return (*known, *(address for address in governed(family) if address not in known))

    def ranges(family: Family) -> tuple[Address, ...]:
        spans = _spans(last.ranges.of(family))
        strays = (address for address in governed(family) if not _within(_value(address)[1], spans))
        return (*last.ranges.of(family), *strays)

    return replace(last, sources=Both.made(sources), ranges=Both.made(ranges))


def _spans(texts: Iterable[Sources]) -> tuple[tuple[int, int], ...]:
    return _parsed(tuple(texts))


@lru_cache(maxsize=1024)
def _parsed(texts: tuple[Sources, ...]) -> tuple[tuple[int, int], ...]:
    return tuple(map(bounds, texts))


def bounds(text: Sources) -> tuple[int, int]:
    """The first and last address of an address, a CIDR or a range."""
    first, hyphen, last = text.partition("-")
    if hyphen:
        return int(ipaddress.ip_address(first)), int(ipaddress.ip_address(last))
    network = ipaddress.ip_network(text)
    return int(network.network_address), int(network.broadcast_address)


def _within(value: int, spans: Sequence[tuple[int, int]]) -> bool:
    return any(first <= value <= last for first, last in spans)


@lru_cache(maxsize=4096)
def _value(address: Address) -> tuple[Family, int]:
    return 6 if ":" in address else 4, int(ipaddress.ip_address(address))
