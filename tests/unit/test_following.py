"""What verify says of a node that follows its pods: by its follower's status, and by asking the API once."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.egress.gateway.plugins.module_utils.bundle import NodeBundle, from_files
from ansible_collections.egress.gateway.plugins.module_utils.checks.following import (
    Following,
    following,
    read_status,
)
from ansible_collections.egress.gateway.plugins.module_utils.contract.membership import Known, KnownPod
from ansible_collections.egress.gateway.plugins.module_utils.follower.claims import Claims, Container
from ansible_collections.egress.gateway.plugins.module_utils.node import Paths

from egress_compiler.pipeline import Inputs, compile_bundle
from tests.follow_api.scripted_api import ScriptedApi

EXAMPLE = Path(__file__).parents[2] / "examples" / "dual-stack-ha"
WEB = KnownPod("shop", "web", "uid-web", {"app": "web"}, ("10.244.3.10",))
STATUS = {"synced": True, "since": 1.0, "reason": "", "pods": 1, "governed": 1, "changed": 0.0}


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    found = Paths(config=tmp_path / "etc", state=tmp_path / "state", runtime=tmp_path / "run")
    for directory in (found.config, found.state, found.runtime):
        directory.mkdir()
    return found


@pytest.fixture
def api() -> Iterator[ScriptedApi]:
    with ScriptedApi(token=None) as found:
        found.add_namespace("shop")
        yield found


@pytest.fixture
def bundle(tmp_path: Path, api: ScriptedApi) -> NodeBundle:
    """worker1's, with no pods known."""
    (tmp_path / "kubeconfig").write_text(api.kubeconfig(), encoding="utf-8")
    settings = tmp_path / "settings.yaml"
    settings.write_text(f"membership: followed\nfollower: {{kubeconfig: {tmp_path}/kubeconfig}}\n", encoding="utf-8")
    compiled = compile_bundle(Inputs((EXAMPLE / "policies",), (EXAMPLE / "cluster.json",), settings=settings))
    files = {name.rpartition("/")[2]: text for name, text in compiled.files.items() if "/worker1/" in name}
    return from_files({**files, "members.json": compiled.files["members.json"]})


def say(paths: Paths, **differs: Any) -> None:
    text = json.dumps({**STATUS, "heartbeat": time.time(), **differs})
    paths.follow_status.write_text(text, encoding="utf-8")


def judged(paths: Paths, bundle: NodeBundle | None) -> Following:
    return following(paths, lambda: bundle, patience=0.0)


def drift(found: Following) -> list[tuple[str, str | None, str | None]]:
    return [(one["object"], one["expected"], one["actual"]) for one in found.drift]


def test_a_node_that_holds_what_the_api_says_has_no_drift(paths: Paths, api: ScriptedApi, bundle: NodeBundle) -> None:
    say(paths)
    api.add_pod("shop", "web", "worker1", ["10.244.3.10"], {"app": "web"})
    api.add_pod("shop", "elsewhere", "worker2", ["10.244.4.10"], {"app": "web"})
    found = judged(paths, bundle.with_known(Known((WEB,), {"shop": {}})))
    assert (found.drift, found.warnings) == ([], [])
    assert found.status is not None
    assert found.status["synced"] is True


def test_pods_that_lack_or_should_be_gone_or_meet_others_are_drift(
    paths: Paths, api: ScriptedApi, bundle: NodeBundle
) -> None:
    say(paths)
    api.add_pod("shop", "new", "worker1", ["10.244.3.11"], {"app": "web"})
    api.add_pod("shop", "heir", "worker1", ["10.244.3.12"], {"app": "web"})
    old = (WEB, KnownPod("shop", "before", "uid-before", {"app": "web"}, ("10.244.3.12",)))
    found = judged(paths, bundle.with_known(Known(old, {"shop": {}})))
    policy = "EgressPolicy shop/web"
    assert drift(found) == [
        ("pod shop/web 10.244.3.10", None, policy),
        ("pod shop/new 10.244.3.11", policy, None),
        ("pod shop/heir 10.244.3.12", policy, f"{policy}, of shop/before"),
    ]


def test_what_the_gate_has_ended_is_not_missed(paths: Paths, api: ScriptedApi, bundle: NodeBundle) -> None:
    say(paths)
    api.add_pod("shop", "web", "worker1", ["10.244.3.10"], {"app": "web"})
    assert [one["object"] for one in judged(paths, bundle).drift] == ["pod shop/web 10.244.3.10"]
    uid = api.objects("Pod")[0]["metadata"]["uid"]
    claims = Claims()
    claims.add("c1", Container("shop", "web", uid, ("10.244.3.10",)), {})
    claims.delete("c1", ("10.244.3.10",), {})
    claims.write(paths.gate)
    assert judged(paths, bundle).drift == []


@pytest.mark.parametrize("text", [None, "", "{}", json.dumps({**STATUS, "heartbeat": 1.0})])
def test_a_follower_that_does_not_run_is_drift(paths: Paths, bundle: NodeBundle, text: str | None) -> None:
    if text is not None:
        paths.follow_status.write_text(text, encoding="utf-8")
    assert read_status(paths) is None
    found = judged(paths, bundle)
    assert (drift(found), found.status) == ([("follower", "running", None)], None)


def test_one_that_hears_nothing_is_warned_of(paths: Paths, bundle: NodeBundle) -> None:
    say(paths, synced=False, reason="GET /api/v1/pods: forbidden")
    found = judged(paths, bundle)
    assert found.drift == []
    assert found.warnings == [
        "what is in force may not be what the API says, since 1970-01-01 00:00:01 UTC: GET /api/v1/pods: forbidden"
    ]


@pytest.mark.parametrize("fault", ["forbidden", "unavailable", "hang", "garbage"])
def test_where_the_api_cannot_be_asked_that_is_a_warning_and_no_drift(
    paths: Paths, api: ScriptedApi, bundle: NodeBundle, fault: str
) -> None:
    say(paths)
    api.misbehave(fault, times=-1)
    held = bundle.with_known(Known((WEB,), {"shop": {}}))
    found = following(paths, lambda: held, patience=0.0, ask_seconds=0.5)
    assert found.drift == []
    assert [text.partition(":")[0] for text in found.warnings] == [
        "the pods in force could not be compared with the API"
    ]


def test_nothing_is_said_of_a_node_that_does_not_follow(paths: Paths, bundle: NodeBundle) -> None:
    compiled = compile_bundle(Inputs((EXAMPLE / "policies",), (EXAMPLE / "cluster.json",)))
    files = {name.rpartition("/")[2]: text for name, text in compiled.files.items() if "/worker1/" in name}
    for held in (None, from_files(files)):
        assert judged(paths, held) == Following()
