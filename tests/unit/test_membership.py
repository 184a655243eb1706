"""What a node makes of the pods that it knows: a case a line."""

from __future__ import annotations

from dataclasses import replace

import pytest

from egress_compiler.contract.members import NOWHERE, MemberPolicy, MemberSlot
from egress_compiler.contract.membership import (
    BLOCKED,
    REFUSED,
    UNGOVERNED,
    WAITING,
    Known,
    KnownPod,
    order_name,
    selects,
    with_pods,
)
from egress_compiler.contract.membership_ruleset import script
from egress_compiler.contract.plan import Answer, Both, Follow, NodePlan, PolicyAnswer, PolicyChain, Slot, Source
from egress_compiler.contract.selectors import LabelSelector, Requirement
from tests.ruleset.plans import WORKER

WEB = LabelSelector((Requirement("app", "In", frozenset({"web"})),))
SHOP = LabelSelector((Requirement("team", "In", frozenset({"shop"})),))
EVERYTHING = LabelSelector(())
POD = KnownPod("shop", "web-1", "", {"app": "web"}, ("10.1.1.10", "fd00:1::a"))
SHOPS = {"shop": {"team": "shop"}}


def policy(rank: int, name: str, namespace: str = "", **fields: object) -> MemberPolicy:
    """Policy ``name`` with answer ``rank`` + 1."""
    given = PolicyAnswer((), rank + 1)
    chain = PolicyChain(name, f"EgressPolicy {name}", Both(given, given))
    made = MemberPolicy(rank, namespace, chain, Answer(rank + 1, 1, f"EgressPolicy {name}"), {})
    return replace(made, **fields)  # type: ignore[arg-type]  # any field of the class


def addresses(*texts: str) -> Both[tuple[str, ...]]:
    return Both(tuple(t for t in texts if ":" not in t), tuple(t for t in texts if ":" in t))


class Policies:
    """Members of a few policies; slot 1 falls back, and the others do not."""

    def __init__(self, *policies: MemberPolicy, gone: tuple[Answer, ...] = ()) -> None:
        self._policies = policies
        self.gone = gone

    def of_namespace(self, namespace: str) -> list[MemberPolicy]:
        return [one for one in self._policies if one.namespace in ("", namespace) and one.whole == NOWHERE]

    @property
    def whole(self) -> list[MemberPolicy]:
        return [one for one in self._policies if one.whole != NOWHERE]

    def named(self, name: str) -> MemberPolicy | None:
        return next((one for one in self._policies if one.chain.name == name), None)

    def slot(self, number: int) -> MemberSlot:
        return MemberSlot(Slot(number, "edge", f"gate-{number}", ("172.31.255.254",), number == 1), {})


def plan_of(*refused: str) -> NodePlan:
    plan = WORKER
    subnets = addresses(*refused)
    sources = Both(*(tuple(Source(text, REFUSED, "unknownPods") for text in subnets.of(f)) for f in (4, 6)))
    nothing = replace(plan.worker, pods=Both((), ()), subnets=sources, policies=(), orders=(), answers=(), slots=())
    last = replace(plan.last_resort, ranges=addresses("10.1.1.0/24"), sources=NOWHERE)
    return replace(plan, worker=nothing, last_resort=last, follow=Follow(), cut=())


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({"pods": WEB, "namespace": "shop"}, True),
        ({"pods": WEB, "namespace": "other"}, False),
        ({"pods": EVERYTHING, "namespace": "shop"}, True),
        ({"pods": WEB}, True),
        ({"pods": SHOP}, False),
        ({"pods": WEB, "namespaces": SHOP}, True),
        ({"pods": WEB, "namespaces": WEB}, False),
        ({"pods": WEB, "namespaces": EVERYTHING}, True),
        ({"within": addresses("10.1.1.0/24")}, True),
        ({"within": addresses("10.1.1.10")}, True),
        ({"within": addresses("10.1.1.11-10.1.1.20")}, False),
        ({"within": addresses("fd00:1::/64")}, True),
        ({"within": addresses("10.1.1.0/24"), "namespaces": WEB}, False),
        ({"whole": addresses("10.1.1.0/24")}, False),
    ],
)
def test_a_policy_selects_a_pod_or_not(fields: dict[str, object], wanted: bool) -> None:
    namespace = str(fields.pop("namespace", ""))
    assert selects(policy(0, "one", namespace, **fields), POD, Known((POD,), SHOPS)) == wanted


def test_a_pod_of_a_namespace_that_nobody_knows_is_in_none_that_is_selected() -> None:
    assert not selects(policy(0, "one", pods=WEB, namespaces=SHOP), POD, Known((POD,), {}))
    assert selects(policy(0, "one", pods=WEB, namespaces=EVERYTHING), POD, Known((POD,), {}))


@pytest.mark.parametrize(
    ("policies", "known", "chains"),
    [
        pytest.param([], Known((POD,), SHOPS), {}, id="no policy"),
        pytest.param(
            [policy(0, "a", pods=WEB)], Known((POD,), SHOPS), {"10.1.1.10": "a", "fd00:1::a": "a"}, id="one policy"
        ),
        pytest.param(
            [policy(0, "a", pods=WEB), policy(1, "b", "shop", pods=WEB)],
            Known((POD,), SHOPS),
            dict.fromkeys(["10.1.1.10", "fd00:1::a"], order_name(["a", "b"], ["EgressPolicy a", "EgressPolicy b"])),
            id="two policies in their order",
        ),
        pytest.param(
            [policy(0, "a", whole=addresses("10.1.0.0/16")), policy(1, "b", pods=WEB)],
            Known((POD,), SHOPS),
            {"10.1.1.10": order_name(["a", "b"], ["EgressPolicy a", "EgressPolicy b"]), "fd00:1::a": "b"},
            id="a subnet where it is one of the pod's addresses",
        ),
        pytest.param(
            [policy(0, "a", whole=addresses("10.1.0.0/16"))], Known((POD,), SHOPS), {}, id="a subnet alone is no pod's"
        ),
        pytest.param(
            [policy(0, "a", whole=addresses("10.8.0.0/16"))],
            Known((replace(POD, addresses=("10.8.0.1", "10.1.1.10")),), SHOPS),
            {"10.8.0.1": "a"},
            id="a subnet that the node has not, as the pod is from elsewhere",
        ),
        pytest.param([], Known(waiting=("10.1.1.10",)), {"10.1.1.10": BLOCKED}, id="waits"),
        pytest.param(
            [policy(0, "a", pods=WEB)],
            Known((POD,), SHOPS, waiting=("10.1.1.10",)),
            {"10.1.1.10": "a", "fd00:1::a": "a"},
            id="known is stronger than waiting",
        ),
        pytest.param(
            [policy(0, "a", pods=WEB)],
            Known((POD, KnownPod("shop", "db-1", "", {}, ("10.1.1.10",))), SHOPS),
            {"fd00:1::a": "a"},
            id="of two pods with an address the later one has it",
        ),
    ],
)
def test_the_sources_of_a_node(policies: list[MemberPolicy], known: Known, chains: dict[str, str]) -> None:
    plan = plan_of()
    near = [one for one in policies if "10.1.0.0/16" in one.whole.ipv4]
    subnets = Both(tuple(Source("10.1.0.0/16", one.chain.name, "podSubnet") for one in near), ())
    plan = replace(plan, worker=replace(plan.worker, subnets=subnets))
    worker = with_pods(plan, Policies(*policies), known).worker
    pods = (*worker.pods.ipv4, *worker.pods.ipv6)
    assert {source.source: source.chain for source in pods} == chains
    owners = {WAITING} if BLOCKED in chains.values() else {"shop/web-1"}
    assert {source.owner for source in pods} <= owners


def test_where_unknown_pods_are_refused_a_known_one_without_a_policy_is_let_go() -> None:
    plan = with_pods(plan_of("10.1.1.0/24"), Policies(), Known((POD,), SHOPS))
    assert plan.worker.pods == Both((Source("10.1.1.10", UNGOVERNED, "shop/web-1"),), ())
    assert plan.last_resort == plan_of().last_resort


def test_answers_and_slots_come_with_policies_and_stay_while_they_are_kept() -> None:
    gone = (Answer(9, 2, "EgressPolicy old", gone=True), Answer(8, 1, "EgressPolicy older", gone=True))
    members = Policies(policy(0, "a", pods=WEB), policy(1, "b", pods=SHOP, answer=Answer(2, 3, "b")), gone=gone)
    now = with_pods(plan_of(), members, Known((POD,), SHOPS)).worker
    assert [answer.number for answer in now.answers] == [1, 8]
    assert [slot.number for slot in now.slots] == [1]
    kept = with_pods(plan_of(), members, Known(kept=frozenset({"a", "b", "never"}))).worker
    assert [answer.number for answer in kept.answers] == [1, 2, 8]
    assert [slot.number for slot in kept.slots] == [1, 3]
    assert kept.policies == ()
    assert kept.pods == Both((), ())


def test_the_last_resort_has_each_governed_pod_and_strays_as_ranges() -> None:
    stray = KnownPod("shop", "web-2", "", {"app": "web"}, ("10.9.0.1",))
    last = with_pods(plan_of(), Policies(policy(0, "a", pods=WEB)), Known((POD, stray), SHOPS)).last_resort
    assert last.sources == addresses("10.1.1.10", "10.9.0.1", "fd00:1::a")
    assert last.ranges == addresses("10.1.1.0/24", "10.9.0.1", "fd00:1::a")


def test_a_policy_that_cuts_is_told_while_a_pod_meets_it() -> None:
    members = Policies(policy(0, "a", pods=WEB, cut=True))
    assert with_pods(plan_of(), members, Known((POD,), SHOPS)).cut == ("EgressPolicy a",)
    assert with_pods(plan_of(), members, Known(kept=frozenset({"a"}))).cut == ()


def test_the_name_of_an_order_says_the_first_and_stays_short() -> None:
    names = ["egp.shop." + "x" * 100, "egp.shop.b"]
    name = order_name(names, ["one", "two"])
    assert name.startswith("egp.shop.xxx")
    assert "_and1_" in name
    assert len(name) <= 80
    assert order_name(names, ["one", "three"]) != name


# ------------------------------------------------------------------------------------------------- the nft commands

CHAINS = {
    "policy.a": ["meta nfproto ipv4 goto answer.1"],
    "policy.b": ["ip daddr {", "\t203.0.113.0/24,", "} goto answer.2"],
    "answer.1": ["jump slot.1", "accept"],
    "answer.2": ["jump slot.1", "accept"],
    "slot.1": ["meta mark set 1"],
    "waits.1": ["meta mark set 1"],
}
ONE = policy(0, "a", pods=WEB)
TWO = policy(1, "b", pods=LabelSelector((Requirement("tier", "Exists"),)))


def commands(before: Known, after: Known) -> str:
    members = Policies(ONE, TWO)
    old, new = (with_pods(plan_of(), members, known) for known in (before, after))
    return script(old, new, CHAINS.__getitem__)


def test_nothing_new_is_no_command() -> None:
    assert commands(Known((POD,), SHOPS), Known((POD,), {})) == ""


FOUR = replace(POD, addresses=("10.1.1.10",))


def test_the_first_pod_brings_its_chains_before_its_element() -> None:
    assert commands(Known(), Known((FOUR,), SHOPS)) == (
        "table inet egress_gateway {\n"
        "\tchain waits.1 {\n\t\tmeta mark set 1\n\t}\n"
        "\tchain slot.1 {\n\t\tmeta mark set 1\n\t}\n"
        "\tchain answer.1 {\n\t\tjump slot.1\n\t\taccept\n\t}\n"
        "\tchain policy.a {\n\t\tmeta nfproto ipv4 goto answer.1\n\t}\n"
        "}\n"
        "add element inet egress_gateway governed_pods4 { 10.1.1.10 : goto policy.a }\n"
        "add element inet egress_gateway answer_slots { 0x26000001 : goto slot.1 }\n"
        "add element inet egress_gateway answers_that_fall_back { 0x26000001 : jump waits.1 }\n"
    )


def test_the_last_pod_takes_its_chains_along_but_not_what_is_kept() -> None:
    assert commands(Known((FOUR,), SHOPS), Known(kept=frozenset({"a"}))) == (
        "delete element inet egress_gateway governed_pods4 { 10.1.1.10 : goto policy.a }\n"
        "flush chain inet egress_gateway policy.a\n"
        "delete chain inet egress_gateway policy.a\n"
    )


def test_other_labels_change_the_verdict_in_one_transaction() -> None:
    both = replace(FOUR, labels={"app": "web", "tier": "1"})
    found = commands(Known((FOUR,), SHOPS), Known((both,), SHOPS)).splitlines()
    order = order_name(["a", "b"], ["EgressPolicy a", "EgressPolicy b"])
    start = found.index("delete element inet egress_gateway governed_pods4 { 10.1.1.10 : goto policy.a }")
    assert found[start + 1] == f"add element inet egress_gateway governed_pods4 {{ 10.1.1.10 : goto order.{order} }}"
    assert f"\tchain order.{order} {{" in found[:start]
    assert "\t\t\t203.0.113.0/24," in found[:start]
