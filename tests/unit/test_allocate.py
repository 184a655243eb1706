"""Small numbers, EIPs and placement: tables of the primitives."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from egress_compiler.allocate.members import SlotMembers
from egress_compiler.allocate.numbers import Exhausted, keep_or_give, keep_or_give_apart
from egress_compiler.allocate.placement import Unit, place_units
from egress_compiler.allocate.slots import Slot
from egress_compiler.diagnostics import InvalidInput
from egress_compiler.pipeline import Inputs, analyse, compile_bundle
from tests.properties.strategies import Json, cluster_object, document


def test_numbers_stay_and_new_keys_get_the_lowest_free() -> None:
    assert keep_or_give(["b", "a", "c"], {"c": 1, "gone": 2}, 1, 9) == {"a": 2, "b": 3, "c": 1}


def test_a_number_out_of_range_or_taken_twice_is_given_anew() -> None:
    assert keep_or_give(["a", "b", "c"], {"a": 12, "b": 2, "c": 2}, 1, 9) == {"a": 1, "b": 2, "c": 3}


def test_numbers_run_out() -> None:
    with pytest.raises(Exhausted):
        keep_or_give(["a", "b", "c"], {}, 1, 2)


def a_node(name: str, address: str, cidr: str, gateway: str) -> Json:
    status = {"addresses": [{"type": "InternalIP", "address": address}]}
    return cluster_object("Node", name, labels={"gateway": gateway}, spec={"podCIDR": cidr}, status=status)


def written(documents: Sequence[Json], objects: Sequence[Json], place: Path) -> Inputs:
    policies, cluster = place / "policies.yaml", place / "cluster.yaml"
    for file, items in ((policies, documents), (cluster, objects)):
        file.write_text("---\n".join(yaml.safe_dump(item) for item in items))
    return Inputs((policies,), (cluster,))


def test_where_no_vrid_is_left_the_gateway_that_lacks_one_is_named(tmp_path: Path) -> None:
    """Each EgressGateway has one node with all others in common, and one for itself: no two slots are alike."""
    objects = [cluster_object("ServiceCIDR", "kubernetes", spec={"cidrs": ["10.96.0.0/12"]})]
    objects.append(a_node("hub", "10.6.3.1", "10.245.0.0/24", "hub"))
    documents = []
    for number in range(256):
        name = f"g{number:03}"
        objects.append(a_node(f"own-{number:03}", f"10.6.1.{number}", f"10.244.{number}.0/24", name))
        values = {"key": "gateway", "operator": "In", "values": ["hub", name]}
        selector = {"selector": {"matchExpressions": [values]}}
        pool, source = {"ipv4": [f"10.6.2.{number}"]}, {"podSubnet": [f"10.244.{number}.0/28"]}
        documents.append(document("EgressGateway", name, {"ippools": pool, "nodeSelector": selector}))
        documents.append(document("EgressPolicy", name, {"egressGatewayName": name, "appliedTo": source}, "shop"))
    with pytest.raises(InvalidInput) as caught:
        compile_bundle(written(documents, objects, tmp_path))
    (found,) = [d for d in caught.value.diagnostics if d.severity == "error"]
    assert found.message == (
        "no VRID is left for EgressGateway g255 on node own-255: 1 to 255 are taken by slots "
        "that have some of its nodes, or all in another order"
    )
    assert found.position is not None
    assert found.position.source.line(found.position.line) == "  name: g255"


def test_few_nodes_are_all_members_of_each_slot() -> None:
    members = SlotMembers(["c", "a", "b"], 8)
    assert members.backups("b") == ("a", "c")
    assert [members.order("b", slot) for slot in (1, 2)] == [("b", "c", "a"), ("b", "a", "c")]
    assert SlotMembers(["a"], 8).order("a", 1) == ("a",)


def test_of_many_nodes_each_has_as_many_others_behind_it_and_stands_behind_as_many() -> None:
    names = [f"node-{number}" for number in range(50)]
    backups = {name: SlotMembers(names, 8).backups(name) for name in names}
    assert {len(set(behind) - {name}) for name, behind in backups.items()} == {7}
    assert set(Counter(name for behind in backups.values() for name in behind).values()) == {7}


def test_a_node_that_goes_concerns_seven_others() -> None:
    names = [f"node-{number}" for number in range(50)]
    before, after = SlotMembers(names, 8), SlotMembers(names[1:], 8)
    changed = [name for name in names[1:] if before.backups(name) != after.backups(name)]
    assert len(changed) == 7
    for name in changed:
        assert set(before.backups(name)) - set(after.backups(name)) == {names[0]}


def test_those_that_do_not_meet_may_have_the_same_numbers_where_there_are_no_others() -> None:
    four = {"a": ("x", "y"), "b": ("y", "x"), "c": ("z", "u"), "d": ("u", "z")}
    assert keep_or_give_apart(four, {}, 1, 9) == {"a": 1, "b": 2, "c": 3, "d": 4}
    assert keep_or_give_apart(four, {}, 1, 3) == {"a": 1, "b": 2, "c": 3, "d": 1}
    assert keep_or_give_apart(four, {"a": 2, "c": 2}, 1, 2) == {"a": 2, "b": 1, "c": 2, "d": 1}
    with pytest.raises(Exhausted):
        keep_or_give_apart(four | {"e": ("u", "v")}, {}, 1, 2)


def test_where_no_number_is_left_those_with_the_same_places_share() -> None:
    alike = {"a": ("x", "y"), "b": ("x", "y"), "c": ("y", "x"), "d": ("x", "y"), "e": ("x", "y")}
    assert keep_or_give_apart(alike, {}, 1, 3) == {"a": 1, "b": 2, "c": 3, "d": 1, "e": 2}
    with pytest.raises(Exhausted):
        keep_or_give_apart(alike, {}, 1, 2)


def test_where_places_come_together_the_first_keeps_its_number() -> None:
    assert keep_or_give_apart({"a": ("x", "y"), "b": ("y", "z")}, {"a": 2, "b": 2}, 1, 9) == {"a": 2, "b": 1}
    assert keep_or_give_apart({"a": ("x", "y"), "b": ("x", "y")}, {"a": 2, "b": 2}, 1, 9) == {"a": 2, "b": 2}


def test_a_hundred_gateways_of_three_nodes_each(tmp_path: Path) -> None:
    """300 slots: more than there are VRIDs, and each group of nodes needs three."""
    objects = [cluster_object("ServiceCIDR", "kubernetes", spec={"cidrs": ["10.96.0.0/12"]})]
    documents = []
    for gateway in range(100):
        name = f"g{gateway:02}"
        for node in range(3):
            cidr = f"10.{128 + node}.{gateway}.0/24"
            objects.append(a_node(f"{name}-{node}", f"10.6.{gateway}.{10 + node}", cidr, name))
            applied = {"podSubnet": [f"10.{128 + node}.{gateway}.0/28"]}
            policy = {"egressGatewayName": name, "appliedTo": applied, "egressIP": {"allocatorPolicy": "rr"}}
            documents.append(document("EgressPolicy", f"{name}-{node}", policy, "shop"))
        pool = {"ipv4": [f"10.6.{gateway}.100-10.6.{gateway}.109"]}
        selector = {"selector": {"matchLabels": {"gateway": name}}}
        documents.append(document("EgressGateway", name, {"ippools": pool, "nodeSelector": selector}))
    slots = analyse(written(documents, objects, tmp_path)).allocation.slots.values()
    assert len(slots) == 300
    of_gateway = Counter((slot.gateway, slot.vrid) for slot in slots)
    assert set(of_gateway.values()) == {1}
    assert {slot.vrid for slot in slots} == set(range(1, 256))


def on_the_same_three(gateways: int, place: Path) -> Inputs:
    """As many EgressGateways, with a policy on each of three nodes that all of them select."""
    objects = [cluster_object("ServiceCIDR", "kubernetes", spec={"cidrs": ["10.96.0.0/12"]})]
    objects += [a_node(f"n{node}", f"10.6.0.{10 + node}", f"10.{128 + node}.0.0/16", "all") for node in range(3)]
    documents = []
    for gateway in range(gateways):
        name, pool = f"g{gateway:03}", {"ipv4": [f"10.6.{1 + gateway}.100-10.6.{1 + gateway}.109"]}
        selector = {"selector": {"matchLabels": {"gateway": "all"}}}
        documents.append(document("EgressGateway", name, {"ippools": pool, "nodeSelector": selector}))
        for node in range(3):
            applied = {"podSubnet": [f"10.{128 + node}.{gateway}.0/24"]}
            policy = {"egressGatewayName": name, "appliedTo": applied, "egressIP": {"allocatorPolicy": "rr"}}
            documents.append(document("EgressPolicy", f"{name}-{node}", policy, "shop"))
    return written(documents, objects, place)


def test_a_hundred_gateways_on_the_same_three_nodes_share_vrids(tmp_path: Path) -> None:
    made = compile_bundle(on_the_same_three(100, tmp_path))
    slots = list(made.allocation.slots.values())
    assert len(slots) == 300
    together: dict[int, list[Slot]] = {}
    for slot in slots:
        together.setdefault(slot.vrid, []).append(slot)
    assert set(together) == set(range(1, 256))
    assert Counter(map(len, together.values())) == {1: 210, 2: 45}
    for alike in together.values():
        assert len({slot.order for slot in alike}) == len({tuple(slot.tunnel_vips.values()) for slot in alike}) == 1
    assert len({tuple(slot.tunnel_vips.values()) for slot in slots}) == 255
    for plan in made.plans:
        assert plan.gateway is not None
        announced = [slot for instance in plan.gateway.vrrp for slot in instance.slots]
        assert sorted(announced) == sorted(slot.number for slot in slots)
        assert len({instance.vrid for instance in plan.gateway.vrrp}) == len(plan.gateway.vrrp) == 255


def test_slots_that_share_a_vrid_keep_it(tmp_path: Path) -> None:
    """Also when the VRIDs suffice again, and whoever was there first is gone; nobody else changes its own."""
    before = analyse(on_the_same_three(100, tmp_path)).allocation.lock
    shared = Counter(entry.vrid for entry in before.slots.values())
    assert max(shared.values()) == 2
    after = analyse(on_the_same_three(99, tmp_path), before).allocation.lock
    assert after.slots == {key: entry for key, entry in before.slots.items() if not key.startswith("g099/")}
    more = analyse(on_the_same_three(101, tmp_path), before).allocation.lock
    assert {key: more.slots[key] for key in before.slots} == dict(before.slots)
    vips = {entry.vrid: entry.vip for entry in before.slots.values()}
    assert {entry.vrid: entry.vip for entry in more.slots.values()} == vips


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
