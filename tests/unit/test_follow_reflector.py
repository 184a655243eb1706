"""The reflector over HTTP, at a server that does everything that servers do."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.egress.gateway.plugins.module_utils.follow.pods import NAMESPACES, pods_of

from tests.follow_api.certificates import Authority
from tests.follow_api.following import QUICK, Following
from tests.follow_api.scripted_api import ScriptedApi

PODS = pods_of("n1")


@pytest.fixture
def api() -> Iterator[ScriptedApi]:
    with ScriptedApi(bookmark_seconds=0.1) as server:
        server.add_pod("shop", "a", ips=["10.1.0.1", "fd00::1"], labels={"app": "web"})
        server.add_pod("shop", "b", ips=["10.1.0.2"])
        server.add_pod("shop", "elsewhere", node="n2", ips=["10.1.0.3"])
        yield server


@pytest.fixture
def kubeconfig(api: ScriptedApi, tmp_path: Path) -> Path:
    path = tmp_path / "kubeconfig"
    path.write_text(api.kubeconfig(), encoding="utf-8")
    return path


def test_a_list_then_what_changes(api: ScriptedApi, kubeconfig: Path) -> None:
    with Following(kubeconfig, PODS) as it:
        it.until_synced()
        assert it.names == ["a", "b"]
        pod = it.known["shop", "a"]
        assert (pod.addresses, pod.labels, pod.sources) == (("10.1.0.1", "fd00::1"), {"app": "web"}, pod.addresses)
        api.add_pod("shop", "c", ips=["10.1.0.4"])
        api.add_pod("shop", "other", node="n3")
        api.add_pod("shop", "b", ips=["10.1.0.2"], labels={"app": "new"})
        api.delete_pod("shop", "a")
        it.until(lambda: it.names == ["b", "c"])
        assert it.known["shop", "b"].labels == {"app": "new"}
        assert it.reflector.counters.lists == 1
        assert [state.synced for state in it.states] == [True]


def test_what_changes_nothing_of_ours_is_not_told(api: ScriptedApi, kubeconfig: Path) -> None:
    with Following(kubeconfig, PODS) as it:
        it.until_synced()
        told = len(it.changes)
        api.add_pod("shop", "a", ips=["10.1.0.1", "fd00::1"], labels={"app": "web"}, padding=50_000)
        api.add_pod("shop", "z")
        it.until(lambda: "z" in it.names)
        assert len(it.changes) == told + 1


def test_a_name_that_passes_to_another_pod(api: ScriptedApi, kubeconfig: Path) -> None:
    with Following(kubeconfig, PODS) as it:
        it.until_synced()
        old = it.known["shop", "a"]
        api.delete_pod("shop", "a")
        api.add_pod("shop", "a", ips=["10.1.0.9"])
        it.until(lambda: it.known.get(("shop", "a"), old).uid != old.uid)
        assert it.known["shop", "a"].addresses == ("10.1.0.9",)


def test_namespaces_in_pages(api: ScriptedApi, kubeconfig: Path) -> None:
    for number in range(25):
        api.add_namespace(f"ns-{number}", {"tier": str(number % 3)})
    api.misbehave("gone", "list", "Namespace")  # the second one asks the storage, which gives pages
    with Following(kubeconfig, replace(NAMESPACES, page=4)) as it:
        it.until_synced()
        assert len(it.known) == 25
        assert it.known["", "ns-7"].labels == {"kubernetes.io/metadata.name": "ns-7", "tier": "1"}
        queries = [one.query for one in api.counts.of("list")]
        assert [query.get("resourceVersion") for query in queries[:2]] == ["0", None]
        assert ["continue" in query for query in queries[2:]] == [True] * 6


def test_a_token_that_is_gone_in_the_middle(api: ScriptedApi, kubeconfig: Path) -> None:
    for number in range(9):
        api.add_namespace(f"ns-{number}")
    api.misbehave("gone", "list")
    api.misbehave("gone-page", "list")
    with Following(kubeconfig, replace(NAMESPACES, page=2)) as it:
        it.until_synced()
        assert len(it.known) == 9
        assert it.reflector.counters.lists == 3


@pytest.mark.parametrize("how", ["gone", "gone-event"])
def test_410_lists_again_and_tells_what_was_missed(api: ScriptedApi, kubeconfig: Path, how: str) -> None:
    with Following(kubeconfig, PODS) as it:
        it.until_synced()
        api.down()
        api.delete_pod("shop", "a")
        api.add_pod("shop", "c", ips=["10.1.0.1"])
        api.misbehave(how, "watch")
        if how == "gone":
            api.compact()
        api.up()
        it.until(lambda: it.names == ["b", "c"])
        it.until_synced()
        # Addresses pass from pod to pod.
        assert [(change.new or change.old).name for change in it.changes[-2:]] == ["a", "c"]
        assert it.changes[-2].new is None
        again = [one.query for one in api.counts.of("list")][1:]
        assert {query.get("resourceVersionMatch") for query in again} == {"NotOlderThan"}


def test_without_an_api_what_is_known_stays(api: ScriptedApi, kubeconfig: Path) -> None:
    with Following(kubeconfig, PODS) as it:
        it.until_synced()
        before = it.reflector.state.since
        api.down()
        it.until(lambda: "Connection refused" in it.reflector.state.reason)
        assert it.names == ["a", "b"]
        assert it.reflector.state.since >= before
        api.up()
        it.until_synced()
        assert it.reflector.counters.lists == 1, "the watch goes on where it was"


def test_what_an_earlier_run_left_is_compared(api: ScriptedApi, kubeconfig: Path) -> None:
    with Following(kubeconfig, PODS) as it:
        it.until_synced()
    api.delete_pod("shop", "b")
    with Following(kubeconfig, PODS, known=list(it.known.values())) as again:
        again.until_synced()
        assert [(change.old.name, change.new) for change in again.changes] == [("b", None)]


@pytest.mark.parametrize("how", ["cut", "duplicate", "disorder", "drip", "odd", "reset", "end", "broken"])
def test_a_watch_that_goes_wrong(api: ScriptedApi, kubeconfig: Path, how: str) -> None:
    with Following(kubeconfig, PODS) as it:
        it.until_synced()
        api.misbehave(how, "watch", times=2, seconds=0.0005)
        api.cut()
        for number in range(6):
            api.add_pod("shop", f"c{number}", ips=[f"10.1.1.{number}"])
        api.delete_pod("shop", "c1")
        api.delete_pod("shop", "a")
        wanted = ["b", "c0", "c2", "c3", "c4", "c5"]
        it.until(lambda: it.names == wanted)
        if how == "disorder":
            api.cut()
            it.until(lambda: it.reflector.counters.lists > 1)
        it.until_synced()
        assert it.names == wanted
        if how == "duplicate":
            assert it.reflector.counters.stale > 5
        if how == "odd":
            assert it.reflector.counters.bad > 5


def test_a_late_event_brings_nothing_back(api: ScriptedApi, kubeconfig: Path) -> None:
    with Following(kubeconfig, PODS) as it:
        it.until_synced()
        api.misbehave("disorder", "watch", times=1)
        api.cut()
        it.until(lambda: len(api.counts.of("watch")) == 2)
        api.add_pod("shop", "a", labels={"late": "yes"})
        api.delete_pod("shop", "a")
        it.until(lambda: it.reflector.counters.stale == 1)
        assert it.names == ["b"]


@pytest.mark.parametrize("how", ["status", "html", "garbage", "deep", "long", "cut", "reset", "odd", "unavailable"])
@pytest.mark.parametrize("verb", ["list", "watch"])
def test_nonsense_is_survived(api: ScriptedApi, kubeconfig: Path, how: str, verb: str) -> None:
    api.misbehave(how, verb, times=2)
    with Following(kubeconfig, PODS) as it:
        it.until(lambda: it.names == ["a", "b"])
        api.add_pod("shop", "c")
        api.cut()
        it.until(lambda: it.names == ["a", "b", "c"])
        it.until_synced()
        assert all("\n" not in reason and len(reason) < 500 for reason in it.reasons)


def test_an_object_that_turns_odd_stays_as_it_was(api: ScriptedApi, kubeconfig: Path) -> None:
    with Following(kubeconfig, PODS) as it:
        it.until_synced()
        old = it.known["shop", "a"]
        odd = {"metadata": {"namespace": "shop", "name": "a"}, "spec": {"nodeName": "n1"}, "status": {"phase": 7}}
        api.put("Pod", odd)
        it.until(lambda: it.reflector.counters.bad == 1)
        api.restart()
        it.until(lambda: it.reflector.counters.lists == 2)
        it.until_synced()
        assert it.known["shop", "a"] == old
        api.add_pod("shop", "a", labels={"mended": "yes"})
        it.until(lambda: it.known["shop", "a"].labels == {"mended": "yes"})


def test_silence_is_noticed(api: ScriptedApi, kubeconfig: Path) -> None:
    api.misbehave("silent", "watch")
    with Following(kubeconfig, PODS, replace(QUICK, patience=0.5)) as it:
        it.until_synced()
        api.add_pod("shop", "c")
        it.until(lambda: it.names == ["a", "b", "c"])
        assert it.reasons == ["GET /api/v1/pods: nothing whole came within the time"]
        # The storage is asked: the version may be of another history.
        assert "resourceVersion" not in api.counts.of("list")[-1].query


def test_bookmarks_are_no_silence(kubeconfig: Path) -> None:
    with Following(kubeconfig, PODS, replace(QUICK, patience=1)) as it:
        it.until(lambda: it.reflector.counters.events >= 14)
        assert (it.reasons, it.reflector.counters.lists) == ([], 1)


@pytest.mark.parametrize("refuses", [True, False])
def test_a_restart_with_another_history(api: ScriptedApi, kubeconfig: Path, refuses: bool) -> None:
    """Some servers refuse a version that is yet to come, others wait for it in silence, and bookmarks tell."""
    api.refuses_future = refuses
    with Following(kubeconfig, PODS) as it:
        it.until_synced()
        api.down()
        api.delete_pod("shop", "a")
        api.restart(version=7)
        api.add_pod("shop", "c")
        it.until(lambda: it.names == ["b", "c"])
        api.delete_pod("shop", "c")
        it.until(lambda: it.names == ["b"])


def test_a_right_that_is_missing_is_told_once(api: ScriptedApi, kubeconfig: Path) -> None:
    api.misbehave("forbidden", "list", times=6)
    with Following(kubeconfig, PODS) as it:
        it.until_synced()
        assert it.reasons == ["GET /api/v1/pods: pods: forbidden"]
        assert it.names == ["a", "b"]


def test_a_server_that_asks_for_time(api: ScriptedApi, kubeconfig: Path) -> None:
    api.misbehave("throttle", "list", seconds=1)
    with Following(kubeconfig, PODS, replace(QUICK, longest_pause=0.01)) as it:
        it.until(lambda: it.reasons)
        assert not it.names
        it.until_synced()


def test_a_storm_of_410(api: ScriptedApi, kubeconfig: Path) -> None:
    """Each list is good, each watch is not: the pauses grow all the same, and membership goes on."""
    api.misbehave("gone-event", "watch", times=-1)
    with Following(kubeconfig, PODS, replace(QUICK, first_pause=0.02, longest_pause=0.2)) as it:
        it.until(lambda: it.names == ["a", "b"])
        api.add_pod("shop", "c")
        it.until(lambda: it.names == ["a", "b", "c"])
        it.until(lambda: it.reflector.counters.lists >= 10)
        api.heal()
        it.until_synced()


def test_stopping_while_nothing_comes(api: ScriptedApi, kubeconfig: Path) -> None:
    for fault in ("hang", "silent"):
        api.misbehave(fault)
        seen = len(api.counts.requests)
        with Following(kubeconfig, PODS) as it:
            it.until(lambda: len(api.counts.requests) > seen)  # noqa: B023  # it ends within this round


# ------------------------------------------------------------------------------------------------------ TLS and tokens


@pytest.fixture
def secure() -> Iterator[ScriptedApi]:
    with ScriptedApi(authority=Authority(), bookmark_seconds=0.1) as server:
        server.add_pod("shop", "a", ips=["10.1.0.1"])
        yield server


def test_a_token_that_ends(secure: ScriptedApi, tmp_path: Path) -> None:
    token, path = tmp_path / "token", tmp_path / "kubeconfig"
    token.write_text("first-token\n")
    path.write_text(secure.kubeconfig({"tokenFile": "token"}))
    with Following(path, PODS) as it:
        it.until_synced()
        secure.expire_token("second-token")
        secure.add_pod("shop", "b")
        reason = "GET /api/v1/pods: Unauthorized; the credential is not, or no longer, accepted"
        it.until(lambda: it.reflector.state.reason == reason)
        it.until(lambda: len(secure.counts.requests) > 6)
        assert it.reasons.count(reason) == 1
        token.write_text("second-token\n")
        it.until(lambda: it.names == ["a", "b"])
        it.until_synced()


def test_a_plugin_runs_again_when_its_token_is_refused(secure: ScriptedApi, tmp_path: Path) -> None:
    plugin, ran = tmp_path / "plugin", tmp_path / "ran"
    answer = '{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": "%s"}}'
    plugin.write_text(f"#!/bin/sh\necho x >>{ran}\ncat {tmp_path}/answer\n")
    plugin.chmod(0o755)
    (tmp_path / "answer").write_text(answer % "first-token")
    execution = {"apiVersion": "client.authentication.k8s.io/v1", "command": "./plugin", "interactiveMode": "Never"}
    path = tmp_path / "kubeconfig"
    path.write_text(secure.kubeconfig({"exec": execution}))
    with Following(path, PODS) as it:
        it.until_synced()
        assert ran.read_text().count("x") == 1
        (tmp_path / "answer").write_text(answer % "second-token")
        secure.expire_token("second-token")
        secure.add_pod("shop", "b")
        it.until(lambda: it.names == ["a", "b"])
        assert ran.read_text().count("x") == 2
        assert not [reason for reason in it.reasons if "accepted" in reason]


def test_a_certificate_that_is_replaced(secure: ScriptedApi, tmp_path: Path) -> None:
    assert secure.authority is not None
    secure.authority.issue("system:node:n1").write(tmp_path, "client")
    path = tmp_path / "kubeconfig"
    path.write_text(secure.kubeconfig({"client-certificate": "client.crt", "client-key": "client.key"}))
    with Following(path, PODS) as it:
        it.until_synced()
        secure.authority.issue("system:node:rotated").write(tmp_path, "client")
        secure.cut()
        it.until(lambda: secure.counts.requests[-1].token == "system:node:rotated")  # noqa: S105  # a name
        assert secure.counts.requests[0].token == "system:node:n1"  # noqa: S105  # a name


def test_a_server_of_another_authority_is_not_believed(secure: ScriptedApi, tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig"
    good = secure.kubeconfig()
    secure_authority, secure.authority = secure.authority, Authority()
    path.write_text(secure.kubeconfig())
    secure.authority = secure_authority
    with Following(path, PODS) as it:
        it.until(lambda: it.reasons)
        assert "its certificate:" in it.reasons[0]
        assert not secure.counts.requests
        path.write_text(good)
        it.until(lambda: it.names == ["a"])


@pytest.mark.parametrize(
    ("cluster", "reason"),
    [
        ({"tls-server-name": "scripted-api.test"}, ""),
        ({"tls-server-name": "other.test"}, "Hostname mismatch"),
        ({"insecure-skip-tls-verify": True, "tls-server-name": "other.test"}, ""),
    ],
)
def test_the_name_of_the_certificate(secure: ScriptedApi, tmp_path: Path, cluster: dict, reason: str) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(secure.kubeconfig(**cluster))
    with Following(path, PODS) as it:
        it.until(lambda: it.reasons or it.names)
        assert reason in "".join(it.reasons)
        assert bool(it.reasons) == bool(reason)
