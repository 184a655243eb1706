"""Policy orders: for each source the policies that select it, in the order in which its packets meet them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from egress_compiler.model.cluster import Pod
from egress_compiler.net import FAMILIES, Family, Interval
from egress_compiler.resolve import ResolvedPolicy

PolicyOrder = tuple[int, ...]
"""Positions in ``resolved.policies``, ascending: the first that wants a destination has it."""


class GovernedPod(NamedTuple):
    """One address of a pod that a policy selects; ``pod`` is its position in ``resolved.cluster.pods``."""

    value: int
    pod: int
    order: PolicyOrder


class GovernedSubnet(NamedTuple):
    """Source addresses that podSubnets govern, whoever has them."""

    interval: Interval
    order: PolicyOrder


class SubnetOrders:
    """The address space of one family, cut where the podSubnets that cover it change."""

    def __init__(self, family: Family, policies: Sequence[ResolvedPolicy]) -> None:
        self.pieces = tuple(_pieces(family, policies))
        self._firsts = [piece.interval.first for piece in self.pieces]

    def at(self, value: int) -> PolicyOrder:
        index = bisect_right(self._firsts, value) - 1
        return self.pieces[index].order if index >= 0 and self.pieces[index].interval.last >= value else ()


def _pieces(family: Family, policies: Sequence[ResolvedPolicy]) -> list[GovernedSubnet]:
    starts: dict[int, list[int]] = {}
    ends: dict[int, list[int]] = {}
    for position, policy in enumerate(policies):
        for first, last in policy.subnets[family]:
            starts.setdefault(first, []).append(position)
            ends.setdefault(last + 1, []).append(position)
    pieces: list[GovernedSubnet] = []
    known: dict[PolicyOrder, PolicyOrder] = {}
    active: set[int] = set()
    for cut, following in pairwise(sorted({*starts, *ends})):
        active.difference_update(ends.get(cut, ()))
        active.update(starts.get(cut, ()))
        if not active:
            continue
        order = tuple(sorted(active))
        order = known.setdefault(order, order)
        first = cut
        if pieces and pieces[-1].order is order and pieces[-1].interval.last + 1 == cut:
            first = pieces.pop().interval.first
        pieces.append(GovernedSubnet(Interval(first, following - 1), order))
    return pieces


def pod_orders(
    pods: Sequence[Pod], policies: Sequence[ResolvedPolicy], subnets: Mapping[Family, SubnetOrders]
) -> Mapping[Family, tuple[GovernedPod, ...]]:
    """The addresses of all pods that a policy selects, sorted.  Policies that select it as a subnet count, too."""
    governed: dict[Family, list[GovernedPod]] = {4: [], 6: []}
    merged: dict[tuple[PolicyOrder, PolicyOrder], PolicyOrder] = {}
    for pod, order in _selected(pods, policies):
        for family, value in pods[pod].addresses:
            also, whole = subnets[family].at(value), order
            if also:
                known = merged.get((order, also))
                whole = merged[order, also] = known or tuple(sorted({*order, *also}))
            governed[family].append(GovernedPod(value, pod, whole))
    return {family: tuple(sorted(governed[family])) for family in FAMILIES}


def _selected(pods: Sequence[Pod], policies: Sequence[ResolvedPolicy]) -> list[tuple[int, PolicyOrder]]:
    """Selected pods with their orders: a walk through a tree of orders, a step for each policy that selects the pod.

    So all pods with the same order share one tuple, and of a pod nothing is kept but the number of its place.
    """
    parents: list[tuple[int, int]] = [(0, 0)]
    places = [0] * len(pods)
    for position, policy in enumerate(policies):
        steps: dict[int, int] = {}
        for pod in policy.pods:
            place = places[pod]
            following = steps.get(place)
            if following is None:
                following = steps[place] = len(parents)
                parents.append((place, position))
            places[pod] = following
    orders: dict[int, PolicyOrder] = {}
    selected: list[tuple[int, PolicyOrder]] = []
    for pod, place in enumerate(places):
        if place:
            order = orders.get(place)
            if order is None:
                order = orders[place] = _order_at(place, parents)
            selected.append((pod, order))
    return selected


def _order_at(place: int, parents: Sequence[tuple[int, int]]) -> PolicyOrder:
    positions: list[int] = []
    while place:
        place, position = parents[place]
        positions.append(position)
    return tuple(reversed(positions))
