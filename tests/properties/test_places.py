"""What explanations point at: the place of every rule, element and destination of a table, looked for in its text."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from egress_compiler.ruleset import ruleset, write
from tests.properties.compiled import compiled_or_reject
from tests.properties.search import examples
from tests.properties.strategies import Scenario, crowds, odd_scenarios, scenarios

_BLOCK = re.compile(r"\t(?:chain|set|map) (\S+) \{")


@examples(30)
@given(st.one_of(scenarios(), crowds(), odd_scenarios()))
def test_places_are_where_the_text_has_them(scenario: Scenario) -> None:
    for plan in compiled_or_reject(scenario).plans:
        written = write(ruleset(plan, {}))
        lines = written.text.splitlines()
        inside = _blocks(lines)
        assert {key.partition(" ")[2] for key in written.starts} == set(inside.values()) - {""}
        for key in written.starts:
            kind, _, name = key.partition(" ")
            if kind == "set":
                continue
            ends = [number for number, line in enumerate(lines, 1) if inside[number] == name and _ends_a_rule(line)]
            places = list(written.rules(name))
            assert [place.line for _, place in places] == ends
            for rule, place in places:
                assert lines[place.line - 1].strip() == place.text
                first = lines[place.line - 1 - (len(rule.destinations) + 1 if rule.destinations else 0)]
                assert first.strip().startswith(rule.match)
                assert rule.statement in place.text
                assert place.text.endswith(
                    (f'comment "{rule.comment}"' if rule.comment else rule.verdict) or rule.statement
                )
                for text in rule.destinations:
                    found = written.destination(name, rule, text)
                    assert lines[found.line - 1].strip() == found.text == f"{text},"
                    assert inside[found.line] == name
                    assert found.line < place.line
        for item in written.ruleset.sets:
            assert written.element(item.name, "no such key") is None
            for element in item.elements:
                at = written.element(item.name, element.key)
                assert at is not None
                assert lines[at.line - 1].strip() == at.text
                assert re.split(r"[ ,]", at.text)[0] == element.key
                assert inside[at.line] == item.name


def _blocks(lines: list[str]) -> dict[int, str]:
    """The chain, set or map that a line is in, by its number from 1; empty outside."""
    found: dict[int, str] = {}
    name = ""
    for number, line in enumerate(lines, 1):
        opened = _BLOCK.fullmatch(line)
        name = opened[1] if opened else "" if line == "\t}" else name
        found[number] = name
    return found


def _ends_a_rule(line: str) -> bool:
    """Not the head of a block, nor of a rule whose destinations stand below it, nor one of them."""
    return line.startswith("\t\t") and not line.startswith(("\t\t\t", "\t\ttype ")) and not line.endswith("{")
