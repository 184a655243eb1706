"""Strict YAML with positions, from the events of libyaml's parser.

What YAML offers beyond plain data is refused with the place and the plain spelling: tags, merge keys,
duplicate keys, large alias expansions, deep nesting.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property, partial
from typing import Any, NoReturn

import yaml

from egress_compiler.diagnostics import Collector, Related, quoted
from egress_compiler.document import Document, LaterSpot, Path, Place, Plain, Spot
from egress_compiler.load.json_text import parse_json
from egress_compiler.load.yaml_lines import parse_lines
from egress_compiler.load.yaml_scalars import FLOAT, INT, MAYBE_NUMBER, ODD_INT, WORDS
from egress_compiler.source import Position, SourceFile

MAX_DEPTH = 64
MAX_ALIASED_VALUES = 1_000
"""How many values the aliases of one document may add: enough for a shared label block, not for a bomb."""
MAX_VALUES = 500_000
"""Of one file, a document counting as ten: some 5,000 policies as kubectl exports them; so many take some seconds."""

_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]")
"""Control characters, line ends that editors do not count, byte order marks inside the text."""

_ODD_INDENT = re.compile("[ \t]*[\u00a0\u1680\u2000-\u200b\u202f\u205f\u3000]")
_CONFLICT = re.compile(r"^<{7} .*$", re.MULTILINE)

# Looked up once: a large input has half a million events.
_AliasEvent, _ScalarEvent = yaml.AliasEvent, yaml.ScalarEvent
_SequenceStartEvent, _SequenceEndEvent, _MappingEndEvent = (
    yaml.SequenceStartEvent,
    yaml.SequenceEndEvent,
    yaml.MappingEndEvent,
)

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def parse_yaml(source: SourceFile, found: Collector) -> tuple[Document, ...]:
    """The documents of a file, empty ones left out; each problem goes to ``found``.

    JSON is read as such, with its own escapes.  After a syntax error the documents before it are returned.
    """
    odd = _FORBIDDEN.search(source.text)
    if odd is not None:
        _refuse_character(source, odd, found)
        return ()
    if source.text.lstrip()[:1] in ("{", "["):
        document = parse_json(source)
        if document is not None:
            return (document,)
    plain = parse_lines(source.text)
    if plain is not None:
        spots = _LaterSpots(source)
        return tuple(
            Document(source, one.data, LaterSpot(partial(spots.of, number)), frozenset(), one.nulls)
            for number, one in enumerate(plain)
        )
    return _parse_events(source, found)


class _LaterSpots:
    """The places of a file's documents, looked for when somebody asks for one."""

    def __init__(self, source: SourceFile) -> None:
        self._source = source

    def of(self, number: int) -> Spot:
        return self._documents[number].spot

    @cached_property
    def _documents(self) -> tuple[Document, ...]:
        return _parse_events(self._source, Collector())


def _parse_events(source: SourceFile, found: Collector) -> tuple[Document, ...]:
    documents: list[Document] = []
    builder = _Builder(source, found)
    try:
        events = iter(_Loader(source.text).get_event, None)
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                document = builder.document(events)
                if document is not None:
                    documents.append(document)
    except yaml.YAMLError as problem:
        found.missing("documents")
        if not builder.odd_space:
            _report_syntax(source, problem, found)
    except _Refused:
        pass
    return tuple(documents)


def _refuse_character(source: SourceFile, odd: re.Match[str], found: Collector) -> None:
    before, character = source.text[: odd.start()], odd[0]
    where = Position(source, before.count("\n") + 1, len(before) - before.rfind("\n"))
    hint = {
        "\x00": "is it a UTF-16 or a binary file? Save it as UTF-8",
        "\ufeff": "it marks the start of a file; were two files joined? Delete it",
    }.get(character, "delete it, or write it as an escape in double quotes")
    name = "a byte order mark" if character == "\ufeff" else f"the character U+{ord(character):04X}"
    found.error("yaml-character", f"{name} is not allowed here", where, hint=hint)


_SYNTAX_HINTS = {
    "found character that cannot start any token": "put values that start with @, ` or % in quotes",
    "mapping values are not allowed in this context": "a colon too many, or wrong indentation; put values that have "
    "': ' in them in quotes",
    "could not find expected ':'": "a key lacks its colon, or the line before it lacks its closing quote or bracket",
    "did not find expected key": "check the indentation of this line and of the one before it",
    "did not find expected '-' indicator": "check the indentation: every item of a list starts with '-' in one column",
    "did not find expected <document start>": "separate two documents with a line '---'",
    "did not find expected ',' or ']'": "the list in brackets is not closed, or lacks a comma",
    "found unexpected ':'": "put values with ':' in quotes, such as IPv6 addresses in brackets",
    "did not find expected alphabetic or numeric character": "put values that start with * or & in quotes",
    "did not find expected node content": "a bracket or brace is not closed, or a value is missing",
    "did not find expected ',' or '}'": "the mapping in braces is not closed, or lacks a comma",
}


_SYNTAX_CONTEXTS = {
    "while parsing a flow sequence": "the list in brackets begins here",
    "while parsing a flow mapping": "the mapping in braces begins here",
    "while parsing a block collection": "the list begins here",
    "while parsing a block mapping": "the mapping begins here",
    "while scanning a simple key": "the key begins here",
    "while scanning a quoted scalar": "the quote opens here",
    "while scanning a block scalar": "the text begins here",
}


def _report_syntax(source: SourceFile, problem: yaml.YAMLError, found: Collector) -> None:
    language = "JSON" if source.text.lstrip()[:1] in ("{", "[") else "YAML"
    if not isinstance(problem, yaml.MarkedYAMLError):
        found.error("yaml-syntax", f"this is not {language}", Position(source, 1, 1))
        return
    conflict = _CONFLICT.search(source.text)
    if conflict is not None:
        where = Position(source, source.text.count("\n", 0, conflict.start()) + 1, 1, len(conflict[0]))
        hint = "resolve it; for a lock file take either side and compile again"
        found.error("merge-conflict", "an unresolved merge conflict", where, hint=hint)
        return
    what = str(problem.problem or "cannot be parsed")
    mark = problem.problem_mark or problem.context_mark
    if what == "found unexpected end of stream" and problem.context_mark:
        mark, what = problem.context_mark, "the quote that opens here is not closed"
    where = Position(source, mark.line + 1, mark.column + 1) if mark else Position(source, 1, 1)
    related: tuple[Related, ...] = ()
    if problem.context and problem.context_mark and problem.context_mark.line != where.line - 1:
        start = Position(source, problem.context_mark.line + 1, problem.context_mark.column + 1)
        context = str(problem.context)
        related = (Related(_SYNTAX_CONTEXTS.get(context, context), start),)
    hint = _SYNTAX_HINTS.get(what, "")
    if language == "JSON" and not "\n".join(source.text.split("\n")[where.line - 1 :])[where.column - 1 :].strip():
        what, hint = "it ends too early", "the file is cut off: take back what was there"
    if language == "JSON" and "<document start>" in what:
        what, hint = "something stands after its end", "a JSON file holds one value; several objects go into a List"
    message = f"this is not {language}: {what}"
    if "\t" in source.line(where.line)[: where.column]:
        hint = "indent with spaces, not with tabs"
    if any(_ODD_INDENT.match(source.line(number)) for number in (where.line - 1, where.line)):
        hint = "indent with spaces: there are characters that only look like spaces"
    found.error("yaml-syntax", message, where, hint=hint, related=related)


_BEGINS_AN_OBJECT = frozenset({"apiVersion", "kind", "metadata"})


class _Refused(Exception):
    """The rest of the file cannot be read; the reason was reported."""


class _Builder:
    """Turns events into data and places; one per file, state per document."""

    def __init__(self, source: SourceFile, found: Collector) -> None:
        self._source = source
        self._found = found
        self._anchors: dict[str, tuple[Plain, Spot, int]] = {}
        self._faults: set[Path] = set()
        self._path: list[str | int] = []
        self._aliased = 0
        self._nulls = False
        self._count = 0
        self.odd_space = False
        """Whether a key was refused for its indentation, which breaks what comes after it."""

    def document(self, events: Iterator[Any]) -> Document | None:
        self._anchors, self._faults, self._aliased, self._nulls = {}, set(), 0, False
        self._count += 9
        data, spot = self._value(next(events), events, None)
        if data is None and not self._faults:
            return None
        return Document(self._source, data, spot, frozenset(self._faults), self._nulls)

    def _position(self, event: Any) -> Position:
        start, end = event.start_mark, event.end_mark
        length = end.column - start.column if end.line == start.line else 1
        return Position(self._source, start.line + 1, start.column + 1, max(1, length))

    def _refuse(self, code: str, message: str, event: Any, hint: str = "") -> None:
        """Reports the value at hand; what follows from it is not reported again."""
        self._found.error(code, message, self._position(event), hint=hint)
        self._faults.add(tuple(self._path))

    def _stop(self, code: str, message: str, event: Any, hint: str = "") -> NoReturn:
        """The same where no sense can be made of the rest of the file."""
        self._refuse(code, message, event, hint)
        self._found.missing("documents")
        raise _Refused

    def _value(self, event: Any, events: Iterator[Any], key: tuple[Place, Place] | None) -> tuple[Plain, Spot]:
        before = self._count = self._count + 1
        if before > MAX_VALUES:
            self._stop("too-large", f"the file has more than {MAX_VALUES:,} values", event, "split it")
        start, end = event.start_mark, event.end_mark
        kind = type(event)
        if kind is _AliasEvent:
            return self._alias(event, start, end, key)
        if event.tag is not None and event.tag != "!":
            self._refuse_tag(event)
        if kind is _ScalarEvent:
            data, spot = self._scalar(event), Spot(start, end, key)
        elif len(self._path) >= MAX_DEPTH:
            self._stop("yaml-depth", f"nested deeper than {MAX_DEPTH} levels", event, "no object of Kubernetes is")
        elif kind is _SequenceStartEvent:
            data, spot = self._sequence(events, start, key)
        else:
            data, spot = self._mapping(events, start, key)
        if event.anchor is not None:
            self._anchors[event.anchor] = (data, spot, self._count - before + 1)
        return data, spot

    def _refuse_tag(self, event: Any) -> None:
        written = event.tag.replace("tag:yaml.org,2002:", "!!")
        self._refuse("yaml-tag", f"the tag {quoted(written)} has no meaning here", event, "leave it out")

    def _alias(self, event: Any, start: Place, end: Place, key: tuple[Place, Place] | None) -> tuple[Plain, Spot]:
        if event.anchor not in self._anchors:
            self._refuse("yaml-alias", f"the alias {quoted('*' + event.anchor)} has no anchor before it", event)
            self._nulls = True
            return None, Spot(start, end, key)
        data, anchored, weight = self._anchors[event.anchor]
        self._aliased += weight
        if self._aliased > MAX_ALIASED_VALUES:
            message = f"the aliases of this document expand to more than {MAX_ALIASED_VALUES:,} values"
            self._stop("yaml-alias", message, event, "write the values out")
        self._count += weight
        return data, Spot(start, end, key, anchored.inside)

    def _sequence(self, events: Iterator[Any], start: Place, key: tuple[Place, Place] | None) -> tuple[Plain, Spot]:
        items: list[Plain] = []
        spots: list[Spot] = []
        path = self._path
        path.append(0)
        while type(event := next(events)) is not _SequenceEndEvent:
            path[-1] = len(items)
            data, spot = self._value(event, events, None)
            items.append(data)
            spots.append(spot)
        path.pop()
        end: Any = event.end_mark
        return items, Spot(start, end, key, spots)

    def _mapping(self, events: Iterator[Any], start: Place, key: tuple[Place, Place] | None) -> tuple[Plain, Spot]:
        entries: dict[str, Plain] = {}
        spots: dict[str, Spot] = {}
        path = self._path
        path.append("")
        while type(event := next(events)) is not _MappingEndEvent:
            name = self._key(event)
            marks = (event.start_mark, event.end_mark)
            path[-1] = name
            if name in entries and () not in self._faults and not _merges(event):
                self._refuse_duplicate(name, marks, spots[name].key)
            data, spot = self._value(next(events), events, marks)
            if name == "<<" and _merges(event):
                # What it would have merged in is missing now: nothing more is said about this mapping.
                self._found.error(
                    "yaml-merge", "merge keys are not supported", self._at(marks), hint="write the fields out"
                )
                self._faults.add(tuple(path[:-1]))
                continue
            entries[name] = data
            spots[name] = spot
        path.pop()
        end: Any = event.end_mark
        return entries, Spot(start, end, key, spots)

    def _refuse_duplicate(self, name: str, marks: tuple[Place, Place], before: tuple[Place, Place] | None) -> None:
        second_object = len(self._path) == 1 and name in _BEGINS_AN_OBJECT
        # Of two objects that were not separated every key stands twice; saying it once is enough.
        self._faults.add(() if second_object else tuple(self._path))
        hint = "if a second object begins here, put a line '---' before it" if second_object else "keep one of them"
        message = f"the key {quoted(name)} stands twice in one mapping"
        first = Related("first defined here", self._at(before))
        self._found.error("duplicate-key", message, self._at(marks), hint=hint, related=(first,))
        if second_object:
            self._found.missing("documents")

    def _key(self, event: Any) -> str:
        if type(event) is not _ScalarEvent:
            template = "{{" in self._source.line(event.start_mark.line + 1)
            hint = "does a value start with {, [, * or &? Put it in quotes"
            hint = "is this a template, of Helm for example? Render it first" if template else hint
            self._stop("yaml-key", "a key must be a plain string", event, hint)
        name: str = event.value
        if event.tag is None and (event.style or not (name in WORDS or name[0].isspace())):
            return name
        if name[:1].isspace() and not event.style:
            message = "this key begins with a character that only looks like a space"
            self._found.error("yaml-key", message, self._position(event), hint="indent with spaces")
            self.odd_space = True
            self._faults.add(tuple(self._path[:-1]))
        if name in WORDS and not event.style:
            hint = f'put it in quotes: "{name}"' if name else "write the key before the colon"
            self._found.error(
                "yaml-key", f"the key {quoted(name)} is read as {_read_as(name)}", self._position(event), hint=hint
            )
            self._faults.add((*self._path[:-1], name))
        if event.tag is not None and event.tag != "!":
            self._refuse_tag(event)
        return name

    def _at(self, marks: tuple[Place, Place] | None) -> Position:
        if marks is None:
            return Position(self._source, 1, 1)
        start, end = marks
        length = end.column - start.column if end.line == start.line else 1
        return Position(self._source, start.line + 1, start.column + 1, max(1, length))

    def _scalar(self, event: Any) -> Plain:
        text: str = event.value
        if event.style or event.tag == "!":
            return text
        if text in WORDS:
            word = WORDS[text]
            self._nulls = self._nulls or word is None
            return word
        if text[0] not in MAYBE_NUMBER:
            return text
        if INT.match(text):
            return int(text)
        if ODD_INT.match(text):
            self._refuse(
                "yaml-number",
                f"{quoted(text)} reads as different numbers in different YAML versions",
                event,
                f'write a plain decimal number, or "{text}" in quotes where text is meant',
            )
            return text
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan")) if FLOAT.match(text) else text


def _merges(event: Any) -> bool:
    """Whether a key is YAML's own for merging another mapping in."""
    return bool(event.value == "<<" and not event.style)


def _read_as(word: str) -> str:
    return {True: "true", False: "false"}.get(bool(WORDS[word]), "") if WORDS[word] is not None else "null"
