"""The forms of a diagnostic, for people, for GitHub's runner and for code scanning; none acts on its reader."""

import json
import re
from typing import Any
from urllib.parse import unquote, urlsplit

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from egress_compiler.diagnostics import Collector, Diagnostic, Related, Severity, as_github, as_json, as_text, in_order
from egress_compiler.diagnostics.codes import CODES
from egress_compiler.diagnostics.sarif import sarif_log
from egress_compiler.diagnostics.words import inert, nearest, similar, width
from egress_compiler.source import Position, SourceFile
from tests.properties.search import examples

SOURCE = SourceFile("dir/a b,c:100%.yaml", "first: 1\nsecond:\t[wörld, 中文, x]\n")
HOSTILE = "a\r\n::error::b %0A ##[warning]\x1b[31m\u202eevil\x00"


def diagnostic(message: str = "wrong", hint: str = "", **more: Any) -> Diagnostic:
    return Diagnostic("bad-name", Severity.ERROR, message, Position(SOURCE, 2, 9, 5), hint, **more)


def read_by_the_runner(line: str) -> tuple[str, dict[str, str], str]:
    """As actions/runner reads a workflow command: name, properties, message."""
    command = re.fullmatch(r"::(\w+) (.*?)::(.*)", line)
    assert command is not None, line

    def plain(text: str, *escapes: tuple[str, str]) -> str:
        for escape, character in (*escapes, ("%0D", "\r"), ("%0A", "\n"), ("%25", "%")):
            text = text.replace(escape, character)
        return text

    pairs = (entry.partition("=") for entry in command[2].split(","))
    properties = {key: plain(value, ("%3A", ":"), ("%2C", ",")) for key, _, value in pairs}
    return command[1], properties, plain(command[3])


def test_github_annotation() -> None:
    related = (Related("first defined here", Position(SOURCE, 1, 1, 5)),)
    line = as_github(diagnostic("50% of 'a,b' is wrong", "write c::d", related=related))
    name, properties, message = read_by_the_runner(line)
    assert name == "error"
    assert properties == {"file": SOURCE.name, "line": "2", "col": "9", "endColumn": "14", "title": "bad-name"}
    assert message.split("\n") == [
        "50% of 'a,b' is wrong",
        "hint: write c::d",
        "dir/a b,c:100%.yaml:1:1: first defined here",
    ]


def test_an_annotation_without_a_place_has_no_file() -> None:
    line = as_github(Diagnostic("no-nodes", Severity.WARNING, "there is none"))
    assert line == "::warning title=no-nodes::there is none"


@examples(200)
@given(st.text(max_size=40), st.text(max_size=40), st.text(min_size=1, max_size=20))
def test_no_text_gets_out_of_an_annotation(message: str, hint: str, file: str) -> None:
    line = as_github(Diagnostic("bad-name", Severity.ERROR, message, Position(SourceFile(file, ""), 1, 1), hint))
    assert len(line.splitlines()) == 1
    assert line.isprintable()
    name, properties, _ = read_by_the_runner(line)
    assert (name, properties["title"], properties["line"]) == ("error", "bad-name", "1")


@examples(200)
@given(st.text(max_size=60))
def test_no_text_acts_on_a_terminal_or_a_runner(text: str) -> None:
    shown = as_text(diagnostic(text, text))
    for line in shown.split("\n"):
        assert line.isprintable()
        assert not line.lstrip().startswith("::")
        assert "##[" not in line


def test_hostile_text_stands_there_as_it_is() -> None:
    assert (
        as_text(diagnostic(HOSTILE))
        .split("\n")[0]
        .endswith(r"error: a\r\n::error::b %0A ##\[warning]\x1b[31m\u202eevil\x00 [bad-name]")
    )
    assert inert("  ::set-env name=A::b") == r"  :\:set-env name=A::b"


@pytest.mark.parametrize(
    ("line", "column", "length", "marked"),
    [
        ("  name: x", 9, 1, "x"),
        ("\tname:\t中文 x", 8, 2, "中文"),
        ("e\u0301: abc", 5, 3, "abc"),
        ("a" * 300 + "here" + "b" * 300, 301, 4, "here"),
        ("short", 6, 1, ""),
    ],
)
def test_the_caret_stands_under_the_value(line: str, column: int, length: int, marked: str) -> None:
    place = Position(SourceFile("f", line), 1, column, length)
    _, shown, carets = as_text(Diagnostic("bad-name", Severity.ERROR, "m", place)).split("\n")
    before = shown[: shown.index(marked)] if marked else shown
    assert carets.index("^") == width(before)
    assert carets.count("^") == max(1, width(marked))
    assert len(shown) < 120


TEXT = {"type": "object", "properties": {"text": {"type": "string", "minLength": 1}}, "required": ["text"]}
POSITIVE = {"type": "integer", "minimum": 1}
LOCATION = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "id": {"type": "integer", "minimum": 0},
        "message": TEXT,
        "physicalLocation": {
            "type": "object",
            "additionalProperties": False,
            "required": ["artifactLocation"],
            "properties": {
                "artifactLocation": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {"uri": {"type": "string", "format": "uri-reference"}},
                },
                "region": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {"startLine": POSITIVE, "startColumn": POSITIVE, "endColumn": POSITIVE},
                },
            },
        },
    },
}
LEVEL = {"enum": ["none", "note", "warning", "error"]}
RULE = {
    "type": "object",
    "additionalProperties": False,
    "required": ["id"],
    "properties": {
        "id": {"type": "string"},
        "shortDescription": TEXT,
        "fullDescription": TEXT,
        "defaultConfiguration": {"type": "object", "properties": {"level": LEVEL}},
    },
}
RESULT = {
    "type": "object",
    "additionalProperties": False,
    "required": ["message"],
    "properties": {
        "ruleId": {"type": "string"},
        "ruleIndex": {"type": "integer", "minimum": 0},
        "level": LEVEL,
        "message": TEXT,
        "locations": {"type": "array", "items": LOCATION},
        "relatedLocations": {"type": "array", "items": LOCATION, "uniqueItems": True},
        "suppressions": {
            "type": "array",
            "items": {"properties": {"kind": {"enum": ["inSource", "external"]}}, "required": ["kind"]},
        },
    },
}
SARIF: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["version", "runs"],
    "properties": {
        "$schema": {"type": "string", "format": "uri"},
        "version": {"const": "2.1.0"},
        "runs": {
            "type": "array",
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["tool"],
                "properties": {
                    "tool": {
                        "type": "object",
                        "required": ["driver"],
                        "properties": {
                            "driver": {
                                "type": "object",
                                "additionalProperties": False,
                                "required": ["name"],
                                "properties": {
                                    "name": {"type": "string"},
                                    "semanticVersion": {"type": "string", "pattern": r"^\d+\.\d+\.\d+"},
                                    "rules": {"type": "array", "items": RULE, "uniqueItems": True},
                                },
                            }
                        },
                    },
                    "columnKind": {"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
                    "results": {"type": "array", "items": RESULT},
                },
            },
        },
    },
}
"""The parts of the standard's schema that are used here, closed, so that a mistyped name is seen."""


def checked(found: list[Diagnostic]) -> Any:
    log = json.loads(json.dumps(sarif_log(found, "1.2.3")))
    jsonschema.validate(log, SARIF)
    (run,) = log["runs"]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    for result in run["results"]:
        assert rules[result["ruleIndex"]] == result["ruleId"]
        for location in result["locations"]:
            region = location["physicalLocation"]["region"]
            assert region["endColumn"] > region["startColumn"]
    return run


def test_sarif_log() -> None:
    related = (Related("the other", Position(SOURCE, 1, 1)),)
    found = [
        diagnostic(HOSTILE, "a hint", related=related),
        Diagnostic("no-nodes", Severity.ERROR, "there is none"),
        Diagnostic("shadowed", Severity.WARNING, "never", Position(SOURCE, 1, 1), accepted="we know"),
    ]
    run = checked(found)
    first, second, third = run["results"]
    assert first["message"]["text"] == r"a\r\n::error::b %0A ##[warning]\x1b[31m\u202eevil\x00" + "\nHint: a hint"
    assert first["relatedLocations"][0]["message"]["text"] == "the other"
    assert second["locations"] == []
    assert third["suppressions"] == [{"kind": "inSource", "justification": "we know"}]
    for rule in run["tool"]["driver"]["rules"]:
        assert rule["shortDescription"]["text"] == CODES[rule["id"]].title


def test_an_empty_sarif_log_is_one_without_results() -> None:
    assert checked([])["results"] == []


@pytest.mark.parametrize("name", ["a.yaml", "dir/a b.yaml", "c:d.yaml", "100%/#?.yaml", "/abs/é.yaml", "../中文.yaml"])
def test_the_uri_of_a_file_leads_to_it(name: str) -> None:
    place = Position(SourceFile(name, "x"), 1, 1)
    run = checked([Diagnostic("bad-name", Severity.ERROR, "m", place)])
    uri = urlsplit(run["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"])
    assert uri.scheme == ("file" if name.startswith("/") else "")
    assert (unquote(uri.path), uri.query, uri.fragment) == (name, "", "")


def test_json_has_what_there_is() -> None:
    related = (Related("the other", Position(SOURCE, 1, 1, 5)),)
    assert as_json(diagnostic("m", "h", related=related)) == {
        "code": "bad-name",
        "severity": "error",
        "message": "m",
        "file": SOURCE.name,
        "line": 2,
        "column": 9,
        "endColumn": 14,
        "hint": "h",
        "related": [{"message": "the other", "file": SOURCE.name, "line": 1, "column": 1, "endColumn": 6}],
    }
    assert as_json(Diagnostic("no-nodes", Severity.WARNING, "m", accepted="a reason")) == {
        "code": "no-nodes",
        "severity": "warning",
        "message": "m",
        "accepted": "a reason",
    }


def test_a_report_stands_in_the_order_of_the_files_and_tells_nothing_twice() -> None:
    places = [Position(SourceFile(name, ""), line, 1) for name in ("b", "a") for line in (10, 9)]
    found = [Diagnostic("bad-name", Severity.ERROR, "m", place) for place in places]
    whole = Diagnostic("no-nodes", Severity.ERROR, "m")
    ordered = in_order([*found, whole, *found])
    assert [str(d.position or "") for d in ordered] == ["", "a:9:1", "a:10:1", "b:9:1", "b:10:1"]


def test_an_error_is_kept_however_many_warnings_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("egress_compiler.diagnostics.values.MAX_KEPT", 3)
    found = Collector()
    for number in range(5):
        found.warning("host-bits", str(number), None)
    found.error("bad-name", "the error", None)
    found.error("bad-name", "one more", None)
    assert [d.message for d in found.found] == ["0", "1", "the error"]
    assert (found.errors, found.full) == (2, False)
    for _ in range(2):
        found.error("bad-name", "more", None)
    assert found.full


@pytest.mark.parametrize(
    ("word", "guess"),
    [("podSelecter", "podSelector"), ("PODSELECTOR", "podSelector"), ("x" * 200, ""), ("zzz", ""), ("", "")],
)
def test_what_was_probably_meant(word: str, guess: str) -> None:
    assert nearest(word, ["podSelector", "podSubnet"]) == (f"did you mean '{guess}'?" if guess else "")
    assert similar(word, ["podSelector"]) == bool(guess)
