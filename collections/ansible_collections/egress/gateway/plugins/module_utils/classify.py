# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""Who wins on a node: what the worker role of a plan gives to a new connection.

The one place on a node that says so beside the ruleset, whose order of questions it has: a pod by its exact address,
else the subnet that it is in; then its policies in order, of which the first that has the destination wins.
"""

from __future__ import annotations

import socket
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from ansible_collections.egress.gateway.plugins.module_utils.contract.membership import (
    BLOCKED,
    UNGOVERNED,
    WAITING,
    bounds,
)
from ansible_collections.egress.gateway.plugins.module_utils.contract.plan import (
    FAMILIES,
    Both,
    Family,
    NodePlan,
    PolicyAnswer,
    PolicyChain,
    Source,
)

_WAITING = PolicyChain(BLOCKED, WAITING, Both(PolicyAnswer((), None), PolicyAnswer((), None)))
"""What a pod meets that nobody knows yet."""

T = TypeVar("T")


@dataclass(frozen=True)
class Win:
    """The policy that wins, and what it gives: no number where it blocks, or leaves to the node's routes."""

    policy: PolicyChain
    answer: PolicyAnswer


class Classifier:
    """``local`` are the node's own addresses, about which no policy is asked.  Without a plan nothing is governed."""

    def __init__(self, plan: NodePlan | None, local: Iterable[str] = ()) -> None:
        self._local = frozenset(local)
        self._pods: dict[str, Source] = {}
        self._subnets: dict[Family, _Spans[Source]] = {}
        self._inside: dict[Family, _Spans[str]] = {}
        self._policies: dict[str, tuple[_Policy, ...]] = {}
        if plan is None:
            return
        for family in FAMILIES:
            self._pods.update((pod.source, pod) for pod in plan.worker.pods.of(family))
            self._subnets[family] = _Spans(plan.worker.subnets.of(family), lambda subnet: subnet.source)
            self._inside[family] = _Spans(plan.inside.of(family), str)
        self._policies.update((policy.name, (_Policy(policy),)) for policy in plan.worker.policies)
        for order in plan.worker.orders:
            self._policies[order.name] = tuple(one for name in order.policies for one in self._policies[name])
        self._policies[UNGOVERNED] = ()
        self._policies[BLOCKED] = (_Policy(_WAITING),)

    def pod(self, address: str) -> str | None:
        """The pod that has the address, of those that the ruleset knows."""
        pod = self._pods.get(address)
        return pod.owner if pod is not None else None

    def source(self, address: str) -> Source | None:
        """The pod that has the address, else the governed subnet that it is in."""
        pod = self._pods.get(address)
        if pod is not None or not self._subnets:
            return pod
        return self._subnets[_family(address)].find(_value(address))

    def win(self, source: str, destination: str) -> Win | None:
        """Who decides for a new connection, whose destination is what DNAT has made of it; None where nobody does."""
        governed = self.source(source)
        if governed is None or source in self._local or destination in self._local:
            return None
        family, value = _family(destination), _value(destination)
        if self._inside[family].find(value) is not None:
            return None
        for policy in self._policies[governed.chain]:
            answer = policy.answer(family, value)
            if answer is not None:
                return Win(policy.chain, answer)
        return None


class _Policy:
    def __init__(self, chain: PolicyChain) -> None:
        self.chain = chain
        self._spans: dict[Family, _Spans[str]] = {}
        for family in FAMILIES:
            answer = chain.answers.of(family)
            if answer is not None and answer.destinations:
                self._spans[family] = _Spans(answer.destinations, str)

    def answer(self, family: Family, destination: int) -> PolicyAnswer | None:
        answer = self.chain.answers.of(family)
        if answer is None or not answer.destinations:
            return answer
        return answer if self._spans[family].find(destination) is not None else None


class _Spans(Generic[T]):
    """Disjoint addresses, ranges and CIDRs; ``text`` gives the one of an item."""

    def __init__(self, items: Sequence[T], text: Callable[[T], str]) -> None:
        spans = sorted((*bounds(text(item)), number) for number, item in enumerate(items))
        self._firsts = [first for first, _last, _number in spans]
        self._lasts = [last for _first, last, _number in spans]
        self._items = [items[number] for _first, _last, number in spans]

    def find(self, value: int) -> T | None:
        at = bisect_right(self._firsts, value) - 1
        return self._items[at] if at >= 0 and value <= self._lasts[at] else None


def _family(address: str) -> Family:
    return 6 if ":" in address else 4


def _value(address: str) -> int:
    kind = socket.AF_INET6 if ":" in address else socket.AF_INET
    return int.from_bytes(socket.inet_pton(kind, address), "big")
