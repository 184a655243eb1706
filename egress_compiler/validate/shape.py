"""JSON Schema validation, with its findings told in the user's terms and at the user's place."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from referencing import Registry, Resource

from egress_compiler.diagnostics import Collector, nearest, quoted
from egress_compiler.document import Document, Plain

_TYPE_NAMES = {
    "object": "a mapping",
    "array": "a list",
    "string": "a string",
    "integer": "a whole number",
    "boolean": "true or false",
    "number": "a number",
}


def schema_text(name: str) -> str:
    """The text of ``schemas/NAME.json``, from the installed package or from the source tree."""
    packaged = files("egress_compiler") / "schemas" / f"{name}.json"
    if packaged.is_file():
        return packaged.read_text(encoding="utf-8")
    return (Path(__file__).parents[2] / "schemas" / f"{name}.json").read_text(encoding="utf-8")


@cache
def _validator(name: str) -> Draft202012Validator:
    common = Resource.from_contents(json.loads(schema_text("common")))
    registry: Registry[Any] = Registry().with_resource("common.json", common)
    return Draft202012Validator(json.loads(schema_text(name)), registry=registry)


def without_nulls(data: Plain) -> Plain:
    """``data`` with the null entries of its mappings left out, as the API server reads them."""
    if isinstance(data, dict):
        return {key: without_nulls(value) for key, value in data.items() if value is not None}
    if isinstance(data, list):
        return [without_nulls(item) for item in data]
    return data


def check_shape(document: Document, schema: str, found: Collector) -> bool:
    """Whether ``document`` has the shape of ``schema``; each deviation is reported to ``found``."""
    good = True
    for error in _leaves(_validator(schema).iter_errors(document.data)):
        good = False
        _report(error, document, found)
    return good


def _leaves(errors: Iterable[ValidationError]) -> Iterable[ValidationError]:
    for error in errors:
        if error.context:
            yield from _leaves(error.context)
        else:
            yield error


def _report(error: ValidationError, document: Document, found: Collector) -> None:
    path = tuple(error.absolute_path)
    where, value = document.at(*path), error.instance
    rule: Any = error.validator_value
    schema: Any = error.schema
    name = _spelled(path)
    match error.validator:
        case "additionalProperties" if isinstance(value, dict):
            known = schema.get("properties", {})
            for key in value:
                if key not in known:
                    hint = nearest(key, known) or f"known here: {', '.join(sorted(known))}"
                    message = f"unknown field {quoted(key)}" + (f" in {name}" if path else "")
                    found.error("unknown-field", message, document.key_at(*path, key), hint=hint)
        case "required" if isinstance(value, dict):
            for key in rule:
                if key not in value:
                    found.error("missing-field", f"{name or 'the document'} has no {quoted(key)}", where)
        case "type":
            wanted = _TYPE_NAMES.get(str(rule), str(rule))
            hint = ""
            if rule == "string" and isinstance(value, (bool, int, float)):
                hint = f'put it in quotes: "{_as_written(value, document, path)}"'
            found.error("wrong-type", f"{name} must be {wanted}, not {_described(value)}", where, hint=hint)
        case "enum":
            hint = nearest(str(value), map(str, rule)) if isinstance(value, str) else ""
            options = ", ".join(repr(option) if option == "" else str(option) for option in rule)
            found.error("wrong-value", f"{name} must be one of {options}, not {_described(value)}", where, hint=hint)
        case "const":
            found.error("wrong-value", f"{name} must be {rule}, not {_described(value)}", where)
        case "minimum" | "maximum" | "multipleOf" | "minLength" | "maxLength":
            found.error("out-of-range", f"{name} is out of range: {_bounds(schema)}", where)
        case "pattern":
            what = schema.get("description", f"must match {rule}")
            at = document.key_at(*path, str(value)) if error.parent is not None else where
            found.error("bad-name", f"{quoted(str(value))} is not possible as {name}", at, hint=what)
        case _:
            found.error("wrong-shape", f"{name}: {error.message}", where)


def _as_written(value: object, document: Document, path: tuple[str | int, ...]) -> str:
    position = document.at(*path)
    line = position.source.line(position.line)
    return line[position.column - 1 : position.column - 1 + position.length] or str(value)


def _spelled(path: tuple[str | int, ...]) -> str:
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
    return "nothing" if value is None else quoted(str(value))


def _bounds(schema: dict[str, Any]) -> str:
    words = {
        "minimum": "at least {}",
        "maximum": "at most {}",
        "multipleOf": "a multiple of {}",
        "minLength": "at least {} characters",
        "maxLength": "at most {} characters",
    }
    return ", ".join(text.format(schema[key]) for key, text in words.items() if key in schema)
