"""Each feature's part of the table, from a small plan, as it is recorded; and the whole table before nft."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from egress_compiler.contract.plan import NodePlan
from egress_compiler.ruleset import Written, ruleset, write
from egress_compiler.ruleset.fallback import fallback
from egress_compiler.ruleset.guards import guards
from egress_compiler.ruleset.icmp_errors import icmp_errors
from egress_compiler.ruleset.model import Feature
from egress_compiler.ruleset.neighbours import neighbours
from egress_compiler.ruleset.own_slots import own_slots
from egress_compiler.ruleset.replies import replies
from egress_compiler.ruleset.segment_size import segment_size
from egress_compiler.ruleset.steering import steering
from egress_compiler.ruleset.translation import translation
from egress_compiler.ruleset.uplinks import uplinks
from egress_compiler.ruleset.zones import zones
from tests.ruleset import plans
from tests.ruleset.plans import DIRECT, FALLING_BACK, FOLLOWING, GATEWAY, IDLE, ONCE, RETURNING, TWO_UPLINKS, WORKER

RECORDED = Path(__file__).parent / "features"
DESCRIPTIONS = {plans.REST: "Whoever has no policy of its own"}


@dataclass(frozen=True)
class Case:
    """What is shown: ``only`` these chains and sets, or all of the feature's; ``more`` are parts of others with it."""

    plan: NodePlan
    feature: Feature
    only: tuple[str, ...] = ()
    more: tuple[str, ...] = ()


def _steering(plan: NodePlan, *only: str) -> Case:
    return Case(plan, steering(plan, DESCRIPTIONS), only)


CASES: Mapping[str, Case] = {
    "sources": _steering(WORKER, "governed_pods4", "governed_subnets4", "pod_ranges4", "classify"),
    "policies": _steering(WORKER, f"order.{plans.BOTH_POLICIES}", "policy.egp.shop.web", "policy.egcp.rest", "blocked"),
    "answers": _steering(WORKER, "prerouting", "answer.3", "governed", "slot.1", "answer_slots", "adopt", "looked_at"),
    "answers-gone": _steering(ONCE, "answer_slots"),
    "into-the-tunnel": _steering(WORKER, "forward", "to_gateway", "outer", "postrouting", "keep_source", "guard"),
    "nothing-governed": _steering(IDLE, "prerouting", "forward", "guard"),
    "following": _steering(FOLLOWING, "prerouting", "adopt", "answer_slots", "pod_ranges6", "governed", "blocked"),
    "following-fallback": Case(FOLLOWING, fallback(FOLLOWING)),
    "following-icmp-errors": Case(FOLLOWING, icmp_errors(FOLLOWING)),
    "direct": _steering(DIRECT, "policy.egcp.rest", "direct"),
    "own-slots": Case(GATEWAY, own_slots(GATEWAY), more=("slot.1",)),
    "zones": Case(GATEWAY, zones(GATEWAY)),
    "translation": Case(GATEWAY, translation(GATEWAY)),
    "uplinks": Case(TWO_UPLINKS, uplinks(TWO_UPLINKS), more=("from_worker",)),
    "replies": Case(RETURNING, replies(RETURNING), more=("arrived", "to_own_pod")),
    "fallback": Case(FALLING_BACK, fallback(FALLING_BACK), more=("answer.3",)),
    "guards-of-a-worker": Case(WORKER, guards(WORKER)),
    "guards-of-a-gateway": Case(GATEWAY, guards(GATEWAY)),
    "segment-size": Case(WORKER, segment_size(WORKER)),
    "icmp-errors": Case(WORKER, icmp_errors(WORKER)),
    "neighbours": Case(GATEWAY, neighbours(GATEWAY)),
}


@pytest.mark.parametrize("name", CASES)
def test_a_feature_is_as_recorded(name: str, update_golden: bool) -> None:
    case = CASES[name]
    text = "\n".join(_shown(case))
    recorded = RECORDED / f"{name}.nft"
    if update_golden:
        recorded.write_text(text)
    assert recorded.read_text() == text, f"{recorded} differs; 'make golden' rewrites it"


def test_nothing_is_recorded_that_is_no_case() -> None:
    assert {path.stem for path in RECORDED.iterdir()} == CASES.keys()


@pytest.mark.parametrize(
    "feature", [replies, zones, translation, uplinks, own_slots, fallback, neighbours], ids=lambda made: made.__name__
)
def test_who_needs_nothing_of_a_feature_has_nothing_of_it(feature: object) -> None:
    assert callable(feature)
    assert feature(WORKER) == Feature()


def test_only_where_something_is_steered_errors_take_the_pods_path() -> None:
    assert icmp_errors(IDLE) == Feature()


@pytest.mark.lab
@pytest.mark.parametrize("name", CASES)
def test_nft_takes_the_whole_table(name: str) -> None:
    text = write(ruleset(CASES[name].plan, DESCRIPTIONS)).text
    command = ["unshare", "--net", "nft", "--check", "--file", "-"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), text


def _shown(case: Case) -> Iterator[str]:
    """The parts one after the other, as they stand in the table; of base chains the feature's rules alone."""
    written = write(ruleset(case.plan, DESCRIPTIONS))
    feature, blocks = case.feature, _blocks(written.text)
    sets = [item.name for item in feature.sets]
    names = [*sets, *feature.base, *(chain.name for chain in feature.chains), *case.more]
    assert set(case.only) <= set(names)
    for name in case.only or names:
        if name in feature.base:
            yield from _base(written, feature, name)
        else:
            yield from (line.removeprefix("\t") for line in blocks[name])
        yield ""


def _base(written: Written, feature: Feature, name: str) -> Iterator[str]:
    base = next(base for base, _ in written.ruleset.base if base.name == name)
    yield f"chain {name} {{"
    yield f"\ttype {base.type} hook {base.hook} priority {base.priority}; policy accept;"
    yield from (f"\t{place.text}" for rule, place in written.rules(name) if rule in feature.base[name])
    yield "}"


def _blocks(text: str) -> dict[str, list[str]]:
    """The sets and chains of the text with the comments above them, by name."""
    found: dict[str, list[str]] = {}
    above: list[str] = []
    _, _, table = text.partition("table inet egress_gateway {\n")
    for line in table.splitlines():
        above.append(line)
        if line == "\t}":
            opened = next(one for one in above if one.startswith(("\tset ", "\tmap ", "\tchain ")))
            found[opened.split()[1]] = above
        if not line or line == "\t}":
            above = []
    return found
