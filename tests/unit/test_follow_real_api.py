"""The follower's library at a real API server, with the rights that a kubelet has."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.egress.gateway.plugins.module_utils.follow.pods import NAMESPACES, pods_of

from tests.follow_api.following import Following
from tests.follow_api.real_api import NODE, RealApi, missing

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing() or "none")


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealApi]:
    server = RealApi(tmp_path_factory.mktemp("api"))
    yield server
    server.close()


@pytest.fixture
def kubeconfig(api: RealApi, tmp_path: Path) -> Path:
    path = tmp_path / "kubeconfig"
    path.write_text(api.kubeconfig(NODE), encoding="utf-8")
    return path


def test_a_nodes_own_pods(api: RealApi, kubeconfig: Path) -> None:
    api.add_pod("a", "10.1.0.1", labels={"app": "web"})
    api.add_pod("other", "10.1.0.2", node="n2")
    with Following(kubeconfig, pods_of("n1")) as it:
        it.until_synced()
        assert it.names == ["a"]
        api.add_pod("b", "10.1.0.3")
        it.until(lambda: it.known.get(("default", "b")) and it.known["default", "b"].addresses == ("10.1.0.3",))
        api.delete_pod("a")
        it.until(lambda: it.names == ["b"])
        assert it.reflector.counters.lists == 1
        api.delete_pod("b")
        it.until(lambda: not it.names)
    api.delete_pod("other")


def test_anothers_pods_are_refused(kubeconfig: Path) -> None:
    with Following(kubeconfig, replace(pods_of("n1"), field_selector="spec.nodeName=n2")) as it:
        it.until(lambda: it.reasons)
        assert it.reasons[0].startswith("GET /api/v1/pods: pods is forbidden: User")


def test_namespaces_once_there_is_the_role(api: RealApi, kubeconfig: Path) -> None:
    with Following(kubeconfig, replace(NAMESPACES, page=2)) as it:
        it.until(lambda: it.reasons)
        assert it.reasons[0].startswith("GET /api/v1/namespaces: namespaces is forbidden: User")
        api.let_nodes_read_namespaces()
        it.until_synced()
        assert it.known["", "kube-system"].labels["kubernetes.io/metadata.name"] == "kube-system"


def test_a_crash_and_a_history_that_is_forgotten(api: RealApi, kubeconfig: Path) -> None:
    for name in ("a", "b"):
        api.add_pod(name, "10.1.0.9")
    with Following(kubeconfig, pods_of("n1")) as it:
        it.until_synced()
        api.stop()
        it.until(lambda: not it.reflector.state.synced)
        assert it.names == ["a", "b"]
        api.start()
        api.delete_pod("a")
        api.compact()
        it.until(lambda: it.names == ["b"], 30)
        it.until_synced()
