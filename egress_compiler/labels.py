"""Label selectors, and an index that answers them without looking at every object."""

from __future__ import annotations

from collections.abc import Sequence

from egress_compiler.contract.selectors import Labels, LabelSelector, Operator, Requirement

__all__ = ["LabelIndex", "LabelSelector", "Labels", "Operator", "Requirement"]


class LabelIndex:
    """Positions of objects by label, for selectors over many objects.

    An inverted index: a selector with an In or Exists requirement looks only at the objects that carry
    the rarest of those labels.  Each key is indexed when a selector first asks for it; most are never asked for.
    """

    def __init__(self, labels: Sequence[Labels], among: Sequence[int] | None = None) -> None:
        """Of the objects at the positions ``among``, which ascend; of all without it."""
        self._labels = labels
        self._among: Sequence[int] = range(len(labels)) if among is None else among
        self._by_key: dict[str, dict[str, list[int]]] = {}

    def select(self, selector: LabelSelector) -> list[int]:
        """The positions of the objects that ``selector`` matches, ascending."""
        candidates, answered = self._among, None
        for requirement in selector.requirements:
            having = self._having(requirement)
            if having is not None and len(having) < len(candidates):
                candidates, answered = having, requirement
        matches = [requirement.matches for requirement in selector.requirements if requirement is not answered]
        labels = self._labels
        if matches:
            return sorted(p for p in candidates if all(match(labels[p]) for match in matches))
        return sorted(candidates)

    def _having(self, requirement: Requirement) -> list[int] | None:
        """Exactly the objects that satisfy ``requirement``; None where they are most of them."""
        if requirement.operator == "In":
            by_value = self._of(requirement.key)
            lists = [by_value.get(value, []) for value in requirement.values]
            return lists[0] if len(lists) == 1 else [position for some in lists for position in some]
        if requirement.operator == "Exists":
            return [position for some in self._of(requirement.key).values() for position in some]
        return None

    def _of(self, key: str) -> dict[str, list[int]]:
        """By value of the label ``key`` the objects that have it."""
        known = self._by_key.get(key)
        if known is None:
            known = self._by_key[key] = {}
            for position in self._among:
                value = self._labels[position].get(key)
                if value is not None:
                    known.setdefault(value, []).append(position)
        return known
