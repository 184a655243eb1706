"""Plain YAML line by line: block mappings and lists of scalars, as nearly all policies are written.

libyaml tells the place of everything, which takes most of its time, and of most files nobody asks.  This takes what has
one meaning on its own line, and gives up on all else: then ``yaml_text`` reads the file.  Both must agree, which
tests/unit/test_yaml_lines.py holds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from egress_compiler.document import Plain
from egress_compiler.load.yaml_scalars import FLOAT, INT, MAYBE_NUMBER, ODD_INT, WORDS

MAX_LINES = 40_000
"""A line adds at most eleven values to what ``yaml_text`` counts, so that its limit is not reached."""
MAX_LEVELS = 50

_LINE = re.compile(
    r"""
    (?P<indent>[ ]*)
    (?:
        (?P<dash>-[ ]+)?
        (?:(?P<key>[A-Za-z_][A-Za-z0-9_./-]{0,200}):(?:[ ]+|(?=\n)))?
        (?:
            (?P<plain>[A-Za-z0-9_./+(][!-~ ]*)
          | (?:'(?P<single>[ -&(-~]*)'|"(?P<double>[ !#-\[\]-~]*)")(?:[ ]+\#.*)?[ ]*
          | (?P<empty>\[\]|\{\})[ ]*
          | (?:\#.*)?
        )
      | (?P<start>---)
    )
    \n
    """,
    re.VERBOSE,
)


class _Unknown(Exception):
    """Something that is not plain."""


class PlainDocument(NamedTuple):
    """Without ``nulls`` no value in it is null."""

    data: Plain
    nulls: bool


def parse_lines(text: str) -> tuple[PlainDocument, ...] | None:
    """The documents, empty ones left out, as ``yaml_text`` has them; None where it has to read them itself."""
    if text.count("\n") > MAX_LINES:
        return None
    try:
        return tuple(_documents(text if text.endswith("\n") else text + "\n"))
    except _Unknown:
        return None


def _documents(text: str) -> Iterator[PlainDocument]:
    builder, place = _Builder(), 0
    while place < len(text):
        found = _LINE.match(text, place)
        if found is None:
            raise _Unknown
        place = found.end()
        indent, dash, key, plain, single, double, empty, start = found.groups()
        if start:
            if indent:
                raise _Unknown
            yield from builder.ended()
            builder = _Builder()
        elif plain is not None:
            builder.add(len(indent), dash, key, builder.scalar(plain))
        elif single is not None or double is not None:
            builder.add(len(indent), dash, key, single if double is None else double)
        elif empty:
            builder.add(len(indent), dash, key, [] if empty == "[]" else {})
        elif key:
            builder.open(len(indent), dash, key)
        elif dash:
            raise _Unknown
    yield from builder.ended()


class _Builder:
    """One document.  ``_levels`` are the collections that a line may add to, with the indent of what is in them."""

    def __init__(self) -> None:
        self._root: Plain = None
        self._levels: list[tuple[int, Any]] = []
        self._open: str | None = None
        """A key of the last mapping whose value, if it has one, begins on a later line."""
        self._nulls = False

    def ended(self) -> Iterator[PlainDocument]:
        self._close()
        if self._levels:
            yield PlainDocument(self._root, self._nulls)

    def add(self, indent: int, dash: str | None, key: str | None, value: Plain) -> None:
        """A line with a scalar, or with an empty collection."""
        if key:
            self._mapping(indent, dash, key)[key] = value
        elif dash:
            self._collection(indent, list).append(value)
        else:
            raise _Unknown

    def open(self, indent: int, dash: str | None, key: str) -> None:
        """A line that ends behind a key."""
        self._mapping(indent, dash, key)[key] = None
        self._open = key

    def scalar(self, text: str) -> Plain:
        """A plain scalar to the end of the line, comment included."""
        if "#" in text:
            text = text.partition(" #")[0]
        text = text.rstrip(" ")
        if ":" in text and (": " in text or text[-1] == ":"):
            raise _Unknown
        if text in WORDS:
            self._nulls = self._nulls or WORDS[text] is None
            return WORDS[text]
        if text[0] not in MAYBE_NUMBER:
            return text
        if INT.match(text):
            return int(text)
        if ODD_INT.match(text) or FLOAT.match(text):
            raise _Unknown
        return text

    def _mapping(self, indent: int, dash: str | None, key: str) -> dict[str, Plain]:
        """The mapping that gets ``key``."""
        mapping: dict[str, Plain]
        if dash:
            mapping = {}
            self._collection(indent, list).append(mapping)
            self._deeper(indent + len(dash), mapping)
        else:
            mapping = self._collection(indent, dict)
        if key in mapping or key in WORDS:
            raise _Unknown
        return mapping

    def _collection(self, indent: int, kind: type) -> Any:
        """The one that a line with this indent adds to."""
        levels = self._levels
        if self._open is not None:
            last, mapping = levels[-1]
            if indent > last or (indent == last and kind is list):
                mapping[self._open] = new = kind()
                self._open = None
                self._deeper(indent, new)
                return new
            self._close()
        if not levels:
            if indent or self._root is not None:
                raise _Unknown
            self._root = new = kind()
            levels.append((0, new))
            return new
        while levels and (levels[-1][0] > indent or (levels[-1][0] == indent and type(levels[-1][1]) is not kind)):
            # A list may stand as deep as the key that it is the value of.
            levels.pop()
        if not levels or levels[-1][0] != indent:
            raise _Unknown
        return levels[-1][1]

    def _deeper(self, indent: int, new: Any) -> None:
        if len(self._levels) == MAX_LEVELS:
            raise _Unknown
        self._levels.append((indent, new))

    def _close(self) -> None:
        """What is open has no value."""
        if self._open is not None:
            self._open, self._nulls = None, True
