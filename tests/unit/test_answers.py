"""Answer numbers: which are possible, who keeps one, and who gets the next."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from egress_compiler.allocate.answers import Answers, give_answers, possible_numbers
from egress_compiler.allocate.numbers import Exhausted
from egress_compiler.diagnostics import Collector, InvalidInput
from egress_compiler.load import load_settings, lock_text
from egress_compiler.model.settings import ForeignMark, Settings
from egress_compiler.pipeline import Analysis, Inputs, analyse
from egress_compiler.validate.schemas import schema
from tests.properties.strategies import document

SHARED = Path(__file__).parents[1] / "errors" / "shared"
RANGE = range(1, 10)


def test_by_default_no_number_matches_a_rule_of_kube_proxy_or_cilium() -> None:
    marks = Settings().foreign_marks
    possible = possible_numbers(marks)
    assert len(possible) == 11_262
    assert (possible[0], possible[-1]) == (1, 0x3FFE)
    taken = {number for number in range(1, 0x3FFF) if number & 0xF00 in (0x200, 0xA00, 0xB00, 0xD00, 0xE00)}
    assert taken.isdisjoint(possible)
    assert len(taken) + len(possible) == 0x3FFE


def test_the_schema_says_what_the_default_is(tmp_path: Path) -> None:
    default = schema("settings")["properties"]["foreignMarks"]["default"]
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump({"foreignMarks": default}))
    diagnostics = Collector()
    assert load_settings(tmp_path / "settings.yaml", diagnostics).foreign_marks == Settings().foreign_marks
    assert diagnostics.found == ()
    assert [str(mark) for mark in Settings().foreign_marks] == default


@pytest.mark.parametrize(
    ("mark", "matched"),
    [
        (ForeignMark(0x1, 0x1), 8191),
        (ForeignMark(0x200), 1),
        (ForeignMark(0x0, 0x3FF0), 15),
        (ForeignMark(0x0, 0xFFFF0000), 16_382),
        (ForeignMark(0x10000, 0x10000), 0),
        (ForeignMark(0x4000, 0x4000), 0),
    ],
)
def test_what_a_mark_takes_away(mark: ForeignMark, matched: int) -> None:
    assert len(possible_numbers([mark])) == 16_382 - matched


def test_who_had_a_number_keeps_it_and_new_ones_come_after_the_last() -> None:
    assert give_answers(["b", "a", "c"], {"c": 1, "gone": 3}, 3, RANGE) == Answers({"a": 4, "b": 5, "c": 1}, 5, ())


def test_after_the_end_the_free_ones_at_the_start_are_next() -> None:
    before = {"x": 9, "y": 2}
    assert give_answers(["a", "b", "x", "y"], before, 9, RANGE) == Answers({"a": 1, "b": 3, "x": 9, "y": 2}, 3, ())


def test_what_is_freed_now_is_handed_out_last_and_said() -> None:
    before = {"x": 2, "y": 3}
    assert give_answers(["a"], before, 1, RANGE) == Answers({"a": 4}, 4, ())
    assert give_answers(["a", "b"], before, 1, range(1, 4)) == Answers({"a": 1, "b": 2}, 2, ("b",))


def test_a_number_that_stands_twice_or_is_not_possible_is_given_anew() -> None:
    before = {"a": 4, "b": 4, "c": 12, "d": 5}
    answers = give_answers("abcd", before, 5, [number for number in RANGE if number != 5])
    assert answers == Answers({"a": 4, "b": 6, "c": 7, "d": 8}, 8, ())


@pytest.mark.parametrize("last", [None, 16_383, -1])
def test_without_a_cursor_the_highest_number_is_the_last(last: int | None) -> None:
    assert give_answers(["a", "new"], {"a": 7}, last, RANGE).numbers == {"a": 7, "new": 8}
    assert give_answers(["new"], {}, last, RANGE).numbers == {"new": 1}


def test_numbers_run_out() -> None:
    assert give_answers("abc", {}, 0, range(1, 4)).last == 3
    with pytest.raises(Exhausted, match="d"):
        give_answers("abcd", {"a": 2}, 2, range(1, 4))


@given(st.lists(st.sets(st.sampled_from("abcdefgh")), max_size=30))
def test_a_free_number_comes_back_only_after_all_others(runs: list[set[str]]) -> None:
    """It is handed out again after all that were free with it."""
    possible = [number for number in range(1, 40) if number % 4]
    before, last, had, count = dict[str, int](), 0, dict[int, int](), 0
    for run, keys in enumerate(runs):
        answers = give_answers(keys, before, last, possible)
        assert answers.numbers.keys() == keys
        assert len(set(answers.numbers.values())) == len(keys)
        assert set(answers.numbers.values()) <= set(possible)
        for key, number in answers.numbers.items():
            if key in before:
                assert number == before[key]
            else:
                # One round of the cursor: all numbers but those that 8 keys have, and had before this run.
                assert count - had.get(number, -len(possible)) >= len(possible) - 2 * 8
                had[number] = count
                count += 1
        assert answers.reused == (), run
        before, last = dict(answers.numbers), answers.last


# ------------------------------------------------------------------------------------------------------- in the lock


def _policies(*names: str, **egress_ip: Any) -> list[dict[str, Any]]:
    pool = {"ipv4": ["10.6.1.60-10.6.1.69"], "ipv6": ["fd00:6::60-fd00:6::69"]}
    selector = {"selector": {"matchLabels": {"egress": "true"}}}
    gateway = document("EgressGateway", "internet", {"ippools": pool, "nodeSelector": selector})
    spec = {"egressGatewayName": "internet", "appliedTo": {"podSelector": {"matchLabels": {"app": "web"}}}}
    spec |= {"egressIP": egress_ip} if egress_ip else {}
    return [gateway, *(document("EgressPolicy", name, spec, "shop") for name in names)]


class Repository:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock = path / "egress.lock.json"
        self.settings: str | None = None

    def run(self, documents: list[dict[str, Any]]) -> Analysis:
        (self.path / "policies.yaml").write_text("---\n".join(yaml.safe_dump(item) for item in documents))
        settings = self.path / "settings.yaml"
        settings.write_text(self.settings or "{}\n")
        inputs = Inputs((self.path / "policies.yaml",), (SHARED / "cluster.yaml",), settings=settings, lock=self.lock)
        made = analyse(inputs)
        self.lock.write_text(lock_text(made.allocation.lock))
        return made

    @property
    def answers(self) -> dict[str, int]:
        return dict(json.loads(self.lock.read_text())["answers"])


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path)


def test_a_number_is_a_policys_with_an_eip(repository: Repository) -> None:
    repository.run(_policies("web", "api"))
    assert repository.answers == {"EgressPolicy shop/api 10.6.1.60": 1, "EgressPolicy shop/web 10.6.1.60": 2}
    repository.run(_policies("web", ipv4="10.6.1.65"))
    assert repository.answers == {"EgressPolicy shop/web 10.6.1.65": 3}
    made = repository.run(_policies("web", useNodeIP=True))
    assert repository.answers == {"EgressPolicy shop/web nodeIP": 4}
    assert list(made.allocation.answers.values()) == [4]
    repository.run(_policies("web", ipv4="10.6.1.65"))
    assert repository.answers == {"EgressPolicy shop/web 10.6.1.65": 5}


def test_a_policy_without_pods_or_gateway_node_has_a_number(repository: Repository) -> None:
    documents = _policies("web")
    documents[0]["spec"]["nodeSelector"]["selector"]["matchLabels"] = {"no": "node"}
    documents[1]["spec"]["appliedTo"]["podSelector"]["matchLabels"] = {"no": "pod"}
    assert list(repository.run(documents).allocation.answers.values()) == [1]


def test_numbers_that_match_a_new_foreign_mark_move_and_are_named(repository: Repository) -> None:
    repository.run(_policies("a", "b", "c", "d"))
    before = repository.answers
    repository.settings = "foreignMarks: [0x8000/0x8000, 0x2/0x2]\n"
    made = repository.run(_policies("a", "b", "c", "d"))
    after = repository.answers
    assert list(before.values()) == [1, 2, 3, 4]
    assert list(after.values()) == [1, 5, 8, 4]
    (moved,) = [d for d in made.diagnostics if d.code == "lock-entry"]
    assert moved.message == (
        "2 answer numbers match the foreign mark 0x2/0x2: EgressPolicy shop/b 10.6.1.60 has 5 in place of 2 and "
        "EgressPolicy shop/c 10.6.1.60 has 8 in place of 3 from now on"
    )
    assert moved.position is not None
    assert moved.position.source.name.endswith("settings.yaml")
    assert (moved.position.line, moved.position.column) == (1, 31)
    again = repository.run(_policies("a", "b", "c", "d"))
    assert not [d for d in again.diagnostics if d.code == "lock-entry"]
    assert repository.answers == after


def test_more_policies_than_numbers(repository: Repository) -> None:
    bits = ", ".join(f"{1 << bit:#x}/{1 << bit:#x}" for bit in range(2, 14))
    repository.settings = f"foreignMarks: [{bits}]\n"
    repository.run(_policies("a", "b", "c"))
    with pytest.raises(InvalidInput) as caught:
        repository.run(_policies("a", "b", "c", "d"))
    (error,) = [d for d in caught.value.diagnostics if d.severity == "error"]
    assert error.message == "no answer number is left: 4 needed, 3 possible"
    assert error.position is not None
    assert (error.position.source.name.rpartition("/")[2], error.position.line) == ("settings.yaml", 1)
