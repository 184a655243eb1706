"""Who wins: orders of sources, and the regions of each order, against a walk through the policies packet by packet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egress_compiler.classify import Classified, GovernedPod, GovernedSubnet, Loser, Loss, Region, Win, classify
from egress_compiler.classify.outcomes import SHOWN
from egress_compiler.classify.region import Claims
from egress_compiler.document import Document, Mark, Spot
from egress_compiler.hosts import NO_HOSTS
from egress_compiler.labels import LabelSelector
from egress_compiler.model.cluster import Cluster, Node, OtherNode, Pod
from egress_compiler.model.policy import Gateway, Policy, Ref
from egress_compiler.net import FAMILIES, Address, Family, Interval, Intervals, everything, union
from egress_compiler.resolve import Resolved, ResolvedPolicy
from egress_compiler.source import SourceFile
from tests.properties.search import examples

NOWHERE = Document(SourceFile("", ""), {}, Spot(Mark(0, 0), Mark(0, 0)))
NONE: dict[Family, tuple[()]] = {4: (), 6: ()}
GATEWAY = Gateway("g", "", NONE, {4: None, 6: None}, LabelSelector(()), False, False, NONE, NOWHERE, NONE)
Two = Mapping[Family, Intervals]


@dataclass(frozen=True)
class P:
    """A policy as far as it matters here; destinations of None are everything."""

    pods: tuple[int, ...] = ()
    subnets: Intervals = ()
    to: Intervals | None = None
    to6: Intervals = ()


def resolved(
    policies: Sequence[P], pods: Sequence[Pod] = (), inside: Intervals = (), others: tuple[OtherNode, ...] = ()
) -> Resolved:
    cluster = Cluster((), tuple(pods), (), (), {}, {4: (), 6: ()}, {4: (), 6: ()}, other_nodes=others)
    made = tuple(_policy(number, one) for number, one in enumerate(policies))
    return Resolved(cluster, {}, made, {4: inside, 6: ()}, {4: (), 6: ()}, NO_HOSTS, FAMILIES)


def _policy(number: int, one: P) -> ResolvedPolicy:
    to: Two | None = None if one.to is None else {4: one.to, 6: one.to6}
    none: Mapping[Family, int | None] = {4: None, 6: None}
    ref = Ref("EgressPolicy", "d", f"p{number}")
    policy = Policy(ref, "", "g", none, "default", False, None, None, None, to, number, False, "", NOWHERE, (), ())
    return ResolvedPolicy(policy, GATEWAY, one.pods, {4: one.subnets, 6: ()}, {4: (), 6: ()}, none)


def pod(name: str, *values: int, node: str = "n", six: int | None = None) -> Pod:
    addresses = [Address(4, value) for value in values] + ([Address(6, six)] if six is not None else [])
    return Pod("d", name, {}, node, tuple(addresses))


def i(first: int, last: int) -> Interval:
    return Interval(first, last)


def region(*intervals: Interval) -> Region:
    return Region(4, intervals)


# ------------------------------------------------------------------------------------------------------------- orders


def test_pods_have_their_policies_in_order_and_share_equal_orders() -> None:
    pods = [pod("a", 30, six=7), pod("b", 20), pod("c", 10), pod("d", 5)]
    got = classify(resolved([P(pods=(0, 1)), P(pods=(2,)), P(pods=(0, 1, 2))], pods))
    assert got.pods[4] == (GovernedPod(10, 2, (1, 2)), GovernedPod(20, 1, (0, 2)), GovernedPod(30, 0, (0, 2)))
    assert got.pods[6] == (GovernedPod(7, 0, (0, 2)),)
    assert got.pods[4][1].order is got.pods[4][2].order is got.pods[6][0].order


def test_a_pods_order_has_the_policies_of_the_subnet_that_it_is_in() -> None:
    pods = [pod("a", 12), pod("b", 40)]
    got = classify(resolved([P(subnets=(i(10, 19),)), P(pods=(0, 1)), P(subnets=(i(12, 12),))], pods))
    assert got.pods[4] == (GovernedPod(12, 0, (0, 1, 2)), GovernedPod(40, 1, (1,)))
    assert got.subnets[4] == (
        GovernedSubnet(i(10, 11), (0,)),
        GovernedSubnet(i(12, 12), (0, 2)),
        GovernedSubnet(i(13, 19), (0,)),
    )
    assert got.subnets[6] == ()


def test_pieces_of_subnets_that_meet_and_mean_the_same_are_one() -> None:
    got = classify(resolved([P(subnets=(i(10, 19), i(25, 29))), P(subnets=(i(20, 24),)), P(subnets=(i(20, 24),))]))
    assert [piece.interval for piece in got.subnets[4]] == [i(10, 19), i(20, 24), i(25, 29)]
    got = classify(resolved([P(subnets=(i(10, 14),)), P(subnets=(i(20, 24),)), P(subnets=(i(15, 15),))]))
    assert [piece.order for piece in got.subnets[4]] == [(0,), (2,), (1,)]


@pytest.mark.parametrize(
    ("value", "order"),
    [(10, (0, 2)), (11, (0,)), (20, (1, 2)), (21, ()), (9, ()), (30, ()), (31, (0, 2))],
)
def test_the_order_of_an_address(value: int, order: tuple[int, ...]) -> None:
    other = OtherNode(Node("w", {}, (), {4: (), 6: ()}), "runs windows")
    pods = [pod("a", 10), pod("b", 20), pod("c", 30, node="w"), pod("d", 31, node="w"), pod("e", 31)]
    policies = [P(subnets=(i(10, 11), i(30, 31))), P(pods=(1,)), P(pods=(0, 1, 4))]
    assert classify(resolved(policies, pods, others=(other,))).order_of(Address(4, value)) == order


# --------------------------------------------------------------------------------------------------------------- wins


def of(policies: Sequence[P], inside: Intervals = ()) -> tuple[Classified, tuple[int, ...]]:
    return classify(resolved(policies, inside=inside)), tuple(range(len(policies)))


def test_the_first_that_wants_a_destination_wins_it_and_one_takes_the_rest() -> None:
    got, order = of([P(to=(i(10, 19),)), P(to=(i(15, 24),)), P(), P(to=(i(90, 99),)), P()])
    assert got.wins(order, 4) == (
        Win(0, region(i(10, 19)), False),
        Win(1, region(i(20, 24)), False),
        Win(2, region(i(0, 9), i(25, (1 << 32) - 1)), True),
    )
    assert got.walked(order) == (0, 1, 2)
    assert got.losers(order) == (Loser(3, (2,)), Loser(4, (0, 1, 2)))
    assert got.wins(order, 6) == (Win(2, Region.everything(6), True),)
    assert got.wins(order, 4) is got.wins(order, 4)


def test_who_wins_in_one_family_is_no_loser() -> None:
    got, order = of([P(to=everything(4)), P(to=(i(1, 1),), to6=(i(1, 1),)), P(to=(i(1, 2),))])
    assert got.walked(order) == (0, 1)
    assert got.losers(order) == (Loser(2, (0,)),)
    assert got.wins(order, 6) == (Win(1, Region(6, (i(1, 1),)), False),)


def test_what_is_inside_makes_no_winner_and_no_loser() -> None:
    got, order = of([P(to=(i(10, 19),)), P(to=(i(5, 30),)), P(to=(i(12, 13),))], inside=(i(8, 20),))
    assert got.wins(order, 4) == (Win(1, region(i(5, 30)), False),)
    assert got.losers(order) == (Loser(0, ()), Loser(2, ()))
    assert got.walked((0, 2)) == ()
    assert got.winner(order, Address(4, 12)) is None
    assert got.winner(order, Address(4, 30)) == 1
    assert got.winner(order, Address(4, 31)) is None


def test_where_nothing_but_the_inside_is_left_nobody_wins_it() -> None:
    got, order = of([P(to=(i(0, 99),)), P(to=(i(200, (1 << 32) - 1),)), P(), P()], inside=(i(50, 250),))
    assert [win.policy for win in got.wins(order, 4)] == [0, 1]
    assert not any(win.rest for win in got.wins(order, 4))
    assert [[loss.to for loss in outcome.lost] for outcome in got.outcomes(order, 4)] == [[], [], [0, 1], [0, 1]]


def test_two_halves_are_everything() -> None:
    got, order = of([P(to=(i(0, 1 << 31),)), P(to=(i(1 << 31, (1 << 32) - 1),))])
    assert [win.rest for win in got.wins(order, 4)] == [False, True]


def test_a_policy_that_wants_everything_names_the_first_and_the_last_that_it_loses_to() -> None:
    many = [P(to=(i(10 * n, 10 * n),)) for n in range(3 * SHOWN)]
    got, order = of([*many, P()])
    told = [loss.to for loss in got.outcomes(order, 4)[-1].lost]
    assert told == [*range(SHOWN), *range(2 * SHOWN, 3 * SHOWN)]


def test_a_loss_is_the_part_that_both_want() -> None:
    got, order = of([P(to=(i(10, 30),)), P(to=(i(5, 12), i(25, 40)))])
    assert got.outcomes(order, 4)[1].lost == (Loss(0, region(i(10, 12), i(25, 30))),)


# ------------------------------------------------------------------------------------------- against single packets

LAST = 15
intervals = st.lists(
    st.tuples(st.integers(0, LAST), st.integers(0, LAST)).map(lambda ends: Interval(min(ends), max(ends))), max_size=4
).map(union)


@examples(400)
@given(st.lists(st.none() | intervals, min_size=1, max_size=7), intervals)
def test_wins_and_losses_are_those_of_each_packet(destinations: list[Intervals | None], inside: Intervals) -> None:
    got, order = of([P(to=to) for to in destinations], inside)
    values = [v for v in [*range(LAST + 1), (1 << 32) - 1] if not any(a <= v <= b for a, b in inside)]
    won: dict[int, set[int]] = {}
    lost: dict[int, set[int]] = {position: set() for position in order}
    for value in values:
        wants = [n for n, to in enumerate(destinations) if to is None or any(a <= value <= b for a, b in to)]
        assert got.winner(order, Address(4, value)) == (wants[0] if wants else None)
        for position in wants[:1]:
            won.setdefault(position, set()).add(value)
        for position in wants[1:]:
            lost[position].add(wants[0])
    wins = got.wins(order, 4)
    assert {win.policy: {v for v in values if win.region.contains(v)} for win in wins} == won
    assert {outcome.policy: {loss.to for loss in outcome.lost} for outcome in got.outcomes(order, 4)} == lost
    assert got.wins(tuple(sorted(won)), 4) == wins
    assert all(not a.region.intersect(b.region) for a in wins for b in wins if a is not b)
    everybody = region()
    for win in wins:
        everybody = everybody.union(win.region)
    assert [win.rest for win in wins] == [everybody.is_everything and win is wins[-1] for win in wins]


@examples(200)
@given(st.lists(intervals, max_size=30))
def test_claims_are_kept_apart(asked: list[Intervals]) -> None:
    claims, owner = Claims(4), dict[int, int]()
    for position, wanted in enumerate(asked):
        values = {v for first, last in wanted for v in range(first, last + 1)}
        owners = claims.owners(Region(4, wanted))
        assert {who: {v for v in range(LAST + 1) if part.contains(v)} for who, part in owners.items()} == {
            who: {v for v in values if owner.get(v) == who} for who in {owner[v] for v in values if v in owner}
        }
        free = claims.free(Region(4, wanted))
        assert {v for v in range(LAST + 1) if free.contains(v)} == {v for v in values if v not in owner}
        assert Region(4, union(free.intervals)) == free
        claims.claim(free, position)
        owner |= {v: position for v in values if v not in owner}


@examples(200)
@given(intervals, intervals)
def test_the_algebra_of_regions(left: Intervals, right: Intervals) -> None:
    def values(some: Region) -> set[int]:
        return {v for v in range(LAST + 1) if some.contains(v)}

    a, b = Region(4, left), Region(4, right)
    assert values(a.union(b)) == values(a) | values(b)
    assert values(a.subtract(b)) == values(a) - values(b)
    assert values(a.intersect(b)) == values(a) & values(b)
    assert a.within(b) == (values(a) <= values(b))
    assert bool(a) == bool(values(a))
    assert a.size == len(values(a))
    assert not a.is_everything
