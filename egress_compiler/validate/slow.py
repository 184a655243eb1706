"""JSON Schema by jsonschema, with our meaning of null and ``$``: it tells what is wrong and where."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend
from referencing import Registry, Resource

from egress_compiler.validate.fast import TYPES, Check, anchored


def _properties(validator: Any, properties: Any, instance: Any, _: Any) -> Iterator[ValidationError]:
    if isinstance(instance, dict):
        for name, schema in properties.items():
            if instance.get(name) is not None:
                yield from validator.descend(instance[name], schema, path=name, schema_path=name)


def _required(_validator: Any, required: Any, instance: Any, _: Any) -> Iterator[ValidationError]:
    if isinstance(instance, dict):
        for name in required:
            if instance.get(name) is None:
                error = ValidationError(f"{name!r} is required")
                error.validator_value = name
                yield error


def _pattern(_validator: Any, pattern: Any, instance: Any, _: Any) -> Iterator[ValidationError]:
    if isinstance(instance, str) and not anchored(pattern).search(instance):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


def _type_checker() -> Any:
    def redefined(check: Check) -> Any:
        return lambda _, value: check(value)

    return Draft202012Validator.TYPE_CHECKER.redefine_many({name: redefined(check) for name, check in TYPES.items()})


_Validator: Any = extend(  # type: ignore[no-untyped-call]  # types-jsonschema leaves it untyped
    Draft202012Validator,
    {"properties": _properties, "required": _required, "pattern": _pattern},
    type_checker=_type_checker(),
)


def validator(schema: Mapping[str, Any], common: Mapping[str, Any]) -> Any:
    """Of ``schema``, whose references to ``common.json`` mean ``common``."""
    registry: Registry[Any] = Registry().with_resource("common.json", Resource.from_contents(common))
    return _Validator(schema, registry=registry)
