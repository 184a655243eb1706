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
    the rarest of those labels.
    """

    def __init__(self, labels: Sequence[Labels]) -> None:
        self._labels = labels
        self._by_pair: dict[tuple[str, str], list[int]] = {}
        self._by_key: dict[str, list[int]] = {}
        for position, of_one in enumerate(labels):
            for key, value in of_one.items():
                self._by_pair.setdefault((key, value), []).append(position)
                self._by_key.setdefault(key, []).append(position)

    def select(self, selector: LabelSelector) -> list[int]:
        """The positions of the objects that ``selector`` matches, ascending."""
        candidates: Sequence[int] = range(len(self._labels))
        for requirement in selector.requirements:
            found = self._having(requirement)
            if found is not None and len(found) < len(candidates):
                candidates = found
        matches, labels = selector.matches, self._labels
        return sorted(position for position in candidates if matches(labels[position]))

    def _having(self, requirement: Requirement) -> list[int] | None:
        """Everything that can satisfy ``requirement``; None where that is no small set."""
        if requirement.operator == "In":
            lists = [self._by_pair.get((requirement.key, value), []) for value in requirement.values]
            return lists[0] if len(lists) == 1 else [position for some in lists for position in some]
        if requirement.operator == "Exists":
            return self._by_key.get(requirement.key, [])
        return None
