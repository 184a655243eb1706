"""Small numbers, EIPs and placement: tables of the primitives."""

from collections import Counter

import pytest

from egress_compiler.allocate.numbers import Exhausted, keep_or_give
from egress_compiler.allocate.placement import Unit, place_units


def test_numbers_stay_and_new_keys_get_the_lowest_free() -> None:
    assert keep_or_give(["b", "a", "c"], {"c": 1, "gone": 2}, 1, 9) == {"a": 2, "b": 3, "c": 1}


def test_a_number_out_of_range_or_taken_twice_is_given_anew() -> None:
    assert keep_or_give(["a", "b", "c"], {"a": 12, "b": 2, "c": 2}, 1, 9) == {"a": 1, "b": 2, "c": 3}


def test_numbers_run_out() -> None:
    with pytest.raises(Exhausted):
        keep_or_give(["a", "b", "c"], {}, 1, 2)


def units(*weights: int) -> list[Unit]:
    return [Unit(f"u{index}", weight) for index, weight in enumerate(weights)]


def test_single_units_spread_evenly() -> None:
    placed = place_units(units(1, 1, 1, 1, 1, 1, 1), ["n1", "n2", "n3"], {}, Counter())
    assert sorted(Counter(placed.values()).values()) == [2, 2, 3]


def test_a_heavy_unit_gets_a_node_and_the_others_fill_up() -> None:
    placed = place_units(units(1, 4, 1, 1, 1), ["n1", "n2"], {}, Counter())
    assert placed["u1"] == "n1"
    assert {placed[f"u{i}"] for i in (0, 2, 3, 4)} == {"n2"}


def test_placed_units_stay_even_when_uneven() -> None:
    before = {"u0": "n1", "u1": "n1", "u2": "n1"}
    placed = place_units(units(1, 1, 1, 1), ["n1", "n2"], before, Counter())
    assert placed == {**before, "u3": "n2"}


def test_a_unit_whose_node_left_moves_alone() -> None:
    before = {"u0": "n1", "u1": "gone", "u2": "n2"}
    assert place_units(units(1, 1, 1), ["n1", "n2"], before, Counter())["u0"] == "n1"
    assert place_units(units(1, 1, 1), ["n1", "n2"], before, Counter())["u2"] == "n2"


def test_ties_go_to_the_node_with_fewest_policies_of_other_gateways() -> None:
    total = Counter({"n1": 5})
    assert place_units(units(1), ["n1", "n2"], {}, total) == {"u0": "n2"}
    assert total == Counter({"n1": 5, "n2": 1})
