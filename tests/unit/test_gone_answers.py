"""Answers that no policy gives any more: which the lock keeps, and where they go."""

import json
import tempfile
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from egress_compiler.allocate.gone import MAX_GONE, Left, gone_locks
from egress_compiler.contract.plan import Translation
from egress_compiler.model.lock import GoneLock, Lock, PolicyLock
from egress_compiler.pipeline import Compilation, Inputs, compile_bundle
from tests.properties.search import examples
from tests.properties.strategies import document

CLUSTER = Path(__file__).parents[1] / "errors" / "shared" / "cluster.yaml"
NUMBERS = range(1, 1000)
HERE = Left("g", "10.6.1.60", "", "")


def entry(number: int, left: Left = HERE) -> GoneLock:
    return GoneLock(number, *left)


def lock(answers: dict[str, int], gone: dict[str, GoneLock] | None = None) -> Lock:
    policies = {key.rpartition(" ")[0]: PolicyLock(*HERE) for key in answers}
    return Lock(policies=policies, answers=answers, gone=gone or {})


def test_what_is_given_no_more_stays_while_somebody_leaves_with_the_same() -> None:
    before = lock({"P a/one 10.6.1.60": 1, "P a/two 10.6.1.60": 2})
    given = {"P a/two 10.6.1.60": 2}
    assert gone_locks(before, given, 2, NUMBERS, {HERE}) == {"P a/one 10.6.1.60": entry(1)}
    assert gone_locks(before, given, 2, NUMBERS, {Left("other", *HERE[1:])}) == {}
    again = lock(given, {"P a/one 10.6.1.60": entry(1)})
    assert gone_locks(again, given, 2, NUMBERS, {HERE}) == again.gone
    assert gone_locks(again, {**given, "P a/one 10.6.1.60": 1}, 2, NUMBERS, {HERE}) == {}, "it came back"
    assert gone_locks(again, {"P a/new 10.6.1.60": 1}, 1, NUMBERS, {HERE}) == {"P a/two 10.6.1.60": entry(2)}
    assert gone_locks(again, given, 2, range(2, 9), {HERE}) == {}, "a foreign mark matches it now"


def test_one_of_two_with_a_number_is_left_out() -> None:
    before = lock({}, {"P a/one 10.6.1.60": entry(7), "P a/two 10.6.1.60": entry(7)})
    assert gone_locks(before, {}, 7, NUMBERS, {HERE}) == {"P a/one 10.6.1.60": entry(7)}


@pytest.mark.parametrize(("last", "first"), [(150, 51), (20, 0)])
def test_of_many_those_stay_whose_numbers_were_handed_out_last(last: int, first: int) -> None:
    before = lock({f"P a/p{number} 10.6.1.60": number for number in range(1, 151)})
    kept = {entry.number for entry in gone_locks(before, {}, last, NUMBERS, {HERE}).values()}
    expected = set(range(first, 151)) if first else {*range(1, 21), *range(71, 151)}
    assert (len(kept), kept) == (MAX_GONE, expected)


POOL = {"ippools": {"ipv4": ["10.6.1.60-10.6.1.69"]}, "nodeSelector": {"selector": {"matchLabels": {"egress": "true"}}}}


def compiled(directory: Path, eips: dict[str, str], before: str | None = None) -> Compilation:
    """Policies by name, each with its EIP, and all about the same pods."""
    policies = [
        document(
            "EgressPolicy",
            name,
            {
                "egressGatewayName": "g",
                "egressIP": {"ipv4": eip},
                "appliedTo": {"podSubnet": ["10.244.3.0/24"]},
                "destSubnet": [f"192.0.2.{number}/32"],
            },
            "shop",
        )
        for number, (name, eip) in enumerate(sorted(eips.items()))
    ]
    file, lock_path = directory / "policies.yaml", directory / "egress.lock.json"
    file.write_text("---\n".join(yaml.safe_dump(item) for item in [document("EgressGateway", "g", POOL), *policies]))
    if before is not None:
        lock_path.write_text(before)
    return compile_bundle(Inputs((file,), (CLUSTER,), lock=lock_path))


def test_open_connections_of_a_changed_policy_find_slot_and_eip(tmp_path: Path) -> None:
    first = compiled(tmp_path, {"web": "10.6.1.60", "api": "10.6.1.60"})
    number = json.loads(first.lock_text)["answers"]["EgressPolicy shop/web 10.6.1.60"]
    second = compiled(tmp_path, {"web": "10.6.1.61", "api": "10.6.1.60"}, first.lock_text)
    assert json.loads(second.lock_text)["gone"] == {
        "EgressPolicy shop/web 10.6.1.60": {"number": number, "gateway": "g", "ipv4": "10.6.1.60"}
    }
    workers = [plan for plan in second.plans if plan.worker.answers]
    gateways = [plan for plan in second.plans if plan.gateway is not None]
    assert workers
    assert gateways
    for plan in workers:
        kept = {answer.number: answer for answer in plan.worker.answers}[number]
        assert (kept.gone, kept.origin, kept.addresses.of(4)) == (True, "EgressPolicy shop/web", "10.6.1.60")
        assert kept.slot in {slot.number for slot in plan.worker.slots}
        ruleset = second.files[f"nodes/{plan.node}/nftables.nft"]
        assert f"0x{0x26000000 | number:08x} : goto slot.{kept.slot}" in ruleset
        assert f"answer.{number} " not in ruleset, "no new connection gets it"
        assert "EgressPolicy shop/web, once" in ruleset
    for plan in gateways:
        assert f"0x{number:08x} : 10.6.1.60" in second.files[f"nodes/{plan.node}/nftables.nft"]
    again = compiled(tmp_path, {"web": "10.6.1.61", "api": "10.6.1.60"}, second.lock_text)
    assert (again.lock_text, again.files) == (second.lock_text, second.files)
    back = compiled(tmp_path, {"web": "10.6.1.60", "api": "10.6.1.60"}, second.lock_text)
    assert json.loads(back.lock_text)["answers"] == json.loads(first.lock_text)["answers"]
    alone = compiled(tmp_path, {"web": "10.6.1.61"}, second.lock_text)
    assert "gone" not in json.loads(alone.lock_text)


EIPS = st.sampled_from(["10.6.1.60", "10.6.1.61", "10.6.1.62"])


@examples(15)
@given(runs=st.lists(st.dictionaries(st.sampled_from(["a", "b", "c"]), EIPS, min_size=1), min_size=2, max_size=5))
def test_whatever_changes_a_number_means_the_eip_that_it_meant_as_long_as_somebody_has_that(
    runs: list[dict[str, str]],
) -> None:
    meant: dict[int, str] = {}
    lock = None
    with tempfile.TemporaryDirectory() as directory:
        for eips in runs:
            made = compiled(Path(directory), eips, lock)
            lock = made.lock_text
            used = {*eips.values()}
            meant = {number: eip for number, eip in meant.items() if eip in used}
            meant |= {made.allocation.answers[ref]: eips[ref.name] for ref in made.allocation.answers}
            for plan in made.plans:
                if plan.gateway is not None:
                    assert {t.number: t.addresses.of(4) for t in plan.gateway.translations} == meant
                slots = {answer.slot for answer in plan.worker.answers if not answer.gone}
                given_here = {answer.number: answer.slot for answer in plan.worker.answers}
                leads = {t.number: t.slot for t in translations_of(made)}
                assert given_here.items() <= leads.items()
                gone = {n for n in meant if n not in made.allocation.answers.values()}
                gone &= {n for n in gone if (slots and plan.gateway is not None) or leads[n] in slots}
                assert gone <= given_here.keys()


def translations_of(made: Compilation) -> list[Translation]:
    return [t for plan in made.plans if plan.gateway is not None for t in plan.gateway.translations]


def test_a_number_of_somebody_else_is_forgotten_aloud(tmp_path: Path) -> None:
    first = compiled(tmp_path, {"web": "10.6.1.60"})
    lock = json.loads(first.lock_text)
    lock["gone"] = {"EgressPolicy shop/old 10.6.1.60": {"number": 1, "gateway": "g", "ipv4": "10.6.1.60"}}
    made = compiled(tmp_path, {"web": "10.6.1.60"}, json.dumps(lock))
    assert "gone" not in json.loads(made.lock_text)
    (said,) = [d.message for d in made.diagnostics if d.code == "lock-entry"]
    assert said == (
        "the number 1 of EgressPolicy shop/old 10.6.1.60, which is gone, is EgressPolicy shop/web 10.6.1.60's: "
        "it is forgotten"
    )
