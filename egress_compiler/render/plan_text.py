"""plan.json: one object a line, so that a diff shows which; what has its default is not said."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from functools import cache

import msgspec

from egress_compiler.contract import plan as types
from egress_compiler.contract.elements import IN_RULESET
from egress_compiler.contract.plan import NodePlan, WorkerRole
from egress_compiler.contract.pod_lines import pod_lines

_DEPTH = 3
"""Levels of objects that stand open; what is deeper stands on one line."""


def plan_json(plan: NodePlan) -> str:
    return _value(plan, "", _DEPTH) + "\n"


def _value(value: object, indent: str, depth: int) -> str:
    kind: type = type(value)
    names = _names(kind)
    if names and depth:
        inner = indent + " "
        said = ((name, _said(value, name)) for name in names)
        optional = _optional(kind)
        said = ((name, one) for name, one in said if one is not None or name not in optional)
        items = (f'{inner}"{name}": {_value(one, inner, depth - 1)}' for name, one in said)
        return "{\n" + ",\n".join(items) + f"\n{indent}}}"
    if isinstance(value, tuple) and value and _is_object(value[0]):
        inner = indent + " "
        return "[\n" + ",\n".join(inner + one_line(item) for item in value) + f"\n{indent}]"
    return one_line(value)


@cache
def _optional(kind: type) -> frozenset[str]:
    """Fields that are None as a rule."""
    return frozenset(field.name for field in fields(kind) if field.default is None)


def _said(value: object, name: str) -> object:
    return pod_lines(value.pods) if isinstance(value, WorkerRole) and name == "pods" else getattr(value, name)


def one_line(value: object) -> str:
    """Of a value of the plan."""
    text = msgspec.json.encode(value).decode()
    for usual in _usual(type(value).__name__):
        text = text.replace(usual, "")
    return text


def _is_object(value: object) -> bool:
    kind: type = type(value)
    return bool(_names(kind))


@cache
def _names(kind: type) -> tuple[str, ...]:
    """The fields of a class of the plan that plan.json has; none of any other."""
    elsewhere = IN_RULESET if kind is NodePlan else ()
    return tuple(field.name for field in fields(kind) if field.name not in elsewhere) if is_dataclass(kind) else ()


@cache
def _usual(kind: str) -> tuple[str, ...]:
    """Fields with their defaults, as they stand behind others; in a text of the plan's a quote is escaped."""
    defaults: list[str] = []
    for name in _within(kind):
        for field in fields(vars(types)[name]):
            if field.default is not MISSING:
                defaults.append(f',"{field.name}":{msgspec.json.encode(field.default).decode()}')
    return tuple(dict.fromkeys(defaults))


def _within(kind: str) -> Iterator[str]:
    """The classes of the plan that objects of one have in them, itself among them."""
    of_plan = vars(types).get(kind)
    if isinstance(of_plan, type) and is_dataclass(of_plan):
        yield kind
        for field in fields(of_plan):
            for name in re.findall(r"\w+", str(field.type)):
                yield from _within(name)
