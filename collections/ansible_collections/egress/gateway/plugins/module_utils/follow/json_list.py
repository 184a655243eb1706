# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""A list as an API server answers it, item by item: no more than one of them is in memory as a whole."""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable, Iterator
from typing import Any

from ansible_collections.egress.gateway.plugins.module_utils.follow.errors import Malformed, Unreachable

_ITEM_CHARACTERS = 4 << 20
"""The greatest item; etcd takes objects of 1.5 MiB."""
_READ_BYTES = 1 << 16
_SPACE = " \t\r\n"


class ListReader:
    """``items`` first, to the end; then the rest of the object is known."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        """``read`` gives at most so many bytes, and none at the end."""
        self.fields: dict[str, Any] = {}
        """All keys but items."""
        self.has_items = False
        self._read = read
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._json = json.JSONDecoder()
        self._text = ""
        self._at = 0
        self._ended = False

    def items(self) -> Iterator[Any]:
        """Raises Malformed, and Unreachable where there is no end."""
        self._expect("{")
        if self._next() == "}":
            self._at += 1
        else:
            yield from self._members()
        while not self._ended:
            self._more()
        if self._text[self._at :].strip(_SPACE):
            raise Malformed("something follows the list")

    def _members(self) -> Iterator[Any]:
        while True:
            self._next()
            key = self._value()
            self._expect(":")
            if key == "items" and self._next() == "[":
                self.has_items = True
                yield from self._array()
            elif isinstance(key, str):
                self._next()
                self.fields[key] = self._value()
            else:
                raise Malformed("a key of the list is no text")
            if self._expect(",}") == "}":
                return

    def _array(self) -> Iterator[Any]:
        self._expect("[")
        if self._next() == "]":
            self._at += 1
            return
        while True:
            self._next()
            yield self._value()
            if self._expect(",]") == "]":
                return

    def _next(self) -> str:
        """The character that comes next, blanks left out; it is not consumed."""
        while True:
            while self._at < len(self._text):
                if self._text[self._at] not in _SPACE:
                    return self._text[self._at]
                self._at += 1
            if not self._more():
                raise Unreachable("the list breaks off")

    def _expect(self, characters: str) -> str:
        found = self._next()
        if found not in characters:
            raise Malformed("the list is no JSON: %r where one of %r should be" % (found, characters))
        self._at += 1
        return found

    def _value(self) -> Any:
        wanted = _READ_BYTES
        while True:
            try:
                value, end = self._json.raw_decode(self._text, self._at)
                if end < len(self._text) or not self._more():
                    self._at = end
                    return value
                continue  # a number may go on
            except RecursionError as error:
                raise Malformed("the list is nested too deeply") from error
            except ValueError as error:
                if len(self._text) - self._at > _ITEM_CHARACTERS:
                    raise Malformed("an item has more than %d characters" % _ITEM_CHARACTERS) from error
                if not self._more(wanted):
                    raise Malformed("the list is no JSON, or breaks off: %s" % error) from error
                wanted *= 2  # so that a long item is not tried too often

    def _more(self, wanted: int = _READ_BYTES) -> bool:
        """Whether there is any."""
        parts: list[str] = []
        while wanted > 0 and not self._ended:
            data = self._read(min(wanted, _READ_BYTES))
            wanted -= len(data)
            self._ended = not data
            try:
                parts.append(self._decoder.decode(data, final=self._ended))
            except UnicodeDecodeError as error:
                raise Malformed("the list is no UTF-8") from error
        self._text, self._at = self._text[self._at :] + "".join(parts), 0
        return bool(parts) and any(parts)
