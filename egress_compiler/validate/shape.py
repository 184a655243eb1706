"""JSON Schema validation, with its findings told in the user's terms and at the user's place."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

from egress_compiler.diagnostics import Collector, listing, nearest, quoted
from egress_compiler.document import Document, Path, Plain
from egress_compiler.validate.fast import anchored
from egress_compiler.validate.schemas import fast_check, resolved, slow_check
from egress_compiler.validate.schemas import schema as whole_schema

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError

MAX_REPORTED = 200
"""Shape errors of one document: who has more has given the wrong file."""

_TYPE_NAMES = {
    "object": "a mapping",
    "array": "a list",
    "string": "a string",
    "integer": "a whole number",
    "boolean": "true or false",
    "number": "a number",
}
_ELSEWHERE = {
    "namespaceSelector": "only the appliedTo of an EgressClusterPolicy has it; an EgressPolicy stays in its namespace",
}
"""Known words in wrong places: what to say instead of the nearest known field."""


def check_shape(document: Document, schema: str, found: Collector) -> Document:
    """The document without what its schema does not allow, each deviation reported to ``found``.

    Null entries are left out, wrong list items become None, and ``faults`` says what was wrong.
    """
    if fast_check(schema)(document.data):
        if not document.faults and not document.nulls:
            return document
        return document.with_data(without_faults(document.data, document.faults))
    if found.full:
        found.errors += 1
        kind = document.data.get("kind") if isinstance(document.data, dict) else None
        return document.with_data({"kind": kind}, frozenset({()}))
    reporter = _Reporter(document, schema, found)
    for error in islice(_leaves(slow_check(schema).iter_errors(document.data)), MAX_REPORTED):
        reporter.report(error)
    faults = document.faults | reporter.faults
    return document.with_data(without_faults(document.data, faults), faults)


def without_faults(data: Plain, faults: Iterable[Path]) -> Plain:
    """``data`` without the values at ``faults``, and without the null entries of mappings."""
    by_step: dict[str | int, list[Path]] = {}
    for fault in faults:
        if fault:
            by_step.setdefault(fault[0], []).append(fault[1:])
    if isinstance(data, dict):
        return {
            key: without_faults(value, by_step[key]) if key in by_step else without_nulls(value)
            for key, value in data.items()
            if value is not None and () not in by_step.get(key, ())
        }
    if isinstance(data, list):
        return [
            None
            if () in by_step.get(index, ())
            else without_faults(item, by_step[index])
            if index in by_step
            else without_nulls(item)
            for index, item in enumerate(data)
        ]
    return data


def without_nulls(data: Plain) -> Plain:
    """``data`` with the null entries of its mappings left out, as the API server reads them."""
    if isinstance(data, dict):
        return {key: without_nulls(value) for key, value in data.items() if value is not None}
    if isinstance(data, list):
        return [without_nulls(item) for item in data]
    return data


def _leaves(errors: Iterable[ValidationError]) -> Iterable[ValidationError]:
    for error in errors:
        if error.context:
            yield from _leaves(error.context)
        else:
            yield error


class _Reporter:
    """Tells each fault once: of several rules that a value breaks the first one is named."""

    def __init__(self, document: Document, schema: str, found: Collector) -> None:
        self._document = document
        self._schema = whole_schema(schema)
        self._found = found
        self.faults: set[Path] = set()

    def report(self, error: ValidationError) -> None:
        path: Path = tuple(error.absolute_path)
        value: Any = error.instance
        if error.validator == "additionalProperties" and isinstance(value, dict):
            schema = error.schema if isinstance(error.schema, dict) else {}
            known = schema.get("properties", {})
            for key in islice((key for key in value if key not in known), MAX_REPORTED):
                self._unknown_field(path, key, schema)
        elif error.validator == "required":
            self._missing_field(path, str(error.validator_value), error.schema)
        elif "propertyNames" in error.absolute_schema_path:
            key_path = (*path, str(value))
            if self._new(key_path):
                self._bad_text(error, f"a key of {_spelled(path)}", self._document.key_at(*key_path))
        elif self._new(path):
            self._wrong_value(error, path)

    def _new(self, path: Path) -> bool:
        known = path in self.faults or self._document.doubtful(*path)
        self.faults.add(path)
        return not known

    def _unknown_field(self, path: Path, key: str, schema: Mapping[str, Any]) -> None:
        if self._new((*path, key)):
            message = f"unknown field {quoted(key)}" + (f" in {_spelled(path)}" if path else "")
            hint = self._field_hint(path, key, schema.get("properties", {}))
            self._found.error("unknown-field", message, self._document.key_at(*path, key), hint=hint)

    def _field_hint(self, path: Path, key: str, known: Mapping[str, Any]) -> str:
        """Where the field belongs, else what is like it, else what there is."""
        where = [_spelled((*path, name)) for name, sub in known.items() if key in _fields(sub)]
        where = where or [_spelled(place) for place in _places(key, self._schema, ())]
        misplaced = f"it belongs under {where[0]}: check the indentation" if where else ""
        label = "labels stand under matchLabels" if "matchLabels" in known else ""
        listed = f"known here: {', '.join(sorted(known))}"
        return _ELSEWHERE.get(key) or misplaced or nearest(key, known) or label or listed

    def _missing_field(self, path: Path, key: str, schema: Any) -> None:
        mapping: Any = self._document.data
        for step in path:
            mapping = mapping[step]
        properties = schema.get("properties", {})
        strangers = islice((name for name in mapping if name not in properties), MAX_REPORTED)
        inside, mistyped = _fields(properties.get(key, {})), nearest(key, [key])
        meant = any(name in inside or nearest(name, properties) == mistyped for name in strangers)
        if self._new((*path, key)) and not meant:
            empty = key in mapping
            place = self._document.key_at(*path, key) if empty else self._document.key_at(*path)
            message = f"{_spelled((*path, key))} is empty" if empty else f"{_spelled(path) or 'the object'} has no "
            message += "" if empty else quoted(key)
            self._found.error("missing-field", message, place, hint=_wanted(key, properties.get(key, {})))

    def _wrong_value(self, error: ValidationError, path: Path) -> None:
        where, value, name = self._document.at(*path), error.instance, _spelled(path) or "the document"
        rule: Any = error.validator_value
        match error.validator:
            case "type":
                message = f"{name} must be {_TYPE_NAMES.get(str(rule), str(rule))}, not {self._described(value, path)}"
                hint = self._type_hint(str(rule), value, path, error.schema)
                self._found.error("wrong-type", message, where, hint=hint)
            case "enum" | "const":
                options = rule if error.validator == "enum" else [rule]
                choice = listing((f'"{o}"' if o == "" else str(o) for o in options), limit=20).replace(" and ", " or ")
                one_of = "one of " if len(options) > 2 else ""
                hint = nearest(value, map(str, options)) if isinstance(value, str) else ""
                self._found.error(
                    "wrong-value", f"{name} must be {one_of}{choice}, not {_described(value)}", where, hint=hint
                )
            case "pattern" | "minLength" | "maxLength":
                self._bad_text(error, name, where)
            case _:
                message = f"{name} is {_described(value)}; it must be {_bounds(error.schema)}"
                self._found.error("out-of-range", message, where)

    def _bad_text(self, error: ValidationError, name: str, where: Any) -> None:
        schema: Any = error.schema
        what, value = schema.get("title", "possible"), str(error.instance)
        if not value:
            message = f"{name} is empty; it must be {what}"
        elif error.validator == "maxLength":
            message = f"{quoted(value, 30)} is too long for {name}"
        else:
            message = f"{quoted(value)} is not possible as {name}"
        rule = _hint(schema)
        guess = re.sub("[^a-z0-9.-]+", "-", value.lower()).strip("-.")
        if guess and what.startswith("a DNS-1123") and anchored(schema["pattern"]).search(guess) and guess != value:
            rule = f"write {quoted(guess)}: {rule}"
        self._found.error("bad-name", message, where, hint=rule)

    def _type_hint(self, wanted: str, value: object, path: Path, schema: Any) -> str:
        if wanted == "string" and isinstance(value, (bool, int, float)):
            if "examples" in schema and "pattern" not in schema:
                return _hint(schema)
            return f'put it in quotes: "{self._as_written(value, path)}"'
        if wanted == "array" and isinstance(value, str):
            text = quoted(value)[1:-1]
            quotes = '"' if self._quoted(path) or ":" in text else ""
            return f"write it as a list: [{quotes}{text}{quotes}]"
        if wanted == "integer" and isinstance(value, float) and value.is_integer():
            return f"write {value:.0f}"
        if wanted in ("integer", "boolean") and isinstance(value, str):
            return "leave out the quotes" if self._quoted(path) else ""
        return ""

    def _described(self, value: object, path: Path) -> str:
        """The value as it stands in the file, and what YAML makes of it where that may surprise."""
        if not isinstance(value, (bool, int, float)):
            return _described(value)
        written = quoted(self._as_written(value, path))[1:-1]
        if isinstance(value, bool) and written.lower() not in ("true", "false"):
            return f"{written}, which YAML reads as {_described(value)}"
        return written

    def _as_written(self, value: object, path: Path) -> str:
        position = self._document.at(*path)
        line = position.source.line(position.line)
        return line[position.column - 1 : position.column - 1 + position.length] or str(value)

    def _quoted(self, path: Path) -> bool:
        return self._as_written("", path)[:1] in ("'", '"')


def _hint(schema: Any) -> str:
    """A schema's description, as a hint is written."""
    text = str(schema.get("description", "")).rstrip(".")
    return text if text.startswith("DNS") else text[:1].lower() + text[1:]


def _wanted(key: str, schema: Mapping[str, Any]) -> str:
    """What to write where ``key`` is missing."""
    if "const" in schema:
        return f"write '{key}: {schema['const']}'"
    return _hint(resolved(schema))


def _fields(schema: Any) -> Iterable[str]:
    """The names that a mapping of this schema may have."""
    return resolved(schema).get("properties", {}) if isinstance(schema, Mapping) else ()


def _places(key: str, schema: Mapping[str, Any], path: Path) -> Iterator[Path]:
    """Where in a document of this schema a field ``key`` may stand; what is ignored anyway does not count."""
    for name, sub in schema.get("properties", {}).items():
        below = resolved(sub)
        if key in below.get("properties", {}) and name not in ("metadata", "status"):
            yield (*path, name)
        yield from _places(key, below, (*path, name))


def _spelled(path: Path) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _described(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    return "nothing" if value is None else quoted(str(value))[1:-1]


def _bounds(schema: Any) -> str:
    if "minimum" in schema and "maximum" in schema:
        step = f", a multiple of {schema['multipleOf']}" if "multipleOf" in schema else ""
        return f"from {schema['minimum']} to {schema['maximum']}{step}"
    words = {"minimum": "at least {}", "maximum": "at most {}", "multipleOf": "a multiple of {}"}
    words |= {"minItems": "at least {} long", "maxItems": "at most {} long"}
    return ", ".join(text.format(schema[key]) for key, text in words.items() if key in schema)
