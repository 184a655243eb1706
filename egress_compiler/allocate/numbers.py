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
