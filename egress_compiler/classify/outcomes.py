"""What becomes of each policy of an order: the destinations that it wins, and to whom it loses which others.

The policies are walked in their order, each taking what is still free of what it wants.  What is inside the cluster is
never governed: it may be named in a region, as nothing asks for it there, and it makes nobody a winner or a loser.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from egress_compiler.classify.orders import PolicyOrder
from egress_compiler.classify.region import Claims, Region
from egress_compiler.net import Family

SHOWN = 8
"""Winners before a policy that wants everything: so many of the first and so many of the last are told."""


class Loss(NamedTuple):
    """A part of what a policy wants, and the policy before it that has this part."""

    to: int
    region: Region


class PolicyOutcome(NamedTuple):
    """One policy of an order in one family.  ``won`` is empty where it wins nothing outside the cluster.

    ``rest``: after it every destination has its winner.
    """

    policy: int
    won: Region
    rest: bool
    lost: tuple[Loss, ...]


class Win(NamedTuple):
    policy: int
    region: Region
    rest: bool


class Loser(NamedTuple):
    """A policy that wins nothing of either family.  ``to`` covers it; empty where the inside alone does."""

    policy: int
    to: tuple[int, ...]


def outcomes_of(
    order: PolicyOrder, family: Family, wanted: Sequence[Region], inside: Region
) -> tuple[PolicyOutcome, ...]:
    """One for each policy of ``order``; ``wanted`` has what each policy of the cluster wants in this family.

    It asks for nothing but regions, so that policies of a bundle are walked as those of a run are.
    """
    return tuple(_walk(order, Claims(family), wanted, inside))


def wins_of(outcomes: Sequence[PolicyOutcome]) -> tuple[Win, ...]:
    return tuple(Win(one.policy, one.won, one.rest) for one in outcomes if one.won)


def _walk(order: PolicyOrder, claims: Claims, wanted: Sequence[Region], inside: Region) -> Iterator[PolicyOutcome]:
    winners: dict[int, Region] = {}
    nothing = Region(inside.family, ())
    over = False
    for position in order:
        wants = wanted[position]
        lost = tuple(_losses(wants, claims, winners, inside)) if winners and wants else ()
        won = wants if not winners else nothing if over else claims.free(wants)
        if won.within(inside):
            won = nothing
        else:
            claims.claim(won, position)
            winners[position] = won
        over = over or wants.is_everything
        yield PolicyOutcome(position, won, bool(won) and claims.complete, lost)


def _losses(wants: Region, claims: Claims, winners: dict[int, Region], inside: Region) -> Iterator[Loss]:
    if wants.is_everything:
        for owner in _some(winners):
            yield Loss(owner, winners[owner])
        return
    for owner, part in sorted(claims.owners(wants).items()):
        if not part.within(inside):
            yield Loss(owner, part)


def _some(winners: dict[int, Region]) -> list[int]:
    """Winners stand in their order; those with the priority of the policy that is looked at are the last."""
    if len(winners) <= 2 * SHOWN:
        return [*winners]
    return [*islice(winners, SHOWN), *sorted(islice(reversed(winners), SHOWN))]
