"""Small numbers that stay put: keep what was given, hand out the lowest free to what is new."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping


class Exhausted(Exception):
    """No number is left; ``key`` is the first that gets none."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


def keep_or_give(wanted: Iterable[str], before: Mapping[str, int], first: int, last: int) -> dict[str, int]:
    """A number from ``first`` to ``last`` for each key; those in ``before`` keep theirs.

    New keys get the lowest free numbers in their sorted order.  Raises Exhausted.
    """
    keys = sorted(set(wanted))
    given: dict[str, int] = {}
    taken: set[int] = set()
    for key in keys:
        number = before.get(key)
        if number is not None and first <= number <= last and number not in taken:
            given[key] = number
            taken.add(number)
    candidate = first
    for key in keys:
        if key not in given:
            while candidate in taken:
                candidate += 1
            if candidate > last:
                raise Exhausted(key)
            given[key] = candidate
            taken.add(candidate)
    return {key: given[key] for key in keys}


def keep_or_give_apart(
    wanted: Mapping[str, tuple[str, ...]], before: Mapping[str, int], first: int, last: int
) -> dict[str, int]:
    """A number for each key that nobody else has at any of its places, unless that has the same places in this order.

    ``wanted`` has the places of each key; those in ``before`` keep their number where it is possible.  New keys get, in
    their sorted order, the lowest number that is free everywhere: keys that come together then have few numbers twice.
    Once there is none, the lowest that is free at their own places; and at last that of keys with the same places, the
    one that the fewest have.  Raises Exhausted.
    """
    owners: dict[tuple[str, int], tuple[str, ...]] = {}
    users: Counter[tuple[tuple[str, ...], int]] = Counter()
    given: dict[str, int] = {}

    def possible(places: tuple[str, ...], number: int) -> bool:
        return all(owners.get((place, number), places) == places for place in places)

    def give(key: str, number: int) -> None:
        given[key] = number
        users[wanted[key], number] += 1
        owners.update(((place, number), wanted[key]) for place in wanted[key])

    for key in sorted(wanted):
        number = before.get(key)
        if number is not None and first <= number <= last and possible(wanted[key], number):
            give(key, number)
    unused = iter(sorted(set(range(first, last + 1)) - set(given.values())))
    for key in sorted(wanted.keys() - given.keys()):
        places = wanted[key]
        free = next(unused, None)
        if free is None:
            usable = [number for number in range(first, last + 1) if possible(places, number)]
            free = min(usable, key=lambda number: (users[places, number], number), default=None)
        if free is None:
            raise Exhausted(key)
        give(key, free)
    return {key: given[key] for key in sorted(given)}
