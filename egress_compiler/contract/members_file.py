# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""members.json, read strictly, and a line only when somebody asks for it: a node's pods are of few namespaces.

Of ten thousand policies the node keeps where their lines are, and those that may select pods of its namespaces.
"""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO, Optional, TypeVar

from .members import MEMBERS_VERSION, Chains, MemberPolicy, MemberSlot
from .plan import Answer, PolicyChain
from .plan import Slot as PlanSlot
from .reading import DamagedPlan, reader_of, several_addresses
from .selectors import LabelSelector, Requirement

MOST_NAMESPACES = 256
"""Whose policies are kept, and as many policies that were asked for by name."""

_HEAD = (b"{\n", b' "version": %d,\n' % MEMBERS_VERSION)
_LISTS = ("policies", "slots", "gone")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_RULE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*")
_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist")
_DAMAGE = (ValueError, KeyError, TypeError, AttributeError)

V = TypeVar("V")
K = TypeVar("K")


class MembersFile:
    """Policies and slots of members.json (``membership.Members``).  Whatever is damaged raises DamagedPlan.

    ``file`` has to stay open and as it is, as one does that was replaced by another of its name.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._places = array("Q")
        """Of each policy, by rank."""
        self._slots: dict[int, int] = {}
        self._ranks: dict[str, array[int]] = {}
        self._by_name: dict[str, int] = {}
        self._by_answer: dict[int, int] = {}
        self._whole = array("L")
        self._gone: list[Answer] = []
        self._recent: dict[int, MemberPolicy] = {}
        self._recent_slots: dict[int, MemberSlot] = {}
        self._of_namespaces: dict[str, tuple[MemberPolicy, ...]] = {}
        self._index()
        # Every pod asks for these.
        everywhere = {*self._ranks.get("", ()), *self._whole}
        self._always = {rank: self._read_policy(rank) for rank in sorted(everywhere)}
        self.whole: Sequence[MemberPolicy] = tuple(self._always[rank] for rank in self._whole)

    @property
    def gone(self) -> Sequence[Answer]:
        return self._gone

    def of_namespace(self, namespace: str) -> Sequence[MemberPolicy]:
        known = self._of_namespaces.get(namespace)
        if known is None:
            ranks = sorted({*self._ranks.get("", ()), *self._ranks.get(namespace, ())})
            policies = tuple(self._always.get(rank) or self._read_policy(rank) for rank in ranks)
            known = _kept(self._of_namespaces, namespace, policies)
        return known

    def named(self, name: str) -> Optional[MemberPolicy]:
        rank = self._by_name.get(name)
        return None if rank is None else self._policy(rank)

    def slot(self, number: int) -> MemberSlot:
        """DamagedPlan where there is none."""
        known = self._recent_slots.get(number)
        if known is None:
            place = self._slots.get(number)
            if place is None:
                raise DamagedPlan("the policies name slot %d, which is not in members.json" % number)
            known = _kept(self._recent_slots, number, _slot(self._line(place)))
        return known

    def lines(self, chain: str) -> Sequence[str]:
        """The rules of a chain by its name, such as policy.NAME, answer.NUMBER and slot.NUMBER."""
        kind, _dot, name = chain.partition(".")
        try:
            if kind == "policy":
                return self._chains(self._places[self._by_name[name]])[chain]
            if kind == "answer":
                return self._chains(self._places[self._by_answer[int(name)]])[chain]
            return self.slot(int(name)).chains[chain]
        except (KeyError, ValueError) as error:
            raise DamagedPlan("members.json has no chain %s" % chain) from error

    def check(self) -> None:
        """Reads every line: DamagedPlan where one is damaged."""
        for rank in range(len(self._places)):
            policy = self._read_policy(rank)
            wanted = {"policy." + policy.chain.name}
            if policy.answer is not None:
                wanted.add("answer.%d" % policy.answer.number)
                self.slot(policy.answer.slot)
            if set(policy.chains) != wanted:
                raise DamagedPlan("members.json: chains of %s" % policy.chain.name)
        for number in self._slots:
            slot = self.slot(number).slot
            wanted = {"slot.%d" % number, *(["waits.%d" % number] if slot.falls_back else [])}
            if set(self.slot(number).chains) != wanted:
                raise DamagedPlan("members.json: chains of slot %d" % number)

    def _index(self) -> None:
        takers = {"policies": self._take_policy, "slots": self._take_slot, "gone": self._take_gone}
        for name, place, line in _listed(self._file):
            try:
                takers[name](place, json.loads(line))
            except _DAMAGE as error:
                raise _damaged(error) from error

    def _take_policy(self, place: int, data: Any) -> None:
        rank, name, whole = len(self._places), data["chain"]["name"], "whole" in data
        if name in self._by_name:
            raise ValueError("two policies %r" % (name,))
        self._places.append(place)
        self._by_name[_matching(_NAME, name)] = rank
        if "answer" in data:
            self._by_answer[_number(data["answer"]["number"])] = rank
        if whole:
            self._whole.append(rank)
        else:
            self._ranks.setdefault(_text(data["namespace"]), array("L")).append(rank)

    def _take_slot(self, place: int, data: Any) -> None:
        number = _number(data["slot"]["number"])
        if number in self._slots:
            raise ValueError("two slots %d" % number)
        self._slots[number] = place

    def _take_gone(self, place: int, data: Any) -> None:
        self._gone.append(reader_of(Answer)(data))

    def _policy(self, rank: int) -> MemberPolicy:
        known = self._always.get(rank) or self._recent.get(rank)
        return known if known is not None else _kept(self._recent, rank, self._read_policy(rank))

    def _read_policy(self, rank: int) -> MemberPolicy:
        place = self._places[rank]
        return _policy(rank, self._line(place), _LazyChains(self, place))

    def _chains(self, place: int) -> Chains:
        try:
            return _chains(self._line(place)["chains"])
        except _DAMAGE as error:
            raise _damaged(error) from error

    def _line(self, place: int) -> Any:
        self._file.seek(place)
        try:
            return json.loads(self._file.readline().rstrip(b",\n"))
        except ValueError as error:
            raise _damaged(error) from error


class _LazyChains(Mapping[str, "tuple[str, ...]"]):
    """The chains of a policy: text that few ask for."""

    def __init__(self, file: MembersFile, place: int) -> None:
        self._file, self._place = file, place

    def _read(self) -> Chains:
        return self._file._chains(self._place)

    def __getitem__(self, name: str) -> tuple[str, ...]:
        return self._read()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._read())

    def __len__(self) -> int:
        return len(self._read())


def _listed(file: BinaryIO) -> Iterator[tuple[str, int, bytes]]:
    """Each line of the lists: of which, where it begins in the file, and its JSON."""
    file.seek(0)
    place = 0

    def line() -> bytes:
        nonlocal place
        text = file.readline()
        place += len(text)
        return text

    for wanted in _HEAD:
        found = line()
        if found != wanted:
            raise DamagedPlan(
                "members.json begins with %r instead of %r: use the collection and the compiler of one release"
                % (found[:40].decode(errors="replace"), wanted.decode())
            )
    for name in _LISTS:
        if line() != b' "%s": [\n' % name.encode():
            raise DamagedPlan("members.json is damaged: there is no list of %s" % name)
        start, text = place, line()
        while text not in (b" ],\n", b" ]\n"):
            if not text.endswith(b"\n"):
                raise DamagedPlan("members.json is damaged: it ends in the list of %s" % name)
            yield name, start, text.rstrip(b",\n")
            start, text = place, line()
        if text.endswith(b",\n") != (name != _LISTS[-1]):
            raise DamagedPlan("members.json is damaged behind the list of %s" % name)
    if line() != b"}\n" or line():
        raise DamagedPlan("members.json is damaged at its end")


def _policy(rank: int, data: Any, chains: Chains) -> MemberPolicy:
    try:
        answer = data.get("answer")
        return MemberPolicy(
            rank=rank,
            namespace=_text(data["namespace"]),
            chain=reader_of(PolicyChain)(data["chain"]),
            answer=None if answer is None else reader_of(Answer)(answer),
            chains=chains,
            namespaces=_selector(data.get("namespaces")),
            pods=_selector(data.get("pods")),
            within=several_addresses(data.get("within", _NONE)),
            whole=several_addresses(data.get("whole", _NONE)),
            cut=_yes(data.get("cut", False)),
        )
    except _DAMAGE as error:
        raise _damaged(error) from error


_NONE: Mapping[str, list[str]] = {"ipv4": [], "ipv6": []}


def _slot(data: Any) -> MemberSlot:
    try:
        return MemberSlot(reader_of(PlanSlot)(data["slot"]), _chains(data["chains"]))
    except _DAMAGE as error:
        raise _damaged(error) from error


def _chains(data: Any) -> Chains:
    return {_matching(_NAME, name): tuple(_matching(_RULE, line) for line in lines) for name, lines in data.items()}


def _selector(data: Any) -> Optional[LabelSelector]:
    return None if data is None else LabelSelector(tuple(map(_requirement, data)))


def _requirement(data: Any) -> Requirement:
    operator, values = data["operator"], data.get("values", [])
    if operator not in _OPERATORS or not isinstance(values, list):
        raise ValueError("%r" % (data,))
    return Requirement(_text(data["key"]), operator, frozenset(map(_text, values)))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("%r" % (value,))
    return value


def _matching(pattern: re.Pattern[str], value: Any) -> str:
    if not pattern.fullmatch(_text(value)):
        raise ValueError("%r" % (value,))
    text: str = value
    return text


def _number(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError("%r" % (value,))
    return value


def _yes(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("%r" % (value,))
    return value


def _damaged(error: Exception) -> DamagedPlan:
    return DamagedPlan("members.json is damaged: %s: %s" % (type(error).__name__, error))


def _kept(cache: dict[K, V], key: K, value: V) -> V:
    """What was kept longest makes room."""
    if len(cache) >= MOST_NAMESPACES:
        del cache[next(iter(cache))]
    cache[key] = value
    return value
