# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""The part of YAML that kubeconfigs are written in, JSON included; whatever is beyond it is refused with its line.

Block mappings and sequences, flow collections, plain scalars on one line, quoted scalars, literal and folded blocks,
comments. No anchors, aliases, tags, merge keys, complex keys, scalars over several lines, second documents. Nodes
have no PyYAML.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Union

from ansible_collections.egress.gateway.plugins.module_utils.follow.errors import KubeconfigError

Value = Union["dict[str, Node]", "list[Node]", str, None]

_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_DEPTH = 32
"""Levels of nesting; kubeconfigs have six."""
_KEY = re.compile(
    r"""(?:"(?:[^"\\]|\\.)*"|'(?:[^']|'')*'|[^\s"'\[\]{},#&*!|>%@`?:-](?:[^:#]|:(?! |$)|(?<=\S)#)*?)\s*:(?= |$)"""
)
_BLOCK = re.compile(r"([|>])([+-]?)\s*(?:#.*)?$")
_REFUSED = {
    "&": "an anchor",
    "*": "an alias",
    "!": "a tag",
    "?": "a complex key",
    "%": "a directive",
    "@": "'@'",
    "`": "'`'",
}
_ESCAPES = {
    "0": "\0", "a": "\a", "b": "\b", "t": "\t", "n": "\n", "v": "\v", "f": "\f", "r": "\r", "e": "\x1b",
    " ": " ", '"': '"', "/": "/", "\\": "\\", "N": "\x85", "L": "\u2028", "P": "\u2029", "_": "\xa0",
}  # fmt: skip
_ODD = re.compile("[^\t\n\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Control characters, and what some take for the end of a line."""
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)")
_BLANK = re.compile(r"(?:[ \t\n]|(?<=[ \t\n])#[^\n]*)*")
_FLOW_PLAIN = re.compile(r"[^\s,\[\]{}:#&*!|>%@`?](?:[^\n,\[\]{}:#]|:(?![ \n,\[\]{}])|(?<=\S)#)*")
_QUOTED = {'"': re.compile(r'"((?:[^"\\\n]|\\[^\n])*)"'), "'": re.compile(r"'((?:[^'\n]|'')*)'")}


@dataclass(frozen=True)
class Node:
    """A value and the line, from 1, on which it begins. Scalars are text, whatever YAML would make of them."""

    value: Value
    line: int
    quoted: bool = False


def parse(text: str, name: str) -> Node:
    """The one document in ``text``. Raises KubeconfigError with ``name`` and the line."""
    return _Reader(text, name).document()


class _Reader:
    def __init__(self, text: str, name: str) -> None:
        self._name = name
        text = text.lstrip("\ufeff").replace("\r\n", "\n")
        self._lines = (text[:-1] if text.endswith("\n") else text).split("\n")
        last = max((at for at, line in enumerate(self._lines) if line.strip(" ")), default=0)
        if self._lines[last].rstrip(" ") == "...":
            del self._lines[last:]
        self._at = 0
        """The line that is read next, from 0."""

    def document(self) -> Node:
        for number, line in enumerate(self._lines, 1):
            odd = _ODD.search(line)
            if odd:
                raise self._error("the character U+%04X is not read" % ord(odd.group()), number)
        if self._skip() and re.fullmatch(r"---(\s+#.*)?\s*", self._lines[self._at]):
            self._at += 1
        if not self._skip():
            return Node(None, 1)
        node = self._block(self._indent(), 0)
        if self._skip():
            what = "a second document" if self._lines[self._at].startswith("---") else "this does not belong here"
            raise self._error(what)
        return node

    def _error(self, what: str, line: int | None = None) -> KubeconfigError:
        return KubeconfigError("%s:%d: %s" % (self._name, self._at + 1 if line is None else line, what))

    def _skip(self) -> bool:
        """Over empty lines and comments; whether there is another line."""
        while self._at < len(self._lines):
            bare = self._lines[self._at].strip(" ")
            if bare and not bare.startswith("#"):
                if bare.startswith("\t"):
                    raise self._error("a tab; YAML is indented with spaces")
                return True
            self._at += 1
        return False

    def _indent(self) -> int:
        line = self._lines[self._at]
        return len(line) - len(line.lstrip(" "))

    def _block(self, indent: int, depth: int) -> Node:
        """The collection or scalar that begins on this line, at this indentation."""
        if depth > _DEPTH:
            raise self._error("nested too deeply")
        rest = self._lines[self._at][indent:]
        if rest == "-" or rest.startswith("- "):
            return self._sequence(indent, depth)
        if _KEY.match(rest):
            return self._mapping(indent, depth)
        return self._inline(indent, depth, indent - 1)

    def _sequence(self, indent: int, depth: int) -> Node:
        start, items = self._at + 1, []
        while self._skip() and self._indent() == indent:
            rest = self._lines[self._at][indent:]
            if not (rest == "-" or rest.startswith("- ")):
                break
            inner = rest[1:].strip(" ")
            if not inner or inner.startswith("#"):
                self._at += 1
                items.append(self._below(indent, depth, False))
                continue
            column = indent + len(rest) - len(rest[1:].lstrip(" "))
            if inner == "-" or inner.startswith("- ") or _KEY.match(inner):
                # "- key: value" is a mapping whose first line begins after the hyphen.
                self._lines[self._at] = " " * column + self._lines[self._at][column:]
                items.append(self._block(column, depth + 1))
            else:
                items.append(self._inline(column, depth, indent))
        self._no_deeper(indent)
        return Node(items, start)

    def _mapping(self, indent: int, depth: int) -> Node:
        start = self._at + 1
        found: dict[str, Node] = {}
        while self._skip() and self._indent() == indent:
            rest = self._lines[self._at][indent:]
            match = _KEY.match(rest)
            if match is None:
                raise self._error(self._why_no_key(rest))
            line = self._at + 1
            key = self._key(match.group()[:-1].rstrip(" "))
            if key in found:
                raise self._error("%r is there twice" % key)
            column = indent + match.end()
            value = self._lines[self._at][column:].strip(" ")
            if not value or value.startswith("#"):
                self._at += 1
                found[key] = self._below(indent, depth, True, line)
            else:
                found[key] = self._inline(column, depth, indent)
        self._no_deeper(indent)
        return Node(found, start)

    def _no_deeper(self, indent: int) -> None:
        if self._skip() and self._indent() > indent:
            raise self._error("this is indented too far, or goes on from the line above, which is not read")

    def _why_no_key(self, rest: str) -> str:
        if rest[0] in _REFUSED:
            return "%s is not read" % _REFUSED[rest[0]]
        return "a key and a colon should be here"

    def _key(self, text: str) -> str:
        if text[0] in "'\"":
            return str(self._quoted(text, 0, self._at + 1)[0].value)
        if text == "<<":
            raise self._error("a merge key is not read")
        return text

    def _below(self, indent: int, depth: int, sequence_here: bool, line: int | None = None) -> Node:
        """The value that begins on a later line: further in, or a sequence beneath its key."""
        line = self._at if line is None else line
        if self._skip():
            deeper = self._indent()
            rest = self._lines[self._at][deeper:]
            if deeper > indent or (sequence_here and deeper == indent and (rest == "-" or rest.startswith("- "))):
                return self._block(deeper, depth + 1)
        return Node(None, line)

    def _inline(self, column: int, depth: int, indent: int) -> Node:
        """The value at or after a column, of the key or hyphen at ``indent``; reads to the end of a line."""
        text = self._lines[self._at]
        column += len(text[column:]) - len(text[column:].lstrip(" "))
        first, line = text[column], self._at + 1
        block = _BLOCK.match(text[column:])
        if block:
            return self._literal(block.group(1), block.group(2), indent, line)
        if first in "|>":
            raise self._error("an indentation indicator is not read")
        if first in _REFUSED:
            raise self._error("%s is not read" % _REFUSED[first])
        if first in "[{":
            whole = "\n".join(self._lines[self._at :])
            node, end = self._flow(whole, column, depth, line)
            self._at += whole.count("\n", 0, end)
            self._end_of_line(whole[end:].split("\n", 1)[0])
            return node
        if first in "'\"":
            node, end = self._quoted(text, column, line)
            self._end_of_line(text[end:])
            return node
        plain = re.split(r"\s#", text[column:], maxsplit=1)[0].rstrip()
        if ": " in plain or plain.endswith(":") or first in ",]}":
            raise self._error("%r needs quotes" % plain)
        self._at += 1
        return Node(None if plain in _NULLS else plain, line)

    def _end_of_line(self, rest: str) -> None:
        if rest.strip() and not re.match(r"\s+#", rest):
            raise self._error("%r is too much" % rest.strip()[:40])
        self._at += 1

    def _literal(self, style: str, chomp: str, indent: int, start: int) -> Node:
        """The lines below, further in than the key or hyphen at ``indent``."""
        lines: list[str] = []
        inner: int | None = None
        self._at += 1
        while self._at < len(self._lines):
            line = self._lines[self._at]
            if line.strip(" "):
                inner = self._indent() if inner is None else inner
                if self._indent() < inner or inner <= indent:
                    break
            lines.append(line[inner:] if inner is not None else "")
            self._at += 1
        text = "\n".join([*lines, ""]) if style == "|" else _folded(lines)
        body = text.rstrip("\n")
        return Node(text if chomp == "+" else body + ("\n" if body and not chomp else ""), start, quoted=True)

    def _flow(self, text: str, at: int, depth: int, line: int) -> tuple[Node, int]:
        """The flow value at an offset of ``text``, whose first line is ``line``, and the offset behind it."""
        if depth > _DEPTH:
            raise self._error("nested too deeply", line)
        at = self._blank(text, at, line)
        here = line + text.count("\n", 0, at)
        first = text[at]
        if first in "'\"":
            return self._quoted(text, at, here)
        if first not in "[{":
            return self._flow_plain(text, at, here)
        items: list[Node] = []
        found: dict[str, Node] = {}
        close = "]" if first == "[" else "}"
        at = self._blank(text, at + 1, line)
        while text[at] != close:
            node, at = self._flow(text, at, depth + 1, line)
            at = self._blank(text, at, line)
            if close == "}":
                key = node.value
                if not isinstance(key, str) or text[at] != ":":
                    raise self._error("a key and a colon should be here", node.line)
                if key in found:
                    raise self._error("%r is there twice" % key, node.line)
                found[key], at = self._flow(text, at + 1, depth + 1, line)
                at = self._blank(text, at, line)
            items.append(node)
            if text[at] == ",":
                at = self._blank(text, at + 1, line)
            elif text[at] != close:
                raise self._error("',' or '%s' should be here" % close, line + text.count("\n", 0, at))
        return Node(items if close == "]" else found, here), at + 1

    def _blank(self, text: str, at: int, line: int) -> int:
        """Behind blanks and comments; there is something."""
        match = _BLANK.match(text, at)  # nothing at all is a match too
        end = match.end() if match else at
        if end >= len(text):
            raise self._error("the file ends within brackets", line + text.count("\n"))
        return end

    def _flow_plain(self, text: str, at: int, line: int) -> tuple[Node, int]:
        match = _FLOW_PLAIN.match(text, at)
        if match is None:
            raise self._error("%r is not read here" % text[at], line)
        plain = match.group().rstrip()
        return Node(None if plain in _NULLS else plain, line), match.end()

    def _quoted(self, text: str, at: int, line: int) -> tuple[Node, int]:
        """The quoted scalar at an offset, and the offset behind it."""
        match = _QUOTED[text[at]].match(text, at)
        if match is None:
            raise self._error("the quote does not end on this line", line)
        body = match.group(1)
        value = self._unescaped(body, line) if text[at] == '"' else body.replace("''", "'")
        return Node(value, line, quoted=True), match.end()

    def _unescaped(self, body: str, line: int) -> str:
        def one(match: re.Match[str]) -> str:
            escape = match.group(1)
            if len(escape) > 1 and int(escape[1:], 16) <= 0x10FFFF:
                return chr(int(escape[1:], 16))
            if escape not in _ESCAPES:
                raise self._error("the escape \\%s is not read" % escape, line)
            return _ESCAPES[escape]

        # JSON writes what is beyond 16 bits as a pair.
        return _ESCAPE.sub(one, body).encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _folded(lines: list[str]) -> str:
    """Line ends as blanks, but for those before and after empty and further indented lines."""
    text = ""
    for index, line in enumerate(lines):
        before = lines[index - 1] if index else ""
        joins = bool(index and line and before and line[0] != " " and before[0] != " ")
        text += (" " if joins else "\n" if index and not (line and not before and index > 1) else "") + line
    return text + "\n"
