# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""plan.json, read strictly: a text goes into commands and paths only if it looks like what it should be."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, replace
from functools import cache, lru_cache
from typing import Annotated, Any, Literal, Optional, TypeVar, get_args, get_origin, get_type_hints

from . import plan as types
from .elements import IN_RULESET, inside_set, keys
from .pod_lines import PodLine, pods_of

_PREFIXES = tuple(map(str, range(129)))
_FOUR = re.compile(
    r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])(?:\.(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])){3}"
)
_GROUPS = r"(?:(?:0|[1-9a-f][0-9a-f]{0,3})(?::(?:0|[1-9a-f][0-9a-f]{0,3}))*)"
_SIX = re.compile(r"(?!.*\b0::?0\b)(?!.*\b0::)(?!.*::0\b)(?:%s|%s?::%s?)" % (_GROUPS, _GROUPS, _GROUPS))
"""With no zeros that RFC 5952 would write shorter, or elsewhere."""
_PATTERNS = {
    "device": re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@:-]{0,14}"),
    "directory": re.compile(r"(/(?!\.\.?(/|$))[A-Za-z0-9_@%+=:,.-]+)+"),
    "mac": re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}"),
    "sysctl": re.compile(r"net(/(?!\.\./)[A-Za-z0-9_.@:-]+)+"),
    "instance": re.compile(r"vrid_[0-9]+"),
    "value": re.compile(r"[ -~]*"),
}


T = TypeVar("T")


class DamagedPlan(Exception):
    """The text is no plan of this version; the message says why."""


def read_plan(text: str, ruleset: Optional[str]) -> types.NodePlan:
    """``ruleset`` is the node's nftables.nft, which has the rest; without it that is empty.  Raises DamagedPlan."""
    try:
        data = json.loads(text)
        if data["version"] != types.PLAN_VERSION:
            raise DamagedPlan(
                "plan version %s, but this side reads %d: use the collection and the compiler of one release"
                % (data["version"], types.PLAN_VERSION)
            )
        nothing: dict[str, list[str]] = {"ipv4": [], "ipv6": []}
        plan: types.NodePlan = _reader(types.NodePlan)({**data, **dict.fromkeys(IN_RULESET, nothing)})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedPlan("the node's plan is damaged: %s: %s" % (type(error).__name__, error)) from error
    return with_ruleset(plan, ruleset) if ruleset is not None else plan


def with_ruleset(plan: types.NodePlan, ruleset: str) -> types.NodePlan:
    """The plan with what stands in this nftables.nft and not in plan.json.  Raises DamagedPlan."""
    try:
        inside = types.Both(_read_all(keys(ruleset, inside_set(4))), _read_all(keys(ruleset, inside_set(6))))
    except ValueError as error:
        raise DamagedPlan("the node's ruleset is damaged: %s" % error) from error
    return replace(plan, inside=inside)


Reader = Callable[[Any], Any]


def reader_of(kind: type[T]) -> Callable[[Any], T]:
    """What reads a value of a class of the plan; it raises ValueError, KeyError, TypeError or AttributeError."""
    wanted: Any = kind
    read: Callable[[Any], T] = _reader(wanted)
    return read


def several_addresses(value: Any) -> types.Both[tuple[types.Sources, ...]]:
    """Addresses, CIDRs and ranges of both families; the errors are those of ``reader_of``."""
    read: types.Both[tuple[types.Sources, ...]] = _both(_several(_addresses))(value)
    return read


@cache
def _reader(kind: Any) -> Reader:
    """What reads a value of this type."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _FORMS.get(arguments[1]) or _matching(_PATTERNS[arguments[1]])
    if origin is Literal:
        return _one_of(arguments)
    if type(None) in arguments:
        # Not asked by origin: typing has one object for Both[Optional[T]] and Both[T | None], whichever came first.
        return _optional(_reader(next(a for a in arguments if a is not type(None))))
    if origin is tuple:
        return _several(_reader(arguments[0]))
    if origin is types.Both:
        return _both(_reader(arguments[0]))
    return _exactly(kind) if kind in (str, int, bool) else _object(kind)


def _exactly(kind: type) -> Reader:
    def read(value: Any) -> Any:
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise ValueError("%r" % (value,))
        return value

    return read


def _matching(pattern: re.Pattern[str]) -> Reader:
    def read(value: Any) -> str:
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise ValueError("%r" % (value,))
        return value

    return read


def _one_of(allowed: tuple[Any, ...]) -> Reader:
    def read(value: Any) -> Any:
        if value not in allowed:
            raise ValueError("%r" % (value,))
        return value

    return read


def _optional(inner: Reader) -> Reader:
    return lambda value: None if value is None else inner(value)


def _several(inner: Reader) -> Reader:
    def read(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise ValueError("%r" % (value,))
        return tuple(inner(item) for item in value)

    return read


def _both(inner: Reader) -> Reader:
    return lambda value: types.Both(inner(value["ipv4"]), inner(value["ipv6"]))


def _object(kind: Any) -> Reader:
    readers = _field_readers(kind)
    usual = {field.name for field in fields(kind) if field.default is not MISSING}

    def read(value: Mapping[str, Any]) -> Any:
        said = {name: reader for name, reader in readers.items() if name in value or name not in usual}
        return kind(**{name: reader(value[name]) for name, reader in said.items()})

    return read


def _field_readers(kind: Any) -> dict[str, Reader]:
    hints = get_type_hints(kind, vars(types), include_extras=True)
    return {field.name: _reader(hints[field.name]) for field in fields(kind)}


def address(text: str) -> str:
    """An address, or one with a prefix length, in the form that the kernel's tools print."""
    if _is_canonical(text):
        return text
    return str(ipaddress.ip_interface(text) if "/" in text else ipaddress.ip_address(text))


def _is_canonical(text: str) -> bool:
    """Whether the text surely is as the compiler writes it; told in a tenth of the time that ``ipaddress`` takes."""
    value, slash, prefix = text.partition("/")
    if ":" not in value:
        return _FOUR.fullmatch(value) is not None and (not slash or prefix in _PREFIXES[:33])
    groups = value.count(":")
    good = groups == 7 if "::" not in value else groups < 7
    return good and _SIX.fullmatch(value) is not None and (not slash or prefix in _PREFIXES)


def _addresses(text: str) -> str:
    first, hyphen, last = text.partition("-")
    return "%s-%s" % (address(first), address(last)) if hyphen else address(text)


@lru_cache(maxsize=64)
def _read_all(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Most nodes have the same."""
    return tuple(map(_addresses, texts))


def _pods(value: Any) -> types.Both[tuple[types.Source, ...]]:
    lines: tuple[PodLine, ...] = _several(_object(PodLine))(value)
    return pods_of(lines)


_FORMS: dict[str, Reader] = {"address": address, "addresses": _addresses, "pods": _pods}
