"""members.json as a node reads it: what it gives, and that nothing damaged passes."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from egress_compiler.contract.members_file import MOST_NAMESPACES, MembersFile
from egress_compiler.contract.plan import Answer, Both
from egress_compiler.contract.reading import DamagedPlan
from egress_compiler.contract.selectors import LabelSelector, Requirement

TEXT = (Path(__file__).parents[1] / "golden" / "followed" / "bundle" / "members.json").read_text()
GONE = {"number": 9, "slot": 1, "origin": "EgressPolicy shop/old", "gone": True}
WITH_GONE = TEXT.replace(' "gone": [\n', f' "gone": [\n  {json.dumps(GONE, separators=(",", ":"))}\n')


def opened(text: str) -> MembersFile:
    return MembersFile(io.BytesIO(text.encode()))


def test_policies_come_by_namespace_in_their_order() -> None:
    members = opened(TEXT)
    assert [one.chain.name for one in members.of_namespace("shop")] == ["egcp.monitoring", "egp.shop.web", "egcp.batch"]
    assert [one.rank for one in members.of_namespace("shop")] == [0, 1, 2]
    assert [one.chain.name for one in members.of_namespace("other")] == ["egcp.monitoring", "egcp.batch"]
    assert [one.chain.name for one in members.whole] == ["egcp.pool"]
    assert members.whole[0].whole == Both(("10.1.1.64/26",), ())
    assert members.of_namespace("shop") is members.of_namespace("shop")


def test_a_policy_has_its_selectors_answer_and_chains() -> None:
    web = opened(TEXT).named("egp.shop.web")
    assert web is not None
    assert web.namespace == "shop"
    assert web.namespaces is None
    app, canary = Requirement("app", "In", frozenset({"web"})), Requirement("canary", "DoesNotExist")
    assert web.pods == LabelSelector((app, canary))
    wanted = Answer(4, 1, "EgressPolicy shop/web", Both("192.0.2.68", "2001:db8::67"))
    assert web.answer == wanted
    assert sorted(web.chains) == ["answer.4", "policy.egp.shop.web"]
    assert web.chains["policy.egp.shop.web"][:2] == ("ip daddr {", "\t198.51.100.0/24,")
    assert len(web.chains) == 2


def test_chains_are_found_by_their_names() -> None:
    members = opened(TEXT)
    assert members.lines("slot.1") == ("meta mark set meta mark & 0x00ffc000 | 0x26000001",)
    assert members.lines("waits.1")[1] == "update @without_gateway { meta mark & 0xff003fff }"
    assert members.lines("answer.4")[0] == "jump governed"
    assert members.lines("policy.egcp.batch")[0].startswith("meta nfproto ipv4 goto answer.1")
    assert members.slot(1).slot.falls_back
    members.check()


@pytest.mark.parametrize("chain", ["policy.nobody", "answer.77", "slot.9", "waits.x", "order.egp", "policy"])
def test_a_chain_that_it_has_not_is_damage(chain: str) -> None:
    with pytest.raises(DamagedPlan):
        opened(TEXT).lines(chain)


def test_gone_answers_and_unknown_names() -> None:
    members = opened(WITH_GONE)
    assert members.gone == [Answer(9, 1, "EgressPolicy shop/old", gone=True)]
    assert members.named("egp.shop.nobody") is None


def test_few_namespaces_are_kept() -> None:
    members = opened(TEXT)
    first = members.of_namespace("n0")
    for number in range(MOST_NAMESPACES + 1):
        members.of_namespace(f"n{number}")
    assert members.of_namespace("n0") is not first
    assert members.of_namespace("n0") == first


LINES = TEXT.splitlines()


def changed(number: int, edit: Callable[[str], str]) -> str:
    return "\n".join([*LINES[:number], edit(LINES[number]), *LINES[number + 1 :]]) + "\n"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("{}\n", id="another file"),
        pytest.param(TEXT.replace('"version": 1', '"version": 2'), id="another version"),
        pytest.param(TEXT[:400], id="cut in a line"),
        pytest.param("\n".join(LINES[:5]) + "\n", id="cut behind a line"),
        pytest.param("\n".join(LINES[:-1]) + "\n", id="without its end"),
        pytest.param(TEXT + "more\n", id="with more"),
        pytest.param(changed(3, lambda line: "  {},"), id="no policy"),
        pytest.param(changed(3, lambda line: line[:-10]), id="a line cut"),
        pytest.param(changed(4, lambda line: LINES[3]), id="a policy twice"),
        pytest.param(TEXT.replace(' "slots": [', ' "others": ['), id="another list"),
        pytest.param(changed(3, lambda line: line.replace("egcp.monitoring", "a b")), id="a name that is no chain's"),
        pytest.param(changed(3, lambda line: line.replace('"number":2,"slot"', '"number":"2","slot"')), id="no number"),
        pytest.param(changed(6, lambda line: line.replace("10.1.1.64/26", "10.1.1.64/99")), id="no address"),
        pytest.param(changed(3, lambda line: line.replace('"In"', '"Is"')), id="an unknown operator"),
    ],
)
def test_what_is_damaged_does_not_open(text: str) -> None:
    with pytest.raises(DamagedPlan):
        opened(text)


def _edited(edit: Callable[[dict[str, Any]], object], number: int = 4) -> str:
    """The second policy, or the slot, after an edit."""
    data = json.loads(LINES[number].rstrip(","))
    edit(data)
    tail = "," if LINES[number].endswith(",") else ""
    return changed(number, lambda line: "  " + json.dumps(data) + tail)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(_edited(lambda one: one["chains"].pop("answer.4")), id="a chain is missing"),
        pytest.param(_edited(lambda one: one["chains"].update(other=[])), id="a chain too many"),
        pytest.param(_edited(lambda one: one["chains"]["answer.4"].append("a\nb")), id="two lines in one"),
        pytest.param(_edited(lambda one: one["chains"]["answer.4"].append(1)), id="no text"),
        pytest.param(_edited(lambda one: one["answer"].update(slot=5)), id="a slot that there is not"),
        pytest.param(_edited(lambda one: one.update(cut=1)), id="no truth"),
        pytest.param(
            _edited(lambda one: one.update(pods=[{"key": "a", "operator": "In", "values": "b"}])), id="values"
        ),
        pytest.param(_edited(lambda one: one["chain"]["answers"].pop("ipv4")), id="no answers"),
        pytest.param(_edited(lambda one: one["chains"].pop("waits.1"), 9), id="a slot's chain is missing"),
        pytest.param(_edited(lambda one: one["slot"].update(tunnel_vips=["x"]), 9), id="a slot's address"),
    ],
)
def test_what_is_damaged_within_a_line_is_found_by_a_check(text: str) -> None:
    members = opened(text)
    with pytest.raises(DamagedPlan):
        members.check()
