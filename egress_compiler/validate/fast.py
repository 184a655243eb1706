"""JSON Schema as plain Python functions, for the usual case that nothing is wrong.

jsonschema tells what is wrong and where, and takes a millisecond for one policy; this tells only that nothing is,
thirty times faster.  Both must agree: tests/fuzz holds that.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

Check = Callable[[Any], bool]

TYPES: dict[str, Check] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, (int, float)) and not isinstance(value, bool),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
}
"""Stricter than JSON Schema in one point: 1.0 is no integer, as Kubernetes refuses it."""

_OBJECT = ("properties", "required", "additionalProperties", "propertyNames")
_ANNOTATIONS = frozenset(
    {
        "$schema",
        "$id",
        "$defs",
        "$comment",
        "title",
        "description",
        "default",
        "examples",
        "deprecated",
        "markdownDescription",
    }
)


def anchored(pattern: str) -> re.Pattern[str]:
    """The pattern with a ``$`` that means the end, as in ECMAScript; Python's would allow a line end behind it."""
    return re.compile(pattern[:-1] + r"\Z" if pattern.endswith("$") else pattern)


def compiled(schema: Any, definitions: Mapping[str, Any]) -> Check:
    """A function that tells whether a value is valid; ValueError for keywords that it does not know.

    ``definitions`` has the schemas that a ``$ref`` may name.  A null entry of a mapping counts as absent where the
    schema names that entry.
    """
    return _Compiler(definitions).check(schema)


def _everything(_: object) -> bool:
    return True


class _Compiler:
    def __init__(self, definitions: Mapping[str, Any]) -> None:
        self._definitions = definitions
        self._known: dict[str, Check] = {}

    def check(self, schema: Any) -> Check:
        if isinstance(schema, bool):
            return _everything if schema else lambda _: False
        checks = [
            check
            for keyword, rule in schema.items()
            if keyword not in _ANNOTATIONS and keyword not in _OBJECT
            for check in [self._keyword(keyword, rule)]
        ]
        if any(keyword in schema for keyword in _OBJECT):
            checks.append(self._object(schema))
        if not checks:
            return _everything
        if len(checks) == 1:
            return checks[0]
        if len(checks) == 2:
            first, second = checks
            return lambda value: first(value) and second(value)
        return _all(checks)

    def _keyword(self, keyword: str, rule: Any) -> Check:
        match keyword:
            case "$ref":
                return self._reference(rule)
            case "type":
                return TYPES[rule]
            case "enum":
                options = [(type(option), option) for option in rule]
                return lambda value: (type(value), value) in options
            case "const":
                return lambda value: type(value) is type(rule) and value == rule
            case "pattern":
                search = anchored(rule).search
                return lambda value: not isinstance(value, str) or search(value) is not None
            case "items":
                item = self.check(rule)
                return lambda value: not isinstance(value, list) or all(map(item, value))
        return _bound(keyword, rule)

    def _reference(self, name: str) -> Check:
        if name not in self._known:
            self._known[name] = self.check(self._definitions[name])
        return self._known[name]

    def _object(self, schema: Mapping[str, Any]) -> Check:
        properties = {name: self.check(sub) for name, sub in schema.get("properties", {}).items()}
        required = tuple(schema.get("required", ()))
        others = self.check(schema.get("additionalProperties", True))
        # Many objects have the same keys.
        names = lru_cache(maxsize=4096)(self.check(schema["propertyNames"])) if "propertyNames" in schema else None

        def check(value: Any) -> bool:
            if not isinstance(value, dict):
                return True
            for key, entry in value.items():
                known = properties.get(key)
                if known is None:
                    if not others(entry):
                        return False
                elif entry is not None and not known(entry):
                    return False
                if names is not None and not names(key):
                    return False
            for key in required:  # noqa: SIM110 - all() takes twice as long, of what is asked for every value
                if value.get(key) is None:
                    return False
            return True

        return check


def _all(checks: Sequence[Check]) -> Check:
    def check(value: Any) -> bool:
        for one in checks:  # noqa: SIM110 - as above
            if not one(value):
                return False
        return True

    return check


def _bound(keyword: str, rule: Any) -> Check:
    number = TYPES["number"]
    bounds: dict[str, Check] = {
        "minimum": lambda value: not number(value) or value >= rule,
        "maximum": lambda value: not number(value) or value <= rule,
        "multipleOf": lambda value: not number(value) or value % rule == 0,
        "minLength": lambda value: not isinstance(value, str) or len(value) >= rule,
        "maxLength": lambda value: not isinstance(value, str) or len(value) <= rule,
        "minItems": lambda value: not isinstance(value, list) or len(value) >= rule,
        "maxItems": lambda value: not isinstance(value, list) or len(value) <= rule,
    }
    if keyword not in bounds:
        raise ValueError(f"the keyword {keyword} is not known here")
    return bounds[keyword]
