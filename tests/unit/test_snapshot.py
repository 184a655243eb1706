"""``snapshot`` against a small API server on loopback: what is written compiles like kubectl's export."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from egress_compiler.diagnostics import Collector, Diagnostic
from egress_compiler.load.live import read_live, snapshot_text
from egress_compiler.pipeline import Inputs, compile_bundle
from tests.properties.strategies import Json, document

EXAMPLE = Path(__file__).parents[2] / "examples" / "dual-stack-ha"
PATHS = {
    "Node": "/api/v1/nodes",
    "Pod": "/api/v1/pods",
    "Namespace": "/api/v1/namespaces",
    "Service": "/api/v1/services",
    "ServiceCIDR": "/apis/networking.k8s.io/v1/servicecidrs",
    "IPPool": "/apis/crd.projectcalico.org/v1/ippools",
}
KUBEADM = "/api/v1/namespaces/kube-system/configmaps/kubeadm-config"
NOISE = {"uid": "4f1c", "managedFields": [{"manager": "kubelet"}], "annotations": {"token": "secret"}}
"""What a real object has in its metadata and no compiler reads."""


class ApiServer:
    """Serves ``objects`` in pages; ``failing`` are paths with the status they answer with."""

    def __init__(self, objects: list[Json]) -> None:
        self.objects = objects
        self.failing: dict[str, int] = {}
        self.page_size: int | None = None
        self.expiring = 0
        self.requests: list[str] = []
        self.bearer = "t0p"
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.requests.append(self.path)
                status, body = outer.answer(self.path, self.headers.get("Authorization", ""))
                content = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:
                """Nothing on the terminal."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, target: str, authorization: str) -> tuple[int, Any]:
        url = urlsplit(target)
        if authorization != f"Bearer {self.bearer}":
            return 401, _failure(401, "Unauthorized")
        if url.path in self.failing:
            return self.failing[url.path], _failure(self.failing[url.path], "as the test wants it")
        kind = next((kind for kind, path in PATHS.items() if path == url.path), None)
        if url.path == KUBEADM:
            found = [item for item in self.objects if item["kind"] == "ConfigMap"]
            return (200, found[0]) if found else (404, _failure(404, "not found"))
        served = kind is not None and (kind not in ("ServiceCIDR", "IPPool") or self._of(kind))
        return self._page(str(kind), parse_qs(url.query)) if served else (404, _failure(404, "not served"))

    def _of(self, kind: str) -> list[Json]:
        """As the API server lists them: without kind and apiVersion in each item."""
        return [
            {key: value for key, value in item.items() if key not in ("kind", "apiVersion")}
            for item in self.objects
            if item["kind"] == kind
        ]

    def _page(self, kind: str, query: dict[str, list[str]]) -> tuple[int, Any]:
        start = int(query.get("continue", ["0"])[0])
        if start and self.expiring:
            self.expiring -= 1
            return 410, _failure(410, "the provided continue parameter is too old")
        items = self._of(kind)
        end = start + (self.page_size or int(query["limit"][0]))
        metadata = {"resourceVersion": "7"} | ({"continue": str(end)} if end < len(items) else {})
        return 200, {"kind": f"{kind}List", "apiVersion": "v1", "metadata": metadata, "items": items[start:end]}


def _failure(status: int, message: str) -> Json:
    return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": status}


def with_noise(item: Json) -> Json:
    """The object with much that a real one has beside."""
    noisy = {**item, "metadata": {**item["metadata"], **NOISE}}
    if item["kind"] == "Pod":
        containers = [
            {"name": "c", "image": "i", "env": [{"name": "PASSWORD", "value": "secret"}], "args": ["--k=secret"]}
        ]
        noisy["spec"] = {**item.get("spec", {}), "containers": item.get("spec", {}).get("containers") or containers}
    return noisy


@pytest.fixture
def objects() -> list[Json]:
    items = [with_noise(item) for item in json.loads((EXAMPLE / "cluster.json").read_text())["items"]]
    finished = {
        "kind": "Pod",
        "metadata": {"name": "job-1", "namespace": "shop", "labels": {"app": "web"}},
        "spec": {"nodeName": "worker1"},
        "status": {"phase": "Succeeded", "podIPs": [{"ip": "10.244.3.77"}]},
    }
    return [*items, finished]


@pytest.fixture
def server(objects: list[Json]) -> Iterator[ApiServer]:
    made = ApiServer(objects)
    yield made
    made.close()


def kubeconfig(where: Path, url: str, bearer: str = "t0p") -> Path:
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "lab",
        "clusters": [{"name": "lab", "cluster": {"server": url}}],
        "users": [{"name": "me", "user": {"token": bearer}}],
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "me"}}],
    }
    path = where / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    return path


HIDDEN = ("KUBECONFIG", "KUBERNETES_SERVICE_HOST", "HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy")
"""What would lead the client to the user's own cluster, or past the loopback."""


def snapshot(where: Path, url: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Runs the command with a kubeconfig of its own and nothing of the user's."""
    config = kubeconfig(where, url)
    command = [sys.executable, "-m", "egress_compiler", "snapshot", "--kubeconfig", str(config), *arguments]
    environment = {name: value for name, value in os.environ.items() if name not in HIDDEN} | {"HOME": str(where)}
    environment["PYTHONPATH"] = str(EXAMPLE.parents[1])
    return subprocess.run(command, cwd=where, env=environment, capture_output=True, text=True, check=False, timeout=120)


class Reader:
    """Reads in this process, where the client is imported once."""

    def __init__(self, where: Path) -> None:
        self._where = where

    def text(self, url: str) -> str:
        found = Collector()
        objects = read_live(kubeconfig(self._where, url), None, found)
        assert found.found == ()
        return snapshot_text(objects)

    def errors(
        self, url: str, bearer: str = "t0p", context: str | None = None, config: Path | None = None
    ) -> list[Diagnostic]:
        found = Collector()
        read_live(config or kubeconfig(self._where, url, bearer), context, found)
        assert found.failed
        return list(found.found)


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Reader:
    for name in HIDDEN:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return Reader(tmp_path)


def compiled(cluster: Path, lock: str) -> tuple[str, dict[str, str]]:
    made = compile_bundle(Inputs((EXAMPLE / "policies",), (cluster,), lock=cluster.parent / lock))
    return made.lock_text, dict(made.files)


def test_a_snapshot_compiles_like_the_export_of_the_same_cluster(
    tmp_path: Path, server: ApiServer, objects: list[Json]
) -> None:
    server.page_size = 3
    done = snapshot(tmp_path, server.url, "-o", "cluster.json")
    assert (done.returncode, done.stderr) == (0, "")
    export = tmp_path / "export.json"
    export.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))
    assert compiled(tmp_path / "cluster.json", "a.json") == compiled(export, "b.json")
    pages = [path for path in server.requests if path.startswith("/api/v1/pods")]
    assert len(pages) > 2
    assert all("limit=500" in path for path in pages)


def test_a_snapshot_holds_what_is_read_and_nothing_else(tmp_path: Path, server: ApiServer) -> None:
    snapshot(tmp_path, server.url, "-o", "cluster.json")
    text = (tmp_path / "cluster.json").read_text()
    content = json.loads(text)
    assert (content["apiVersion"], content["kind"]) == ("v1", "List")
    assert "secret" not in text
    assert "managedFields" not in text
    assert "job-1" not in text
    keys = [
        (item["kind"], item["metadata"].get("namespace", ""), item["metadata"]["name"]) for item in content["items"]
    ]
    kinds = list(dict.fromkeys(kind for kind, *_ in keys))
    assert keys == sorted(keys, key=lambda key: (kinds.index(key[0]), *key[1:]))
    assert len(text.splitlines()) == len(keys) + 6
    nodes = [item for item in content["items"] if item["kind"] == "Node"]
    assert set(nodes[0]) == {"apiVersion", "kind", "metadata", "spec", "status"}
    assert set(nodes[0]["metadata"]) == {"name", "labels"}


def test_the_same_cluster_gives_the_same_file(tmp_path: Path, server: ApiServer, objects: list[Json]) -> None:
    first = snapshot(tmp_path, server.url, "-o", "cluster.json")
    assert "4 Nodes" in first.stdout
    before = (tmp_path / "cluster.json").stat().st_mtime_ns
    server.objects = objects[::-1]
    again = snapshot(tmp_path, server.url, "-o", "cluster.json", "--format", "json")
    assert json.loads(again.stdout)["changed"] is False
    assert (tmp_path / "cluster.json").stat().st_mtime_ns == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cluster.json", "kubeconfig"]
    printed = snapshot(tmp_path, server.url, "-o", "-")
    assert printed.stdout == (tmp_path / "cluster.json").read_text()


def test_an_empty_label_is_kept(reader: Reader, server: ApiServer) -> None:
    server.objects[0]["metadata"]["labels"]["node-role.kubernetes.io/control-plane"] = ""
    items = json.loads(reader.text(server.url))["items"]
    assert items[0]["metadata"]["labels"]["node-role.kubernetes.io/control-plane"] == ""


@pytest.mark.parametrize("source", ["kubeadm", "flag", "two words"])
def test_service_cidrs_without_servicecidr_objects(
    tmp_path: Path, reader: Reader, server: ApiServer, source: str
) -> None:
    others = [item for item in server.objects if item["kind"] not in ("ServiceCIDR", "ConfigMap")]
    words = ["--service-cluster-ip-range", "10.97.0.0/16"]
    flags = [f"{words[0]}={words[1]}"] if source == "flag" else words
    if source == "kubeadm":
        networking = "networking:\n  dnsDomain: x\n  serviceSubnet: 10.97.0.0/16\n"
        data = {"ClusterConfiguration": f"etcd: {{}}\n{networking}key: secret\n"}
        metadata = {"name": "kubeadm-config", "namespace": "kube-system"}
        others.append({"kind": "ConfigMap", "apiVersion": "v1", "metadata": metadata, "data": data})
    else:
        containers = [{"command": ["kube-apiserver", "--key=secret", *flags]}]
        others.append(
            {
                "kind": "Pod",
                "metadata": {"name": "kube-apiserver-x", "namespace": "kube-system"},
                "spec": {"hostNetwork": True, "containers": containers},
                "status": {"phase": "Running"},
            }
        )
    server.objects = others
    text = reader.text(server.url)
    assert "secret" not in text
    (tmp_path / "cluster.json").write_text(text)
    made = compile_bundle(Inputs((EXAMPLE / "policies",), (tmp_path / "cluster.json",), lock=tmp_path / "none"))
    assert "10.97.0.0/16" in made.plans[0].inside4


def test_lists_that_expire_between_pages_are_read_again(reader: Reader, server: ApiServer) -> None:
    whole = reader.text(server.url)
    server.page_size, server.expiring = 3, 2
    assert reader.text(server.url) == whole
    server.expiring = 1000
    assert "kept expiring" in reader.errors(server.url)[0].message


@pytest.mark.parametrize(
    ("path", "rule"),
    [
        ("/api/v1/pods", 'a ClusterRole with the rule {apiGroups: [""], resources: [pods], verbs: [list]}'),
        ("/apis/crd.projectcalico.org/v1/ippools", 'apiGroups: ["crd.projectcalico.org"], resources: [ippools]'),
        (KUBEADM, 'a Role with the rule {apiGroups: [""], resources: [configmaps], verbs: [get]}'),
    ],
)
def test_what_is_forbidden_names_the_rbac_rule(reader: Reader, server: ApiServer, path: str, rule: str) -> None:
    server.objects = [item for item in server.objects if item["kind"] != "ServiceCIDR"]
    server.failing = {path: 403, "/api/v1/services": 403}
    errors = reader.errors(server.url)
    assert len(errors) == 2
    assert {error.code for error in errors} == {"cluster-forbidden"}
    assert any(rule in error.hint for error in errors)
    assert any(error.message == f"{server.url} does not let you list services" for error in errors)


def test_clusters_that_cannot_be_read(tmp_path: Path, reader: Reader, server: ApiServer) -> None:
    (refused,) = reader.errors(server.url, bearer="wrong")
    assert refused.code == "cluster-error"
    assert "refuses the credentials" in refused.message
    server.failing = {"/api/v1/nodes": 500}
    (failed,) = reader.errors(server.url)
    assert "answers 500 when asked to list nodes" in failed.message
    (away,) = reader.errors("http://127.0.0.1:9")
    assert away.message.startswith("http://127.0.0.1:9 cannot be read")
    assert "refused" in away.message
    (other,) = reader.errors(server.url, context="lap")
    assert other.hint == "did you mean 'lab'?"
    (none,) = reader.errors(server.url, config=tmp_path / "absent")
    assert "absent: no cluster to read" in none.message
    (tmp_path / "broken").write_text("clusters: [\n")
    (broken,) = reader.errors(server.url, config=tmp_path / "broken")
    assert broken.code == "no-cluster"


def test_foreign_answers(reader: Reader, server: ApiServer) -> None:
    server.objects = [document("Node", "x", {"podCIDRs": "not a list"})]
    (foreign,) = reader.errors(server.url)
    assert "lists nodes in a form that is not understood" in foreign.message


def test_an_error_writes_nothing_and_exits_1(tmp_path: Path, server: ApiServer) -> None:
    server.failing = {"/api/v1/pods": 403}
    done = snapshot(tmp_path, server.url, "-o", "cluster.json")
    assert (done.returncode, done.stdout) == (1, "")
    assert "[cluster-forbidden]" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kubeconfig"]
