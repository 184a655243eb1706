"""Plain data to YAML documents, as PyYAML writes them, in a tenth of its time.

Hundreds of thousands of endpoints make it worth it.  PyYAML still decides on every scalar that could be anything but
plain text; this module only knows how mappings and sequences are laid out.  Two things differ: a text of several lines
stands on one, in double quotes, and so does a row, a named tuple of texts and tuples of texts, which stands for a
mapping.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import yaml

_Dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
_WIDTH = 1_000_000
"""Columns: no line is ever broken."""

_PLAIN = re.compile(r"[a-z][a-z0-9]*-[a-z0-9-]*[a-z0-9]|[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+|f[cd][0-9a-f:]*::[0-9a-f]+")
"""Names with a hyphen, IPv4 and most IPv6 addresses: text to every YAML, without quotes."""
_NO_ESCAPES = re.compile(r"[A-Za-z0-9.:/-]*")
"""Itself between double quotes."""


def documents_text(objects: Iterable[Mapping[str, Any]]) -> str:
    """Several documents, keys sorted, long lines unbroken.  Values are dict, list, str, int, bool, None, and rows."""
    return "".join(map(_document, objects))


def _document(item: Mapping[str, Any]) -> str:
    lines = ["---"]
    _mapping(item, "", "", lines)
    lines.append("")
    return "\n".join(lines)


def _mapping(value: Mapping[str, Any], start: str, indent: str, lines: list[str]) -> None:
    """Adds lines: the first begins with ``start``, such as the hyphen of an item, the others with ``indent``."""
    for key in sorted(value):
        item = value[key]
        head = f"{start}{_scalar(key)}:"
        start = indent
        if isinstance(item, dict) and item:
            lines.append(head)
            _mapping(item, indent + "  ", indent + "  ", lines)
        elif isinstance(item, list) and item:
            lines.append(head)
            _sequence(item, indent, indent, lines)
        else:
            lines.append(f"{head} {_leaf(item)}")


def _sequence(value: Sequence[Any], start: str, indent: str, lines: list[str]) -> None:
    """The same for a sequence, whose items are not indented further."""
    for item in value:
        if isinstance(item, dict) and item:
            _mapping(item, f"{start}- ", indent + "  ", lines)
        elif isinstance(item, list) and item:
            _sequence(item, f"{start}- ", indent + "  ", lines)
        elif isinstance(item, tuple):
            lines.append(f"{start}- {_row(item)}")
        else:
            lines.append(f"{start}- {_leaf(item)}")
        start = indent


@lru_cache(maxsize=32_768)
def _row(row: Any) -> str:
    """The next policy of a namespace has the same pods."""
    values = zip(row._fields, row, strict=True)
    return "{" + ", ".join(f"{name}: {_cell(value)}" for name, value in sorted(values)) + "}"


def _cell(value: str | tuple[str, ...]) -> str:
    """Quoted but where it is text to every YAML: in braces and brackets more has a meaning than elsewhere."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(_cell, value))}]"
    if _PLAIN.fullmatch(value):
        return value
    return f'"{value}"' if _NO_ESCAPES.fullmatch(value) else _dumped(value, '"')


def _leaf(value: Any) -> str:
    if isinstance(value, dict):
        return "{}"
    return "[]" if isinstance(value, list) else _scalar(value)


def _scalar(value: str | int | bool | None) -> str:
    if isinstance(value, str):
        return value if _PLAIN.fullmatch(value) else _text(value)
    return _dumped(value, None)


@lru_cache(maxsize=65_536)
def _text(value: str) -> str:
    text = _dumped(value, None)
    return text if len(text.splitlines()) == 1 else _dumped(value, '"')


def _dumped(value: str | int | bool | None, style: str | None) -> str:
    text: str = yaml.dump(value, Dumper=_Dumper, width=_WIDTH, allow_unicode=True, default_style=style)
    return text.removesuffix("\n").removesuffix("\n...")
