# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""Which object on a node is meant: a value for the code, and one text for people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Union

from ansible_collections.egress.gateway.plugins.module_utils.contract.plan import Family

Part = Union[str, int]

_TEXTS = {
    "accept": "accept of {} in {}",
    "stray accept": "accept {} in {}",
    "address": "address {} on {}",
    "element": "element {} of {} {}",
    "nft rule": "rule {} of chain {}",
    "fdb": "fdb {} to {} on {}",
    "neighbour": "neighbour {} on {}",
    "connected route": "route {} on {}",
    "route": "route ipv{family} {} table {} metric {}",
    "rule": "rule ipv{family} preference {} {}",
}
"""By kind, where the text is more than the kind and its parts one after the other."""


@dataclass(frozen=True)
class Key:
    """Two are the same object if all three are equal. ``str`` gives what an operator reads; nobody takes it apart.

    ``family`` is given where one kind has objects of both that would else be alike.
    """

    kind: str
    family: Family | None = None
    parts: tuple[Part, ...] = ()

    @classmethod
    def of(cls, kind: str, *parts: Part, family: Family | None = None) -> Key:
        return cls(kind, family, parts)

    def __str__(self) -> str:
        text = _TEXTS.get(self.kind)
        return text.format(*self.parts, family=self.family) if text else " ".join([self.kind, *map(str, self.parts)])
