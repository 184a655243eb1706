"""Answer numbers: what the tunnel carries, in place of (policy, EIP) or (policy, the gateway node's own address).

A worker that was not updated yet goes on with the number that it knows.  Were that number somebody else's by now, its
pods would leave with a stranger's EIP.  So what is free again is not handed out soon: a cursor, which the lock keeps,
goes up through all numbers and starts anew at the end.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import NamedTuple

from egress_compiler.allocate.eips import NO_EIP, EipPair
from egress_compiler.allocate.numbers import Exhausted
from egress_compiler.contract.numbers import MAX_NUMBER
from egress_compiler.model.policy import Ref
from egress_compiler.model.settings import ForeignMark

NODE_IP = "nodeIP"


class Answers(NamedTuple):
    """``last`` is the cursor; ``reused`` are the keys that had to take a number which the lock gave somebody else."""

    numbers: Mapping[str, int]
    last: int
    reused: tuple[str, ...]


def answer_key(policy: Ref, eip: EipPair) -> str:
    """The name in the lock: the policy's, and the EIP's as the lock names EIPs, or ``nodeIP`` for NO_EIP."""
    return f"{policy} {NODE_IP if eip == NO_EIP else eip.text}"


def possible_numbers(foreign: Iterable[ForeignMark]) -> list[int]:
    """In ascending order: from 1 to MAX_NUMBER without those that a foreign mark matches."""
    possible = [*range(1, MAX_NUMBER + 1)]
    for mark in foreign:
        if mark.mark <= MAX_NUMBER:
            possible = [number for number in possible if not mark.matches(number)]
    return possible


def cursor(before: Mapping[str, int], last: int | None) -> int:
    """Where numbers were handed out last; where the lock does not say, or not what can be, the highest that it has."""
    if last is not None and 0 <= last <= MAX_NUMBER:
        return last
    return max((number for number in before.values() if number <= MAX_NUMBER), default=0)


def give_answers(
    wanted: Iterable[str], before: Mapping[str, int], last: int | None, possible: Collection[int]
) -> Answers:
    """A number of ``possible``, which ascend, for each key; those in ``before`` keep theirs.

    New keys get, in their sorted order, the next numbers after the cursor that nobody has or had in ``before``; the
    latter only where there are no others.  Raises Exhausted.
    """
    keys, allowed = sorted(set(wanted)), frozenset(possible)
    given: dict[str, int] = {}
    taken: set[int] = set()
    for key in keys:
        number = before.get(key)
        if number is not None and number in allowed and number not in taken:
            given[key] = number
            taken.add(number)
    start = cursor(before, last)
    free = _next_numbers(possible, start, taken, frozenset(before.values()))
    reused: list[str] = []
    for key in keys:
        if key not in given:
            number, had = next(free, (0, False))
            if not number:
                raise Exhausted(key)
            given[key] = start = number
            if had:
                reused.append(key)
    return Answers({key: given[key] for key in keys}, start, tuple(reused))


def _next_numbers(
    possible: Collection[int], start: int, taken: Collection[int], had: Collection[int]
) -> Iterator[tuple[int, bool]]:
    """From above ``start`` to the end and on from the beginning; those that somebody ``had`` come last, and say so."""
    around = [number for number in possible if number > start] + [number for number in possible if number <= start]
    free = [number for number in around if number not in taken]
    yield from ((number, False) for number in free if number not in had)
    yield from ((number, True) for number in free if number in had)
