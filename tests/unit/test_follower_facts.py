"""What a node knows of its pods by what the API and the gate have told, in any order."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.egress.gateway.plugins.module_utils.contract.membership import Known, KnownPod
from ansible_collections.egress.gateway.plugins.module_utils.follow.pods import Namespace, Pod
from ansible_collections.egress.gateway.plugins.module_utils.follow.reflector import Change
from ansible_collections.egress.gateway.plugins.module_utils.follower.claims import Claims, Container
from ansible_collections.egress.gateway.plugins.module_utils.follower.facts import Facts, namespaces_of, pods_of

A, B = "10.1.0.1", "10.1.0.2"


class Nobody:
    """Members of no policy."""

    whole: Sequence[Any] = ()
    gone: Sequence[Any] = ()

    def of_namespace(self, namespace: str) -> Sequence[Any]:
        return () if namespace == "free" else (Everything(),)

    def named(self, name: str) -> None:
        return None

    def slot(self, number: int) -> Any:
        raise AssertionError(number)


class Everything:
    namespaces = None


def pod(name: str, *addresses: str, uid: str = "", namespace: str = "shop", **more: Any) -> Pod:
    usual: dict[str, Any] = {"labels": {}, "host_network": False, "finished": False, "leaving": False}
    given = {**usual, "bad_addresses": 0, "runtime_uid": uid or f"u-{name}", **more}
    return Pod(namespace=namespace, name=name, uid=uid or f"u-{name}", addresses=addresses, **given)


def facts(*pods: Pod, known: Known | None = None) -> Facts:
    found = Facts(known or Known(), Claims())
    if known is None:
        found.namespaces_changed([Change(None, Namespace(name, "", {})) for name in ("shop", "free")])
    found.pods_changed([Change(None, one) for one in pods], 1.0)
    return found


def owners(found: Facts) -> Mapping[str, str]:
    """By address: of two the later one has it."""
    return {address: one.name for one in found.known(Nobody(), frozenset()).pods for address in one.addresses}


def add(found: Facts, container: str, name: str, *addresses: str, uid: str | None = None, **more: Any) -> None:
    new = Container(more.get("namespace", "shop"), name, f"u-{name}" if uid is None else uid, addresses)
    found.claims.add(container, new, found.owners(9.0))


def delete(found: Facts, container: str, *addresses: str, at: float = 9.0) -> None:
    found.claims.delete(container, addresses, found.owners(at))


# -------------------------------------------------------------------------------------------------------------- the API


def test_of_two_pods_with_one_address_the_later_one_has_it() -> None:
    found = facts(pod("old", A), pod("new", A))
    assert owners(found) == {A: "new"}
    found.pods_changed([Change(pod("new", A), pod("new", A, labels={"x": "y"}))], 2.0)
    assert owners(found) == {A: "new"}
    found.pods_changed([Change(pod("old"), pod("old", A, B))], 3.0)
    assert owners(found) == {A: "old", B: "old"}


def test_a_pod_that_is_leaving_gives_way_whenever_it_came() -> None:
    found = facts(pod("stays", A), pod("leaves", A, leaving=True))
    assert owners(found) == {A: "stays"}
    found.pods_changed([Change(pod("stays", A), None)], 2.0)
    assert owners(found) == {A: "leaves"}


def test_what_has_no_address_of_its_own_is_not_known() -> None:
    assert owners(facts(pod("host", A, host_network=True), pod("done", A, finished=True), pod("pending"))) == {}


def test_a_pod_is_not_known_before_its_namespace_is() -> None:
    found = facts(pod("early", A, namespace="new"))
    assert owners(found) == {}
    found.namespaces_changed([Change(None, Namespace("new", "", {"a": "b"}))])
    assert owners(found) == {A: "early"}
    assert found.known(Nobody(), frozenset()).namespaces["new"] == {"a": "b"}


def test_a_name_that_passes_to_another_pod() -> None:
    old, new = pod("web-0", A, uid="1"), pod("web-0", B, uid="2")
    found = facts(old)
    add(found, "c", "web-0", A, uid="1")
    delete(found, "c")
    found.pods_changed([Change(old, new)], 2.0)
    assert owners(found) == {B: "web-0"}


def test_what_an_earlier_run_left_holds_until_the_api_says_otherwise() -> None:
    left = Known((KnownPod("shop", "web", "u", {"app": "web"}, (A,)),), {"shop": {"team": "s"}}, frozenset(["p"]))
    found = facts(known=left)
    assert found.known(Nobody(), frozenset(["p"])) == left
    (one,), (namespace,) = pods_of(left), namespaces_of(left)
    found.pods_changed([Change(one, None)], 1.0)
    found.namespaces_changed([Change(namespace, None)])
    assert found.known(Nobody(), frozenset()) == Known()


# ------------------------------------------------------------------------------------------------------------- the gate


def test_a_container_has_its_address_before_the_api_says_so() -> None:
    found = facts(pod("web"))
    add(found, "c1", "web", A)
    assert owners(found) == {A: "web"}


def test_an_ended_container_has_none_although_the_api_still_says_so() -> None:
    found = facts(pod("web", A))
    add(found, "c1", "web", A)
    delete(found, "c1", A)
    assert owners(found) == {}
    found.pods_changed([Change(pod("web", A), pod("web", A, labels={"x": "y"}))], 3.0)
    assert owners(found) == {}
    add(found, "c2", "web", A)
    assert owners(found) == {A: "web"}


def test_a_late_end_takes_nothing_from_who_has_the_address_now() -> None:
    found = facts(pod("old", A), pod("new"))
    add(found, "c1", "old", A)
    delete(found, "c1", A)
    add(found, "c2", "new", A)
    for container in ("c1", "never-heard-of"):
        delete(found, container, A)
        assert owners(found) == {A: "new"}


def test_an_address_that_is_handed_on_never_falls_back_to_who_had_it() -> None:
    found = facts(pod("old", A), pod("new"))
    add(found, "c2", "new", A)
    assert owners(found) == {A: "new"}
    delete(found, "c2", A)
    assert owners(found) == {}


def test_the_end_of_a_container_that_nobody_knows_is_the_pods_with_its_address() -> None:
    found = facts(pod("before-the-gate", A, B))
    delete(found, "c0", A)
    assert owners(found) == {B: "before-the-gate"}


def test_what_a_plugin_left_behind_is_no_matter_of_who_came_later() -> None:
    found = facts(pod("early", A))
    found.pods_changed([Change(None, pod("late", B))], 5.0)
    delete(found, "", A, B, at=4.0)
    assert owners(found) == {B: "late"}


def test_a_new_sandbox_of_a_pod_ends_the_old_ones_addresses() -> None:
    found = facts(pod("web", A))
    add(found, "c1", "web", A)
    add(found, "c2", "web", B)
    assert owners(found) == {B: "web"}
    delete(found, "c1", A)
    assert owners(found) == {B: "web"}


def test_two_networks_of_one_sandbox() -> None:
    found = facts(pod("web"))
    add(found, "c1", "web", A)
    add(found, "c1", "web", B)
    assert owners(found) == {A: "web", B: "web"}


def test_a_runtime_that_tells_no_uid() -> None:
    found = facts(pod("web"))
    add(found, "c1", "web", A, uid="")
    assert owners(found) == {A: "web"}
    found.pods_changed([Change(pod("web"), pod("web", A))], 2.0)
    delete(found, "c1", A)
    assert owners(found) == {}


def test_a_static_pod_has_another_uid_at_the_runtime() -> None:
    found = facts(pod("etcd", uid="mirror", runtime_uid="static"))
    add(found, "c1", "etcd", A, uid="static")
    assert owners(found) == {A: "etcd"}


def test_collecting_ends_all_others() -> None:
    found = facts(pod("web", A), pod("api", B))
    add(found, "c1", "web", A)
    add(found, "c2", "api", B)
    found.claims.keep(["c2"])
    assert owners(found) == {B: "api"}


def test_of_a_pod_that_no_policy_can_select_nothing_more_needs_to_be_known() -> None:
    found = facts()
    add(found, "c1", "job", A, namespace="free")
    add(found, "c2", "web", B)
    assert owners(found) == {A: "job"}
    assert found.known(Nobody(), frozenset()).waiting == ()
    found.claims.block("c2", True)
    assert found.known(Nobody(), frozenset()).waiting == (B,)
    found.pods_changed([Change(None, pod("web", B))], 2.0)
    known = found.known(Nobody(), frozenset())
    assert (known.waiting, owners(found)) == ((), {A: "job", B: "web"})


def test_the_file_of_claims_says_all_of_it(tmp_path: Path) -> None:
    found = facts(pod("web", A), pod("api", B))
    add(found, "c1", "web", A)
    add(found, "c2", "api", B)
    delete(found, "c1", A)
    found.claims.block("c2", True)
    found.claims.write(tmp_path / "gate.json")
    again = Claims.read(tmp_path / "gate.json")
    assert again.as_json() == found.claims.as_json()
    assert again.containers == found.claims.containers


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "null", '{"version": 2}', json.dumps({"version": 1, "containers": {"c": 1}})]
)
def test_a_damaged_file_of_claims_says_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "gate.json").write_text(text)
    assert Claims.read(tmp_path / "gate.json").as_json() == Claims().as_json()
