"""Who waits at the gate, for what, and how long; the clock is the test's."""

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.egress.gateway.plugins.module_utils.contract.plan import Follow, Gate
from ansible_collections.egress.gateway.plugins.module_utils.follow.reflector import Change
from ansible_collections.egress.gateway.plugins.module_utils.follower.facts import Facts
from ansible_collections.egress.gateway.plugins.module_utils.follower.gate import BadRequest, GateKeeper

from tests.unit.test_follower_facts import A, B, Nobody, facts, owners, pod

ADD: dict[str, Any] = {"do": "add", "namespace": "shop", "name": "web", "uid": "u-web"}


class Keeper:
    """``apply`` brings into force what is known, as the follower does after each request."""

    def __init__(self, facts: Facts, spool: Path, gate: Gate | None) -> None:
        self.now = 100.0
        self.facts = facts
        self.changes = 0
        self.follow = Follow(gate=gate)
        self.gate = GateKeeper(facts, spool, self._changed, lambda: self.now, lambda: self.now)
        self.apply()

    def _changed(self) -> None:
        self.changes += 1

    def apply(self) -> None:
        self.gate.settle(self.gate.revision, self.facts.known(Nobody(), frozenset()), self.follow)

    def ask(self, **request: Any) -> list[Any]:
        """The answers that come, sooner or later."""
        answers: list[Any] = []
        self.gate.ask(json.dumps(request).encode(), answers.append)
        return answers

    def add(self, container: str = "c1", address: str = A, **more: Any) -> list[Any]:
        return self.ask(**{**ADD, "container": container, "addresses": [address], **more})

    def later(self, seconds: float) -> float | None:
        self.now += seconds
        return self.gate.expire()

    def tell(self, *names: str) -> None:
        self.facts.pods_changed([Change(None, pod(name)) for name in names], self.now)
        self.apply()


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    path = tmp_path / "spool"
    path.mkdir()
    return path


@pytest.fixture
def keeper(spool: Path) -> Keeper:
    return Keeper(facts(), spool, Gate(5, "fail", ("kube-system",)))


@pytest.fixture
def blocking(spool: Path) -> Keeper:
    return Keeper(facts(), spool, Gate(5, "block", ("kube-system",)))


def test_add_is_answered_when_the_pod_is_known_and_in_force(keeper: Keeper) -> None:
    answers = keeper.add()
    keeper.apply()
    assert answers == []
    keeper.tell("web")
    assert answers == [{"ok": True}]
    assert owners(keeper.facts) == {A: "web"}


def test_what_is_known_but_not_in_force_is_no_answer(keeper: Keeper) -> None:
    keeper.tell("web")
    answers = keeper.add()
    keeper.gate.settle(keeper.gate.revision - 1, keeper.facts.known(Nobody(), frozenset()), keeper.follow)
    assert answers == []
    keeper.apply()
    assert answers == [{"ok": True}]


def test_who_is_not_known_in_time_fails_and_has_nothing_left(keeper: Keeper) -> None:
    keeper.gate.problem = "GET /api/v1/pods: nobody answers"
    answers = keeper.add()
    assert keeper.later(4.0) == pytest.approx(1.0)
    assert answers == []
    keeper.later(1.0)
    assert answers == [{"ok": False, "reason": "GET /api/v1/pods: nobody answers"}]
    keeper.tell("web")
    assert owners(keeper.facts) == {}


def test_or_starts_blocked_until_it_is_known(blocking: Keeper) -> None:
    answers = blocking.add()
    blocking.later(5.0)
    assert answers == []
    assert blocking.facts.known(Nobody(), frozenset()).waiting == (A,)
    blocking.apply()
    assert answers == [{"ok": True, "blocked": True}]
    blocking.tell("web")
    known = blocking.facts.known(Nobody(), frozenset())
    assert known.waiting == ()
    assert owners(blocking.facts) == {A: "web"}


def test_one_that_is_known_while_it_is_being_blocked_is_not_blocked(blocking: Keeper) -> None:
    answers = blocking.add()
    blocking.later(5.0)
    blocking.tell("web")
    assert answers == [{"ok": True}]


def test_blocking_that_does_not_come_into_force_fails(blocking: Keeper) -> None:
    answers = blocking.add()
    blocking.later(5.0)
    blocking.gate.problem = "nft: no"
    blocking.later(5.0)
    assert answers == [{"ok": False, "reason": "nft: no"}]


@pytest.mark.parametrize("namespace", ["kube-system", "free"])
def test_namespaces_that_never_wait(keeper: Keeper, namespace: str) -> None:
    answers = keeper.add(namespace=namespace)
    keeper.apply()
    assert answers == [{"ok": True}]


def test_an_exempt_pod_still_takes_its_address_from_who_had_it(keeper: Keeper) -> None:
    keeper.facts.pods_changed([Change(None, pod("old", A))], 1.0)
    keeper.add(namespace="kube-system")
    keeper.apply()
    assert owners(keeper.facts) == {}


def test_delete_is_answered_when_it_is_out_of_the_kernel(keeper: Keeper) -> None:
    keeper.tell("web")
    keeper.add()
    keeper.apply()
    answers = keeper.ask(do="delete", container="c1", addresses=[A])
    assert (answers, owners(keeper.facts)) == ([], {})
    keeper.apply()
    assert answers == [{"ok": True}]


def test_delete_while_add_waits(keeper: Keeper) -> None:
    added, deleted = keeper.add(), keeper.ask(do="delete", container="c1", addresses=[A])
    keeper.apply()
    assert (len(added), deleted) == (1, [{"ok": True}])
    keeper.tell("web")
    assert owners(keeper.facts) == {}


def test_check_and_status(keeper: Keeper) -> None:
    assert keeper.ask(do="status") == [{"ok": True}]
    assert keeper.ask(do="check", container="c1", addresses=[A]) == [
        {"ok": False, "reason": "no pod is known with 10.1.0.1"}
    ]
    keeper.tell("web")
    keeper.add()
    keeper.apply()
    assert keeper.ask(do="check", container="c1", addresses=[A]) == [{"ok": True}]
    keeper.gate.problem = "403"
    assert keeper.ask(do="status") == [{"ok": False, "reason": "403"}]


def test_collecting(keeper: Keeper) -> None:
    keeper.tell("web")
    keeper.add()
    keeper.apply()
    answers = keeper.ask(do="gc", containers=["other"])
    keeper.apply()
    assert (answers, owners(keeper.facts)) == ([{"ok": True}], {})


def test_what_plugins_left_is_taken_in_its_order(keeper: Keeper, spool: Path) -> None:
    keeper.tell("web", "api")
    keeper.facts.pods_changed([Change(pod("api"), pod("api", B))], 1.0)
    blocked = {**ADD, "name": "x", "uid": "u-x", "container": "c1", "addresses": [A], "blocked": True}
    (spool / f"{2 * 10**9:020d}-7.json").write_text(json.dumps(blocked))
    (spool / f"{3 * 10**9:020d}-7.json").write_text(json.dumps({"do": "delete", "container": "", "addresses": [B]}))
    (spool / f"{4 * 10**9:020d}-7.json").write_text("{")
    (spool / f".{5 * 10**9:020d}-7.json").write_text("not finished")
    answers = keeper.ask(do="spool")
    keeper.apply()
    assert answers == [{"ok": True}]
    assert keeper.facts.known(Nobody(), frozenset()).waiting == (A,)
    assert owners(keeper.facts) == {}
    assert [path.name[0] for path in spool.iterdir()] == ["."]


@pytest.mark.parametrize(
    "line",
    [
        "",
        "[]",
        "1",
        '{"do": "dance"}',
        '{"do": "add", "container": 1}',
        json.dumps({**ADD, "container": "c", "addresses": ["10.1.0.1; flush ruleset"]}),
        json.dumps({**ADD, "container": "c", "addresses": "10.1.0.1"}),
        json.dumps({**ADD, "container": "c", "addresses": [A], "uid": []}),
        '{"do": "delete", "container": null, "addresses": []}',
        '{"do": "gc", "containers": [1]}',
        "[" * 5000,
    ],
)
def test_what_is_no_request(keeper: Keeper, line: str) -> None:
    with pytest.raises(BadRequest):
        keeper.gate.ask(line.encode(), lambda reply: None)
    assert owners(keeper.facts) == {}
