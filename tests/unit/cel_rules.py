"""The CRDs' CEL rules, evaluated as an API server does: the library's strings, and ``ip`` and ``cidr`` of Kubernetes.

``IP`` and ``CIDR`` are kept as the text that Go would print.
"""

from collections.abc import Iterator
from functools import cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_interface
from typing import Any

import pytest

from egress_compiler.validate.cel import PARTS

celpy: Any = pytest.importorskip("celpy", reason="cel-python is not installed: make venv")
types: Any = celpy.celtypes


def address(text: Any) -> IPv4Address | IPv6Address:
    """As Go's netip.ParseAddr with what Kubernetes refuses beyond: zones and IPv4 in IPv6."""
    made = ip_address(str(text))
    if isinstance(made, IPv6Address) and (made.scope_id or made.ipv4_mapped):
        raise ValueError(text)
    return made


def network(text: Any) -> Any:
    base, slash, length = str(text).partition("/")
    if not slash or not length.isdecimal() or length != str(int(length)):
        raise ValueError(text)
    address(base)
    return ip_interface(str(text)).network


def _holds(check: Any) -> Any:
    def holds(text: Any) -> Any:
        try:
            check(text)
        except ValueError:
            return types.BoolType(False)
        return types.BoolType(True)

    return holds


def _contains(outer: Any, inner: Any) -> Any:
    inside, around = address(inner), network(outer)
    return types.BoolType(inside.version == around.version and inside in around)


def _contains_cidr(outer: Any, inner: Any) -> Any:
    inside, around = network(inner), network(outer)
    return types.BoolType(inside.version == around.version and inside.subnet_of(around))


def _ip(text: Any) -> Any:
    """Of an address or, as a method, of a CIDR: its address as written, host bits and all."""
    return types.StringType(str(address(str(text).partition("/")[0])))


FUNCTIONS = {
    "isIP": _holds(address),
    "isCIDR": _holds(network),
    "ip": _ip,
    "cidr": lambda text: types.StringType(f"{network(text) and text}"),
    "family": lambda text: types.IntType(address(text).version),
    "containsIP": _contains,
    "containsCIDR": _contains_cidr,
    "split": lambda text, by: types.ListType([types.StringType(part) for part in text.split(by)]),
    "trim": lambda text: types.StringType(text.strip()),
    "indexOf": lambda text, part: types.IntType(text.find(part)),
    "substring": lambda text, first, last=None: types.StringType(text[first:last]),
}


@cache
def _program(text: str) -> Any:
    environment = celpy.Environment()
    return environment.program(environment.compile(text), functions=FUNCTIONS)


def refused(item: dict[str, Any]) -> list[str]:
    """What an API server says of the object, as far as the rules go: path and message."""
    said: list[str] = []
    for path, part in PARTS.get(item["kind"], {}).items():
        for value in _values(item, path.replace("[]", ".[]").split(".") if path else []):
            for rule in part.rules:
                if not _program(rule.text).evaluate({"self": celpy.json_to_cel(value)}):
                    said.append(f"{path}: {rule.message}")
    return said


def _values(value: Any, steps: list[str]) -> Iterator[Any]:
    """Every value at a path, an absent one and null left out."""
    if value is None:
        return
    if not steps:
        yield value
    elif steps[0] == "[]":
        for item in value:
            yield from _values(item, steps[1:])
    elif steps[0] in value:
        yield from _values(value[steps[0]], steps[1:])
