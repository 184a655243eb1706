"""JSON with positions, for documents that a person may have to look at.

YAML is nearly a superset of JSON: surrogate pairs, keys of more than 1,024 characters and tabs are what it lacks.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right

from egress_compiler.document import Document, LaterSpot, Mark, Plain, Spot
from egress_compiler.source import SourceFile

MAX_DEPTH = 64
MAX_DIGITS = 40

_SPACE = re.compile(r"[ \t\n\r]*")
_STRING = re.compile(r'"[^"\\\x00-\x1f]*(?:\\.[^"\\\x00-\x1f]*)*"')
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_WORD = re.compile(r"true|false|null")
_WORDS: dict[str, Plain] = {"true": True, "false": False, "null": None}


class _NotPlain(Exception):
    """No JSON, or JSON that needs a complaint: the YAML parser makes it, with its place."""


def parse_json(source: SourceFile) -> Document | None:
    """The one value in ``source``; None where it is no strict JSON, has a key twice, or is deeper than 64 levels.

    Places are looked for when somebody asks, as that takes ten times as long as the rest.
    """
    try:
        if _PERHAPS_ODD.search(source.text):
            return Document(source, *_scanned(source.text))
        data = json.loads(source.text, object_pairs_hook=_mapping_of, parse_constant=_refuse)
        _check_depth(data, 0)
    except (_NotPlain, ValueError, RecursionError):
        return None
    return Document(source, data, LaterSpot(lambda: _scanned(source.text)[1]), nulls="null" in source.text)


_PERHAPS_ODD = re.compile(rf"\\u|[-+.0-9eE]{{{MAX_DIGITS + 1}}}")
"""Half a surrogate pair, or a number that is too long: the scanner looks at these more closely than ``json`` does."""


def _mapping_of(pairs: list[tuple[str, Plain]]) -> dict[str, Plain]:
    entries = dict(pairs)
    if len(entries) != len(pairs):
        raise _NotPlain
    return entries


def _refuse(_: str) -> Plain:
    """Of NaN and Infinity, which are no JSON."""
    raise _NotPlain


def _check_depth(data: Plain, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise _NotPlain
    for item in data.values() if isinstance(data, dict) else data if isinstance(data, list) else ():
        if isinstance(item, dict | list):
            _check_depth(item, depth + 1)
        elif depth == MAX_DEPTH:
            raise _NotPlain


def _scanned(text: str) -> tuple[Plain, Spot]:
    """The value with its places.  Raises _NotPlain."""
    scanner = _Scanner(text)
    found = scanner.value(scanner.skip(0), 0, None)
    if scanner.skip(scanner.end) != len(text):
        raise _NotPlain
    return found


class _Scanner:
    """``end`` is where the value that was read last ends."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._starts = [0, *(match.end() for match in re.finditer("\n", text))]
        self.end = 0

    def skip(self, at: int) -> int:
        match = _SPACE.match(self._text, at)
        return match.end() if match is not None else at

    def _mark(self, at: int) -> Mark:
        line = bisect_right(self._starts, at) - 1
        return Mark(line, at - self._starts[line])

    def value(self, at: int, depth: int, key: tuple[Mark, Mark] | None) -> tuple[Plain, Spot]:
        if depth > MAX_DEPTH:
            raise _NotPlain
        first = self._text[at : at + 1]
        if first == "{":
            return self._mapping(at, depth, key)
        if first == "[":
            return self._sequence(at, depth, key)
        data: Plain
        if first == '"':
            data = self._string(at)
        elif (word := _WORD.match(self._text, at)) is not None:
            data, self.end = _WORDS[word[0]], word.end()
        elif (number := _NUMBER.match(self._text, at)) is not None:
            if number.end() - at > MAX_DIGITS:
                raise _NotPlain
            data = float(number[0]) if number[1] or number[2] else int(number[0])
            self.end = number.end()
        else:
            raise _NotPlain
        return data, Spot(self._mark(at), self._mark(self.end), key)

    def _string(self, at: int) -> str:
        match = _STRING.match(self._text, at)
        if match is None:
            raise _NotPlain
        self.end = match.end()
        token = match[0]
        if "\\" not in token:
            return token[1:-1]
        try:
            text = str(json.loads(token))
            text.encode()  # half a surrogate pair is no text
        except (ValueError, UnicodeEncodeError):
            raise _NotPlain from None
        return text

    def _sequence(self, at: int, depth: int, key: tuple[Mark, Mark] | None) -> tuple[Plain, Spot]:
        items: list[Plain] = []
        spots: list[Spot] = []
        cursor = self.skip(at + 1)
        while self._text[cursor : cursor + 1] != "]":
            if items:
                cursor = self._expect(cursor, ",")
            data, spot = self.value(cursor, depth + 1, None)
            items.append(data)
            spots.append(spot)
            cursor = self.skip(self.end)
        self.end = cursor + 1
        return items, Spot(self._mark(at), self._mark(self.end), key, spots)

    def _mapping(self, at: int, depth: int, key: tuple[Mark, Mark] | None) -> tuple[Plain, Spot]:
        entries: dict[str, Plain] = {}
        spots: dict[str, Spot] = {}
        cursor = self.skip(at + 1)
        while self._text[cursor : cursor + 1] != "}":
            if entries:
                cursor = self._expect(cursor, ",")
            name = self._string(cursor)
            if name in entries:
                raise _NotPlain
            marks = (self._mark(cursor), self._mark(self.end))
            entries[name], spots[name] = self.value(self._expect(self.skip(self.end), ":"), depth + 1, marks)
            cursor = self.skip(self.end)
        self.end = cursor + 1
        return entries, Spot(self._mark(at), self._mark(self.end), key, spots)

    def _expect(self, at: int, character: str) -> int:
        """Past ``character`` and the space behind it."""
        if self._text[at : at + 1] != character:
            raise _NotPlain
        return self.skip(at + 1)
