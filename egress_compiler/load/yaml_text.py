"""Strict YAML with positions, from the events of libyaml's parser.

What YAML offers beyond plain data is refused with the place and the plain spelling: tags, merge keys,
duplicate keys, large alias expansions, deep nesting.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import yaml

from egress_compiler.diagnostics import Collector, Related, quoted
from egress_compiler.document import Document, Path, Place, Plain
from egress_compiler.source import Position, SourceFile

MAX_DEPTH = 64
MAX_ALIASED_VALUES = 1_000
"""How many values the aliases of one document may add: enough for a shared label block, not for a bomb."""

_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)\Z")
_ODD_INT = re.compile(r"[-+]?(0[0-9_]+|0o[0-7]+|0x[0-9a-fA-F_]+|0b[01_]+|[1-9][0-9]*_[0-9_]*)\Z")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z|[-+]?\.(inf|Inf|INF)\Z|\.(nan|NaN|NAN)\Z")
_TRUE = frozenset({"true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON"})
_FALSE = frozenset({"false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF"})
_NULL = frozenset({"", "~", "null", "Null", "NULL"})

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def parse_yaml(source: SourceFile, found: Collector) -> tuple[Document, ...]:
    """The documents of a file, empty ones left out; each problem goes to ``found``.

    After a syntax error the documents before it are returned.
    """
    documents: list[Document] = []
    builder = _Builder(source, found)
    try:
        events = iter(yaml.parse(source.text, Loader=_Loader))
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                document = builder.document(events)
                if document is not None:
                    documents.append(document)
    except yaml.MarkedYAMLError as problem:
        mark = problem.problem_mark or problem.context_mark
        where = Position(source, mark.line + 1, mark.column + 1) if mark else None
        message = f"this is not YAML: {problem.problem or 'cannot be parsed'}"
        found.error("yaml-syntax", f"{message} {problem.context or ''}".strip(), where)
    except yaml.reader.ReaderError as problem:
        before = source.text[: problem.position]
        where = Position(source, before.count("\n") + 1, len(before) - before.rfind("\n"))
        found.error("yaml-character", "a control character that YAML does not allow", where)
    except _Refused:
        pass
    return tuple(documents)


class _Refused(Exception):
    """The rest of the file cannot be read; the reason was reported."""


class _Builder:
    """Turns events into data and places; one per file, state per document."""

    def __init__(self, source: SourceFile, found: Collector) -> None:
        self._source = source
        self._found = found
        self._places: dict[Path, Place] = {}
        self._anchors: dict[str, tuple[Plain, int]] = {}
        self._aliased = 0
        self._count = 0

    def document(self, events: Iterator[yaml.Event]) -> Document | None:
        self._places, self._anchors, self._aliased, self._count = {}, {}, 0, 0
        first = next(events)
        data = self._value(first, events, (), None)
        if data is None:
            return None
        return Document(self._source, data, self._places)

    def _position(self, event: yaml.Event) -> Position:
        start, end = event.start_mark, event.end_mark
        if start is None or end is None:
            return Position(self._source, 1, 1)
        length = end.column - start.column if end.line == start.line else 1
        return Position(self._source, start.line + 1, start.column + 1, max(1, length))

    def _value(self, event: yaml.Event, events: Iterator[yaml.Event], path: Path, key: Position | None) -> Plain:
        position = self._position(event)
        self._places[path] = Place(position, key)
        self._count += 1
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, position)
        before = self._count
        self._check_tag(event, position)
        if len(path) > MAX_DEPTH:
            self._found.error("yaml-depth", f"nested deeper than {MAX_DEPTH} levels", position)
            raise _Refused
        if isinstance(event, yaml.ScalarEvent):
            data: Plain = self._scalar(event, position)
        elif isinstance(event, yaml.SequenceStartEvent):
            data = self._sequence(events, path)
        else:
            data = self._mapping(events, path)
        anchor = getattr(event, "anchor", None)
        if anchor is not None:
            self._anchors[anchor] = (data, self._count - before + 1)
        return data

    def _alias(self, event: yaml.AliasEvent, position: Position) -> Plain:
        name = event.anchor or ""
        if name not in self._anchors:
            self._found.error("yaml-alias", f"the alias {quoted('*' + name)} has no anchor before it", position)
            return None
        data, weight = self._anchors[name]
        self._aliased += weight
        self._count += weight
        if self._aliased > MAX_ALIASED_VALUES:
            self._found.error(
                "yaml-alias",
                f"aliases expand to more than {MAX_ALIASED_VALUES} values",
                position,
                hint="write them out",
            )
            raise _Refused
        return data

    def _check_tag(self, event: yaml.Event, position: Position) -> None:
        tag = getattr(event, "tag", None)
        if tag is not None and tag != "!":
            self._found.error("yaml-tag", f"the tag {quoted(tag)} has no meaning here", position, hint="leave it out")

    def _sequence(self, events: Iterator[yaml.Event], path: Path) -> Plain:
        items: list[Plain] = []
        while not isinstance(event := next(events), yaml.SequenceEndEvent):
            items.append(self._value(event, events, (*path, len(items)), None))
        return items

    def _mapping(self, events: Iterator[yaml.Event], path: Path) -> Plain:
        entries: dict[str, Plain] = {}
        keys: dict[str, Position] = {}
        while not isinstance(event := next(events), yaml.MappingEndEvent):
            where = self._position(event)
            if not isinstance(event, yaml.ScalarEvent):
                self._found.error("yaml-key", "a key must be a plain string", where)
                raise _Refused
            name = event.value
            if name == "<<" and not event.style:
                self._found.error("yaml-merge", "merge keys have no meaning here", where, hint="write the fields out")
            if name in keys:
                first = (Related("first defined here", keys[name]),)
                self._found.error("duplicate-key", f"the key {quoted(name)} stands twice", where, related=first)
            keys.setdefault(name, where)
            entries[name] = self._value(next(events), events, (*path, name), where)
        return entries

    def _scalar(self, event: yaml.ScalarEvent, position: Position) -> Plain:
        text: str = event.value
        if event.style or event.tag == "!":
            return text
        if text in _NULL:
            return None
        if text in _TRUE:
            return True
        if text in _FALSE:
            return False
        if _INT.match(text) and len(text) <= 40:
            return int(text)
        if _ODD_INT.match(text):
            self._found.error(
                "yaml-number",
                f"{quoted(text)} reads as different numbers in different YAML versions",
                position,
                hint=f'write a plain decimal number, or "{text}" in quotes where text is meant',
            )
            return 0
        if _FLOAT.match(text):
            return float(text)
        return text
