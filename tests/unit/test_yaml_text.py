"""Strict YAML and JSON with positions: what a text means, or the code and place of what is wrong with it."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egress_compiler.diagnostics import Collector
from egress_compiler.load import json_text
from egress_compiler.load.files import decode
from egress_compiler.load.json_text import parse_json
from egress_compiler.load.yaml_text import parse_yaml
from egress_compiler.source import SourceFile


def parsed(text: str) -> tuple[list[Any], list[str]]:
    """The documents' data, and each diagnostic as ``code@line:column``."""
    found = Collector()
    documents = parse_yaml(SourceFile("f", text), found)
    places = [f"{d.code}@{d.position.line}:{d.position.column}" if d.position else d.code for d in found.found]
    return [document.data for document in documents], places


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("", []),
        ("# only a comment\n", []),
        ("---\n---\n", []),
        ("a: 1\n---\nb: 2\n...\n", [{"a": 1}, {"b": 2}]),
        ("a: [x, z]\nb: {c: d}\n", [{"a": ["x", "z"], "b": {"c": "d"}}]),
        ("a: yes\nb: off\nc: y\nd: N\n", [{"a": True, "b": False, "c": True, "d": False}]),
        ("a: 'yes'\nb: \"1\"\nc: |\n  010\n", [{"a": "yes", "b": "1", "c": "010\n"}]),
        ("a: ~\nb:\nc: null\n", [{"a": None, "b": None, "c": None}]),
        ("a: -7\nb: +7\nc: 0\n", [{"a": -7, "b": 7, "c": 0}]),
        ("a: 1.5\nb: 1e3\nc: .5\nd: 1.\n", [{"a": 1.5, "b": 1000.0, "c": 0.5, "d": 1.0}]),
        ("a: 10.6.1.1\nb: 1.2.3\nc: ::1\nd: 12:30\ne: 2024-01-01\n",
         [{"a": "10.6.1.1", "b": "1.2.3", "c": "::1", "d": "12:30", "e": "2024-01-01"}]),
        ("a: &x [1]\nb: *x\n", [{"a": [1], "b": [1]}]),
        ("! a: 1\n", [{"a": 1}]),
        ("'on': 1\n", [{"on": 1}]),
        ("a: " + "9" * 41 + "\n", [{"a": 1e41}]),
        ('{"a": "\\ud83d\\ude00", "b": [1, 2.5, null], "c": {}}', [{"a": "😀", "b": [1, 2.5, None], "c": {}}]),
        ('{"' + "k" * 2000 + '":\t1}', [{"k" * 2000: 1}]),
        ("{a: 1, }", [{"a": 1}]),
        ("a: é\n", [{"a": "é"}]),
    ],
)  # fmt: skip
def test_what_a_text_means(text: str, data: list[Any]) -> None:
    assert parsed(text) == (data, [])


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("a: 1\na: 2\n", ["duplicate-key@2:1"]),
        ("a:\n  b: 1\n  c: 2\n  b: 3\n", ["duplicate-key@4:3"]),
        ('{"a": 1,\n "a": 2}', ["duplicate-key@2:2"]),
        ("a: !!str 1\n", ["yaml-tag@1:4"]),
        ("a: !secret x\n", ["yaml-tag@1:4"]),
        ("<<: {a: 1}\n", ["yaml-merge@1:1"]),
        ("a: *b\n", ["yaml-alias@1:4"]),
        ("a: 010\nb: 0x1f\nc: 1_000\nd: 0o7\ne: 0b1\n", [f"yaml-number@{line}:4" for line in range(1, 6)]),
        ("on: 1\n", ["yaml-key@1:1"]),
        ("~: 1\n", ["yaml-key@1:1"]),
        ("? [a]\n: 1\n", ["yaml-key@1:3"]),
        ("{{ x }}: 1\n", ["yaml-key@1:1"]),
        ("a: [\n", ["yaml-syntax@2:1"]),
        ("a: 'x\n\nb: 1\n", ["yaml-syntax@1:4"]),
        ("a: 1\n b: 2\n", ["yaml-syntax@2:3"]),
        ("a:\n\tb: 1\n", ["yaml-syntax@2:1"]),
        ("a: @x\n", ["yaml-syntax@1:4"]),
        ("a: b: c\n", ["yaml-syntax@1:5"]),
        ("%YAML 2.0\n---\na: 1\n", ["yaml-syntax@1:1"]),
        ("a: 1\n--- x\n--- [\n", ["yaml-syntax@4:1"]),
        ("<<<<<<< HEAD\na: 1\n=======\na: 2\n>>>>>>> x\n", ["merge-conflict@1:1"]),
        ("a: x\x07y\n", ["yaml-character@1:5"]),
        ("a: 1\nb: x\x00\n", ["yaml-character@2:5"]),
        ("a: x\u2028y\n", ["yaml-character@1:5"]),
        ("a: 1\n\ufeffb: 2\n", ["yaml-character@2:1"]),
        ("[" * 100 + "]" * 100, ["yaml-depth@1:65"]),
        ("- " * 100 + "x", ["yaml-depth@1:129"]),
        ('{"a": "\\ud800"}', ["yaml-syntax@1:10"]),
        ("a: &a [1]\n" + "b: &b [" + "*a," * 400 + "]\nc: [" + "*b," * 4 + "]\n", ["yaml-alias@3:5"]),
    ],
)  # fmt: skip
def test_what_is_wrong_and_where(text: str, places: list[str]) -> None:
    assert parsed(text)[1] == places


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"])
def test_line_ends_and_byte_order_marks_mean_nothing(end: str, start: bytes) -> None:
    found = Collector()
    source = decode("f", start + end.join(("a: 1", "b:", "  c: [x,", "    z]", "")).encode(), found)
    assert source is not None
    (document,) = parse_yaml(source, found)
    assert document.data == {"a": 1, "b": {"c": ["x", "z"]}}
    assert str(document.at("b", "c", 1)) == "f:4:5"
    assert str(document.key_at("b", "c")) == "f:3:3"


@pytest.mark.parametrize(
    "text",
    ["a:\n  b: [1, x]\n  c: 'y'\n", '{"a": {"b": [1, "x"],\n       "c": "y"}}', "a: {b: [1, x], c: y}\n"],
)
def test_places(text: str) -> None:
    (document,) = parse_yaml(SourceFile("f", text), Collector())
    lines = text.split("\n")
    for path, start in ((("a", "b", 1), ("x", '"x"')), (("a", "c"), ("'y'", '"y"', "y"))):
        where = document.at(*path)
        assert lines[where.line - 1][where.column - 1 : where.column - 1 + where.length] in start
    assert document.at("a", "nothing", 3) == document.at("a")
    part = document.part({"b": [1, "x"], "c": "y"}, "a")
    assert part.at("b", 0) == document.at("a", "b", 0)
    assert document.covers(part.at("c"))


def test_an_error_inside_an_alias_is_told_where_it_stands() -> None:
    (document,) = parse_yaml(SourceFile("f", "a: &x\n  b: 1\nc: *x\n"), Collector())
    assert str(document.at("c")) == "f:3:4"
    assert str(document.at("c", "b")) == "f:2:6"


@pytest.mark.parametrize(
    "text", ["{", '{"a" 1}', '{"a": 1,}', '{"a": 01}', '{"a": tru}', '["\\x"]', '["a\nb"]', "{} {}", '{"a": 1e}']
)
def test_what_is_no_json(text: str) -> None:
    assert parse_json(SourceFile("f", text)) is None


def test_faults_cover_what_is_above_and_below() -> None:
    (document,) = parse_yaml(SourceFile("f", "a:\n  b: 010\n  c: 1\n"), Collector())
    assert document.faulty("a", "b")
    assert document.faulty("a", "b", "x")
    assert document.faulty("a")
    assert not document.faulty("a", "c")


_PIECES = [
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    '"a"',
    '"b"',
    "1",
    "01",
    "-",
    "1e999",
    "-0",
    "null",
    "NaN",
    "-Infinity",
    " ",
    "\n",
]
_PIECES += [
    '"\\n"',
    '"\\ud800"',
    '"\\u00e9"',
    '"\x01"',
    "1" * 40,
    "1" * 41,
    "\x0c",
    "1.",
    '{"a":1,"a":2}',
    "[" * 64,
    "]" * 64,
]
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text("abé", max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
)


@given(_VALUES, st.lists(st.tuples(st.integers(0, 60), st.integers(0, 1), st.sampled_from(_PIECES)), max_size=2))
def test_json_means_the_same_with_places_and_without(value: object, edits: list[tuple[int, int, str]]) -> None:
    """What ``json`` takes and what the scanner takes, which makes the places later, must be one language."""
    text = json.dumps(value)
    for at, drop, piece in edits:
        text = text[:at] + piece + text[at + drop :]
    document = parse_json(SourceFile("f", text))
    try:
        data, spot = json_text._scanned(text)
    except json_text._NotPlain:
        assert document is None
    else:
        assert document is not None
        assert (repr(document.data), document.spot) == (repr(data), spot)


@pytest.mark.parametrize("text", ["a: 1\n", "a: [x, {b: 'null'}]\n", '{"a": 1}'])
def test_a_document_knows_that_it_has_no_null(text: str) -> None:
    (document,) = parse_yaml(SourceFile("f", text), Collector())
    assert not document.nulls
    assert document.with_data(None).nulls


@pytest.mark.parametrize("text", ["a:\n", "a: [x, {b: ~}]\n", "- &x null\n- *x\n", "a: *x\n", '{"a": [null]}'])
def test_a_document_knows_that_it_may_have_nulls(text: str) -> None:
    (document,) = parse_yaml(SourceFile("f", text), Collector())
    assert document.nulls
