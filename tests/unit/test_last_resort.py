"""The second line: what routing refuses when our nftables table is gone."""

from dataclasses import replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from netaddr import IPAddress, iprange_to_cidrs

from egress_compiler.contract import routing
from egress_compiler.contract.numbers import LAST_TABLE
from egress_compiler.contract.plan import Both, NodePlan
from egress_compiler.net import Interval, cidrs, everything
from tests.properties.strategies import Json
from tests.unit.test_plan_connections import pod, policy
from tests.unit.test_unknown_pods import plans


def subnet_policy(*subnets: str) -> Json:
    made = policy("rest", "10.6.1.62")
    made["kind"], made["metadata"] = "EgressClusterPolicy", {"name": "rest"}
    made["spec"]["appliedTo"] = {"podSubnet": list(subnets)}
    return made


def refused(plan: NodePlan, family: int = 4) -> list[str]:
    """What each rule that looks up the table of the last resort asks for."""
    rules = [rule for rule in routing.last_rules(plan) if rule.family == family and rule.table == LAST_TABLE]
    return [rule.source or f"iif {rule.interface}" for rule in rules]


def entered(plan: NodePlan) -> list[str | None]:
    """From where packets come to those rules."""
    return [rule.source for rule in routing.last_rules(plan) if rule.family == 4 and rule.goto == 103]


@given(st.integers(0, 2**32 - 1), st.integers(0, 5000))
def test_cidrs_are_those_of_netaddr(first: int, more: int) -> None:
    last = min(first + more, 2**32 - 1)
    wanted = [str(c).removesuffix("/32") for c in iprange_to_cidrs(IPAddress(first), IPAddress(last))]
    assert list(cidrs(4, [Interval(first, last)])) == wanted


def test_cidrs_of_everything() -> None:
    assert list(cidrs(4, everything(4))) == ["0.0.0.0/0"]
    assert list(cidrs(6, everything(6))) == ["::/0"]


def test_a_worker_refuses_its_governed_pods_and_podsubnets(tmp_path: Path) -> None:
    more = [pod("two", "web", "worker", "10.244.3.11"), pod("other", "web", "gw2", "10.244.2.9")]
    made = plans(tmp_path, "", policy("web", "10.6.1.61"), subnet_policy("10.250.0.0/25"), more=more)
    assert refused(made["worker"]) == ["10.244.3.10/31", "10.250.0.0/25"], "pods side by side are one rule"
    assert entered(made["worker"]) == ["10.244.3.0/24", "10.250.0.0/25"]
    assert refused(made["gw2"]) == ["iif egress.gateway", "iif egress.vxlan", "10.244.2.9", "10.250.0.0/25"]


def test_a_gateway_refuses_what_comes_to_its_gateway_role(tmp_path: Path) -> None:
    made = plans(tmp_path, "", policy("web", "10.6.1.61"))
    assert refused(made["gw1"]) == ["iif egress.gateway", "iif egress.vxlan"]
    assert [route.destination or route.via for route in routing.last_routes(made["gw1"]) if route.family == 4][-1]


def test_what_is_looked_at_and_what_hosts_send_goes_past_before_anything_else(tmp_path: Path) -> None:
    made = plans(tmp_path, "", policy("web", "10.6.1.61"))["worker"]
    rules = sorted((r for r in routing.last_rules(made) if r.family == 4), key=lambda rule: rule.preference)
    assert [(r.preference, r.mark, r.interface, r.goto) for r in rules[:2]] == [
        (100, 0x26000000, None, 104),
        (100, None, "lo", 104),
    ]
    assert [r.preference for r in rules][2:] == [101, 102, 103, 104]
    assert rules[-1].table is None
    assert rules[-1].goto is None


def test_nothing_governed_needs_no_last_resort(tmp_path: Path) -> None:
    made = plans(tmp_path, "", policy("web", "10.6.1.61"))["worker"]
    empty = Both[tuple[str, ...]]((), ())
    bare = replace(made, last_resort=replace(made.last_resort, sources=empty, ranges=empty))
    assert [*routing.last_rules(bare), *routing.last_routes(bare)] == []


def test_everywhere_is_two_halves(tmp_path: Path) -> None:
    made = plans(tmp_path, "", policy("web", "10.6.1.61"))["worker"]
    everywhere = Both[tuple[str, ...]](("0.0.0.0/0",), ())
    whole = replace(made, last_resort=replace(made.last_resort, sources=everywhere, ranges=everywhere))
    assert refused(whole) == ["0.0.0.0/1", "128.0.0.0/1"]
    assert entered(whole) == ["0.0.0.0/1", "128.0.0.0/1"]


def test_hosts_pass_by_and_do_not_cut_the_podsubnet_into_pieces(tmp_path: Path) -> None:
    """As the policies' sources they are taken out; here each hole would be a score of rules."""
    made = plans(tmp_path, "", subnet_policy("10.0.0.0/8"))["worker"]
    assert refused(made) == ["10.0.0.0/8"]
    past = [rule.source for rule in routing.last_rules(made) if rule.preference == 100 and rule.source]
    assert past == list(made.last_resort.hosts.ipv4)
    assert past
