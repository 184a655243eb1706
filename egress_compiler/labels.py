"""Label selectors, and an index that answers them without looking at every object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Operator = Literal["In", "NotIn", "Exists", "DoesNotExist"]
Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Requirement:
    key: str
    operator: Operator
    values: frozenset[str] = frozenset()

    def matches(self, labels: Labels) -> bool:
        """As Kubernetes defines it: NotIn and DoesNotExist hold where the key is absent."""
        value = labels.get(self.key)
        if self.operator == "In":
            return value is not None and value in self.values
        if self.operator == "NotIn":
            return value is None or value not in self.values
        return (value is not None) == (self.operator == "Exists")


@dataclass(frozen=True, slots=True)
class LabelSelector:
    """All requirements must hold; without requirements it selects everything."""

    requirements: tuple[Requirement, ...]

    @property
    def empty(self) -> bool:
        return not self.requirements

    def matches(self, labels: Labels) -> bool:
        return all(requirement.matches(labels) for requirement in self.requirements)


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
