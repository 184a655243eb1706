"""Plain YAML line by line: what it takes means what libyaml says, and all else is left to it."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egress_compiler.diagnostics import Collector
from egress_compiler.load import yaml_text
from egress_compiler.load.yaml_lines import MAX_LEVELS, MAX_LINES, parse_lines
from egress_compiler.source import SourceFile
from tests.bench.large_input import policies, write_policies

_PIECES = st.sampled_from(
    [
        "a",
        "b",
        "k: v",
        "k:",
        "- ",
        "-",
        "  ",
        " ",
        "\n",
        "\n",
        "\n  ",
        "\n    ",
        "\n- ",
        "\n---\n",
        ": ",
        ":",
        "#",
        " # c",
        "'x y'",
        '"x: y"',
        "'",
        '"',
        "[]",
        "{}",
        "null",
        "yes",
        "~",
        "1",
        "010",
        "1.5",
        "10.6.1.1",
        "fd00::1/64",
        "&a",
        "*a",
        "!t",
        "|",
        ">",
        "<<: ",
        "?",
        "%",
        "@",
        "\t",
        "é",
        "---",
        "...",
    ]
)


_TEXT = """\
# Asked for by team 1; see the contract.
apiVersion: egressgateway.spidernet.io/v1beta1
kind: EgressPolicy
metadata:
  annotations:
    description: Contract 7
  name: 'policy-7'
  namespace: team-1
spec:
  appliedTo:
    podSelector:
      matchExpressions:
      - key: tier
        operator: In
        values:
        - '0'
        - "1"
  destSubnet:
    - 203.0.7.0/24   # the bank
    - 192.0.7.10-192.0.7.99
    - 2001:db8:7::/48
  egressIP: {}
  priority: 101
---"""
_POLICY = _TEXT.split("\n")


def events(text: str) -> tuple[list[tuple[str, bool]], int]:
    """What libyaml's events give, and the number of errors."""
    found = Collector()
    documents = yaml_text._parse_events(SourceFile("f", text), found)
    return [(repr(document.data), document.nulls) for document in documents], found.errors


def agrees(text: str) -> bool:
    """Whether it was taken; what is taken must be the same."""
    lines = parse_lines(text)
    if lines is None:
        return False
    assert ([(repr(document.data), document.nulls) for document in lines], 0) == events(text)
    return True


@given(st.lists(_PIECES, max_size=24).map("".join))
def test_what_is_taken_is_what_libyaml_says(text: str) -> None:
    if not yaml_text._FORBIDDEN.search(text):
        agrees(text)


@given(st.data())
def test_edited_policies_are_what_libyaml_says(data: st.DataObject) -> None:
    lines = data.draw(st.lists(st.sampled_from(_POLICY), min_size=1, max_size=30))
    for _ in range(data.draw(st.integers(0, 3))):
        number = data.draw(st.integers(0, len(lines) - 1))
        start = data.draw(st.integers(0, len(lines[number])))
        lines[number] = (
            lines[number][:start] + data.draw(_PIECES) + lines[number][start + data.draw(st.integers(0, 2)) :]
        )
    agrees("\n".join(lines))


def test_policies_as_people_write_them_are_taken(tmp_path: Path) -> None:
    write_policies(tmp_path / "policies", list(policies(0.05)))
    assert all(agrees(path.read_text()) for path in (tmp_path / "policies").iterdir())
    assert agrees(_TEXT)


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("", []),
        ("# a comment\n---\n---\n", []),
        ("a:\n- b\n-   c: 1\n    d: ~x\n", None),
        ("a:\n- b\n-   c: 1\n    d: x\ne:\n", [{"a": ["b", {"c": 1, "d": "x"}], "e": None}]),
        ("- a: yes\n  b: 10.0.0.\n---\n- c # d\n", [[{"a": True, "b": "10.0.0."}], ["c"]]),
        ("a: b\n  c\n", None),
        ("a: b\n  c: d\n", None),
        ("a: 1\na: 2\n", None),
        ("a: 010\n", None),
        ("on: 1\n", None),
        ("a: [b]\n", None),
        (" a: b\n", None),
        ("a: |\n  b\n", None),
        ("a: 'it''s'\n", None),
        ("a: é\n", None),
        ("a: b: c\n", None),
    ],
)
def test_what_a_text_means(text: str, data: list[Any] | None) -> None:
    lines = parse_lines(text)
    assert (lines if lines is None else [document.data for document in lines]) == data
    agrees(text)


def test_what_might_reach_a_limit_is_left_to_libyaml() -> None:
    deep = "".join(f"{' ' * level}a:\n" for level in range(MAX_LEVELS + 2))
    assert parse_lines(deep) is None
    assert parse_lines("- a\n" * (MAX_LINES + 1)) is None


def test_places_are_those_of_libyaml() -> None:
    source = SourceFile("f", "a:\n- b: 1\n---\nc: 'd'\n")
    documents = yaml_text.parse_yaml(source, Collector())
    for lazy, whole in zip(documents, yaml_text._parse_events(source, Collector()), strict=True):
        assert lazy.at() == whole.at()
    assert documents[0].at("a", 0, "b").column == 6
    assert documents[1].key_at("c").line == 4
