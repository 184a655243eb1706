"""Small numbers that stay put: keep what was given, hand out the lowest free to what is new."""

from __future__ import annotations

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
    groups: Iterable[Iterable[str]], before: Mapping[str, int], first: int, last: int
) -> dict[str, int]:
    """A number for each key that nobody else of its group has; those in ``before`` keep theirs where that is so.

    New keys get, in their sorted order, the lowest number that is free in all groups, and once there is none the lowest
    that is free in their own: groups that come together then have few numbers twice.  Raises Exhausted.
    """
    group_of = {key: number for number, group in enumerate(groups) for key in group}
    taken: dict[int, set[int]] = {number: set() for number in group_of.values()}
    given: dict[str, int] = {}
    for key in sorted(group_of):
        number, own = before.get(key), taken[group_of[key]]
        if number is not None and first <= number <= last and number not in own:
            given[key] = number
            own.add(number)
    anywhere = set(given.values())
    for key in sorted(group_of):
        if key not in given:
            own = taken[group_of[key]]
            free = (number for numbers in (anywhere, own) for number in range(first, last + 1) if number not in numbers)
            number = next(free, None)
            if number is None:
                raise Exhausted(key)
            given[key] = number
            own.add(number)
            anywhere.add(number)
    return {key: given[key] for key in sorted(given)}
