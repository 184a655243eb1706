"""What compiler and node agree on: one text in two places, and a plan that the node reads as it was made."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

import egress_compiler.contract
from egress_compiler.contract.names import PLAN, RULESET
from egress_compiler.contract.reading import read_plan
from tests.properties.compiled import compiled_or_reject
from tests.properties.search import examples
from tests.properties.strategies import Scenario, crowds, odd_scenarios, scenarios

OURS = Path(egress_compiler.contract.__file__).parent
THEIRS = OURS.parents[1] / "collections/ansible_collections/egress/gateway/plugins/module_utils/contract"


def test_the_collection_has_the_same_contract() -> None:
    ours, theirs = ({path.name: path.read_text() for path in where.glob("*.py")} for where in (OURS, THEIRS))
    assert "plan.py" in ours
    assert ours.keys() == theirs.keys()
    for name, text in ours.items():
        assert theirs[name] == text, f"copy {OURS / name} to {THEIRS}"


@examples(30)
@given(st.one_of(scenarios(), crowds(), odd_scenarios()))
def test_every_plan_is_read_as_it_was_made(scenario: Scenario) -> None:
    nodes = compiled_or_reject(scenario).nodes
    for name in nodes.names:
        files = nodes.files(name)
        assert read_plan(files[PLAN], files[RULESET]) == nodes.plan(name)
