"""Small numbers, EIPs and placement: tables of the primitives."""

from collections import Counter
from pathlib import Path

import pytest
import yaml

from egress_compiler.allocate.numbers import Exhausted, keep_or_give, keep_or_give_apart
from egress_compiler.allocate.placement import Unit, place_units
from egress_compiler.allocate.segments import connected
from egress_compiler.diagnostics import InvalidInput
from egress_compiler.pipeline import Inputs, analyse, compile_bundle
from tests.properties.strategies import cluster_object, document

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
    assert found.message == (
        "no VRID is left for the EgressGateways g000, g001, g002 and 253 more, which share nodes: "
        "256 needed, 255 possible"
    )
    assert found.position is not None
    assert found.position.source.line(found.position.line) == "  name: g255"


def test_groups_that_do_not_meet_may_have_the_same_numbers_where_there_are_no_others() -> None:
    assert keep_or_give_apart([["a", "b"], ["c", "d"]], {}, 1, 9) == {"a": 1, "b": 2, "c": 3, "d": 4}
    assert keep_or_give_apart([["a", "b"], ["c", "d"]], {}, 1, 3) == {"a": 1, "b": 2, "c": 3, "d": 1}
    assert keep_or_give_apart([["a", "b"], ["c"]], {"a": 2, "c": 2}, 1, 2) == {"a": 2, "b": 1, "c": 2}
    with pytest.raises(Exhausted):
        keep_or_give_apart([["a"], ["b", "c", "d"]], {}, 1, 2)


def test_where_groups_come_together_the_first_keeps_its_number() -> None:
    assert keep_or_give_apart([["a", "b"]], {"a": 2, "b": 2}, 1, 9) == {"a": 2, "b": 1}


@pytest.mark.parametrize(
    ("nodes", "groups"),
    [
        ({"a": ["1", "2"], "b": ["3"]}, (("a",), ("b",))),
        ({"a": ["1", "2"], "c": ["3"], "b": ["2", "3"]}, (("a", "b", "c"),)),
        ({"d": ["4"], "b": ["1"], "a": ["1"], "c": ["4"], "e": []}, (("a", "b"), ("c", "d"), ("e",))),
        ({}, ()),
    ],
)
def test_gateways_hear_each_other_where_shared_nodes_connect_them(
    nodes: dict[str, list[str]], groups: tuple[tuple[str, ...], ...]
) -> None:
    assert connected(nodes) == groups


def test_a_hundred_gateways_of_three_nodes_each(tmp_path: Path) -> None:
    """300 slots: more than there are VRIDs, and each group of nodes needs three."""
    objects = [cluster_object("ServiceCIDR", "kubernetes", spec={"cidrs": ["10.96.0.0/12"]})]
    documents = []
    for gateway in range(100):
        name = f"g{gateway:02}"
        for node in range(3):
            address = {"type": "InternalIP", "address": f"10.6.{gateway}.{10 + node}"}
            spec = {"podCIDR": f"10.{128 + node}.{gateway}.0/24"}
            made = cluster_object("Node", f"{name}-{node}", spec=spec, status={"addresses": [address]})
            made["metadata"]["labels"] = {"gateway": name}
            objects.append(made)
            applied = {"podSubnet": [f"10.{128 + node}.{gateway}.0/28"]}
            policy = {"egressGatewayName": name, "appliedTo": applied, "egressIP": {"allocatorPolicy": "rr"}}
            documents.append(document("EgressPolicy", f"{name}-{node}", policy, "shop"))
        pool = {"ipv4": [f"10.6.{gateway}.100-10.6.{gateway}.109"]}
        selector = {"selector": {"matchLabels": {"gateway": name}}}
        documents.append(document("EgressGateway", name, {"ippools": pool, "nodeSelector": selector}))
    policies, cluster = tmp_path / "policies.yaml", tmp_path / "cluster.yaml"
    policies.write_text("---\n".join(yaml.safe_dump(item) for item in documents))
    cluster.write_text("---\n".join(yaml.safe_dump(item) for item in objects))
    slots = analyse(Inputs((policies,), (cluster,))).allocation.slots.values()
    assert len(slots) == 300
    of_gateway = Counter((slot.gateway, slot.vrid) for slot in slots)
    assert set(of_gateway.values()) == {1}
    assert {slot.vrid for slot in slots} == set(range(1, 256))


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


def test_replies_by_the_tunnel_are_for_as_many_nodes_as_a_connections_mark_has_room_for(tmp_path: Path) -> None:
    nodes = [
        cluster_object(
            "Node",
            f"n{n}",
            labels={"egress": "true"} if n == 0 else {},
            spec={"podCIDRs": [f"10.{100 + n // 256}.{n % 256}.0/24"]},
            status={"addresses": [{"type": "InternalIP", "address": f"10.0.{n // 256}.{n % 256}"}]},
        )
        for n in range(1, 1025)
    ]
    (tmp_path / "cluster.yaml").write_text("---\n".join(yaml.safe_dump(node) for node in nodes))
    (tmp_path / "settings.yaml").write_text("serviceCIDRs: [10.96.0.0/16]\ngatewayReplyRoute: true\n")
    selector = {"selector": {"matchLabels": {"egress": "true"}}}
    gateway = document("EgressGateway", "g", {"ippools": {"ipv4": ["10.6.2.1"]}, "nodeSelector": selector})
    (tmp_path / "policies.yaml").write_text(yaml.safe_dump(gateway))
    inputs = Inputs((tmp_path / "policies.yaml",), (tmp_path / "cluster.yaml",), settings=tmp_path / "settings.yaml")
    with pytest.raises(InvalidInput) as caught:
        analyse(inputs)
    (found,) = [d for d in caught.value.diagnostics if d.severity == "error"]
    assert found.message.endswith("1024 needed, 1023 possible")
    assert found.position is not None
    assert found.position.source.line(found.position.line) == "gatewayReplyRoute: true"
