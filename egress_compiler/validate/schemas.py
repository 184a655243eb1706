"""The JSON Schemas in ``schemas/``: their text, and the validators made of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from egress_compiler.validate.fast import Check, compiled

COMMON = "common"
KINDS = {
    "EgressGateway": "egressgateway",
    "EgressPolicy": "egresspolicy",
    "EgressClusterPolicy": "egressclusterpolicy",
    "EgressClusterInfo": "egressclusterinfo",
}
"""Kind to schema, of what users write."""
NAMES = (*KINDS.values(), "settings", "lock")


@cache
def schema_text(name: str) -> str:
    """The text of ``schemas/NAME.json``, from the installed package or from the source tree."""
    packaged = files("egress_compiler") / "schemas" / f"{name}.json"
    if packaged.is_file():
        return packaged.read_text(encoding="utf-8")
    return (Path(__file__).parents[2] / "schemas" / f"{name}.json").read_text(encoding="utf-8")


@cache
def schema(name: str) -> Mapping[str, Any]:
    """``schemas/NAME.json`` as data."""
    data: Mapping[str, Any] = json.loads(schema_text(name))
    return data


def definitions() -> Mapping[str, Any]:
    """What a ``$ref`` may name, in both spellings that the schemas use."""
    shared: Mapping[str, Any] = schema(COMMON)["$defs"]
    return {f"{file}#/$defs/{name}": sub for file in ("", "common.json") for name, sub in shared.items()}


def resolved(part: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of a schema with what its ``$ref`` names, which it may say otherwise."""
    return {**resolved(definitions()[part["$ref"]]), **part} if "$ref" in part else part


def self_contained(name: str) -> dict[str, Any]:
    """The schema with the shared definitions inside, those it uses, so that it can be copied anywhere."""
    whole: dict[str, Any] = _localised(dict(schema(name)))
    shared = schema(COMMON)["$defs"]
    needed: dict[str, Any] = {}
    waiting = [whole]
    while waiting:
        for reference in _references(waiting.pop()):
            if reference not in needed:
                needed[reference] = _localised(shared[reference])
                waiting.append(needed[reference])
    if needed:
        whole["$defs"] = dict(sorted(needed.items()))
    return whole


def _localised(part: Any) -> Any:
    if isinstance(part, dict):
        return {key: f"#{sub.partition('#')[2]}" if key == "$ref" else _localised(sub) for key, sub in part.items()}
    return [_localised(item) for item in part] if isinstance(part, list) else part


def _references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        if isinstance(reference := part.get("$ref"), str):
            yield reference.rpartition("/")[2]
        for sub in part.values():
            yield from _references(sub)
    elif isinstance(part, list):
        for item in part:
            yield from _references(item)


@cache
def fast_check(name: str) -> Check:
    """Tells whether data is valid, and nothing else."""
    return compiled(schema(name), definitions())


@cache
def slow_check(name: str) -> Any:
    """A jsonschema validator that agrees with ``fast_check``: nulls of named entries are absent, ``$`` is the end."""
    # Here, as it takes longer to import than all of our own validation, and only wrong input needs it.
    from egress_compiler.validate.slow import validator

    return validator(schema(name), schema(COMMON))
