"""Label selectors by the table of the Kubernetes documentation, and the index against looking at every object."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egress_compiler.labels import LabelIndex, LabelSelector, Operator, Requirement
from tests.properties.search import examples


@pytest.mark.parametrize(
    ("operator", "values", "labels", "matches"),
    [
        ("In", {"web", "api"}, {"app": "web"}, True),
        ("In", {"web", "api"}, {"app": "db"}, False),
        ("In", {"web"}, {}, False),
        ("In", {""}, {"app": ""}, True),
        ("In", {""}, {}, False),
        ("NotIn", {"web"}, {"app": "web"}, False),
        ("NotIn", {"web"}, {"app": "db"}, True),
        ("NotIn", {"web"}, {}, True),
        ("NotIn", {""}, {"app": ""}, False),
        ("Exists", set(), {"app": ""}, True),
        ("Exists", set(), {"tier": "1"}, False),
        ("DoesNotExist", set(), {"app": "web"}, False),
        ("DoesNotExist", set(), {"tier": "1"}, True),
    ],
)
def test_operators(operator: Operator, values: set[str], labels: Mapping[str, str], matches: bool) -> None:
    assert Requirement("app", operator, frozenset(values)).matches(labels) == matches


def test_all_requirements_must_hold_and_none_selects_everything() -> None:
    both = LabelSelector((Requirement("app", "In", frozenset({"web"})), Requirement("tier", "Exists")))
    assert both.matches({"app": "web", "tier": "1"})
    assert not both.matches({"app": "web"})
    assert not both.matches({"tier": "1"})
    assert not both.empty
    assert LabelSelector(()).matches({})
    assert LabelSelector(()).empty


KEYS = st.sampled_from(["app", "tier", "zone"])
VALUES = st.sampled_from(["", "a", "b"])
REQUIREMENTS = st.one_of(
    st.builds(Requirement, KEYS, st.sampled_from(["In", "NotIn"]), st.frozensets(VALUES, min_size=1)),
    st.builds(Requirement, KEYS, st.sampled_from(["Exists", "DoesNotExist"])),
)
SELECTORS = st.builds(LabelSelector, st.lists(REQUIREMENTS, max_size=4).map(tuple))


@examples(100)
@given(st.lists(st.dictionaries(KEYS, VALUES), max_size=12), SELECTORS)
def test_the_index_selects_what_matches(objects: list[dict[str, str]], selector: LabelSelector) -> None:
    expected = [position for position, labels in enumerate(objects) if selector.matches(labels)]
    assert LabelIndex(objects).select(selector) == expected
