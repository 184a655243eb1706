"""Small numbers, EIPs and placement: tables of the primitives."""

from collections import Counter
from pathlib import Path

import pytest
import yaml

from egress_compiler.allocate.numbers import Exhausted, keep_or_give
from egress_compiler.allocate.placement import Unit, place_units
from egress_compiler.diagnostics import InvalidInput
from egress_compiler.pipeline import Inputs, compile_bundle
from tests.properties.strategies import document

CLUSTER = Path(__file__).parents[1] / "errors" / "shared" / "cluster.yaml"


def test_numbers_stay_and_new_keys_get_the_lowest_free() -> None:
    assert keep_or_give(["b", "a", "c"], {"c": 1, "gone": 2}, 1, 9) == {"a": 2, "b": 3, "c": 1}


def test_a_number_out_of_range_or_taken_twice_is_given_anew() -> None:
    assert keep_or_give(["a", "b", "c"], {"a": 12, "b": 2, "c": 2}, 1, 9) == {"a": 1, "b": 2, "c": 3}


def test_numbers_run_out() -> None:
    with pytest.raises(Exhausted):
        keep_or_give(["a", "b", "c"], {}, 1, 2)


def test_where_no_vrid_is_left_the_gateway_that_lacks_one_is_named(tmp_path: Path) -> None:
    selector = {"selector": {"matchLabels": {"egress": "true"}}}
    gateways = [
        document("EgressGateway", f"g{n:03}", {"ippools": {"ipv4": [f"10.6.2.{n}"]}, "nodeSelector": selector})
        for n in range(256)
    ]
    source = {"podSubnet": ["10.244.3.0/24"]}
    policies = [
        document("EgressPolicy", f"p{n:03}", {"egressGatewayName": f"g{n:03}", "appliedTo": source}, "shop")
        for n in range(256)
    ]
    file = tmp_path / "policies.yaml"
    file.write_text("---\n".join(yaml.safe_dump(item) for item in [*gateways, *policies]))
    with pytest.raises(InvalidInput) as caught:
        compile_bundle(Inputs((file,), (CLUSTER,)))
    (found,) = [d for d in caught.value.diagnostics if d.severity == "error"]
    assert found.message == "no VRID on the gateways' segment is left: 256 needed, 255 possible"
    assert found.position is not None
    assert found.position.source.line(found.position.line) == "  name: g255"


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
