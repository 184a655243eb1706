"""``snapshot`` against a small API server on loopback: what is written compiles like kubectl's export."""

import json
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from egress_compiler.diagnostics import Collector, Diagnostic
from egress_compiler.load.live import read_live, snapshot_text
from egress_compiler.pipeline import Inputs, compile_bundle
from tests.properties.strategies import Json, document
from tests.unit.api_server import KUBEADM, PATHS, ApiServer, Odd, failure

EXAMPLE = Path(__file__).parents[2] / "examples" / "dual-stack-ha"
NOISE = {"uid": "4f1c", "managedFields": [{"manager": "kubelet"}], "annotations": {"token": "secret"}}
"""What a real object has in its metadata and no compiler reads."""


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


def snapshot(
    where: Path, url: str, *arguments: str, stderr: int = subprocess.PIPE
) -> "subprocess.CompletedProcess[str]":
    """Runs the command with a kubeconfig of its own and nothing of the user's."""
    config = kubeconfig(where, url)
    command = [sys.executable, "-m", "egress_compiler", "snapshot", "--kubeconfig", str(config), *arguments]
    environment = {name: value for name, value in os.environ.items() if name not in HIDDEN} | {"HOME": str(where)}
    environment["PYTHONPATH"] = str(EXAMPLE.parents[1])
    return subprocess.run(
        command,
        cwd=where,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        check=False,
        timeout=120,
    )


class Reader:
    """Reads in this process, where the client is imported once."""

    def __init__(self, where: Path) -> None:
        self.where = where

    def text(self, url: str) -> str:
        found = Collector()
        objects = read_live(kubeconfig(self.where, url), None, found)
        assert found.found == ()
        return snapshot_text(objects)

    def errors(
        self, url: str, bearer: str = "t0p", context: str | None = None, config: Path | None = None
    ) -> list[Diagnostic]:
        found = Collector()
        read_live(config or kubeconfig(self.where, url, bearer), context, found)
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


def test_what_tells_the_kinds_of_nodes_is_kept_and_what_changes_all_the_time_is_not(
    reader: Reader, server: ApiServer
) -> None:
    ready = {"type": "Ready", "status": "Unknown", "lastHeartbeatTime": "2026-01-01T00:00:00Z", "reason": "x"}
    info = {"operatingSystem": "linux", "kubeletVersion": "v1.33.1-vk-azure-aci-1.6.2", "osImage": "y"}
    node = next(item for item in server.objects if item["kind"] == "Node")
    node["spec"]["taints"] = [{"key": "virtual-kubelet.io/provider", "value": "azure", "effect": "NoSchedule"}]
    node["status"] |= {"nodeInfo": info, "conditions": [{"type": "DiskPressure", "status": "False"}, ready]}
    pod = next(item for item in server.objects if item["kind"] == "Pod")
    pod["status"]["conditions"] = [ready]
    items = json.loads(reader.text(server.url))["items"]
    (read,) = [item for item in items if item["metadata"]["name"] == node["metadata"]["name"]]
    assert read["spec"]["taints"] == [{"key": "virtual-kubelet.io/provider", "value": "azure"}]
    assert read["status"]["conditions"] == [{"type": "Ready", "status": "Unknown"}]
    assert read["status"]["nodeInfo"] == {key: info[key] for key in ("operatingSystem", "kubeletVersion")}
    assert [item for item in items if item["kind"] != "Node" and "conditions" in item.get("status", {})] == []


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
    assert "10.97.0.0/16" in made.plans[0].inside.ipv4


def test_lists_that_expire_between_pages_are_read_again(reader: Reader, server: ApiServer) -> None:
    whole = reader.text(server.url)
    server.page_size, server.expiring = 3, 2
    assert reader.text(server.url) == whole
    server.expiring = 1000
    assert "kept expiring" in reader.errors(server.url)[0].message


POOL = {"kind": "IPPool", "metadata": {"name": "default"}, "spec": {"cidr": "10.244.0.0/16"}}


@pytest.mark.parametrize(
    ("path", "rule"),
    [
        ("/api/v1/pods", 'a ClusterRole with the rule {apiGroups: [""], resources: [pods], verbs: [list]}'),
        (PATHS["IPPool"], 'apiGroups: ["crd.projectcalico.org"], resources: [ippools], verbs: [list]'),
        (KUBEADM, 'apiGroups: [""], resources: [configmaps], resourceNames: [kubeadm-config], verbs: [get]'),
    ],
)
def test_what_is_forbidden_names_the_rbac_rule(reader: Reader, server: ApiServer, path: str, rule: str) -> None:
    server.objects = [*(item for item in server.objects if item["kind"] != "ServiceCIDR"), POOL]
    server.failing = {path: 403, "/api/v1/services": 403}
    errors = reader.errors(server.url)
    assert len(errors) == 2
    assert {error.code for error in errors} == {"cluster-forbidden"}
    assert any(rule in error.hint for error in errors)
    assert any(error.message == f"{server.url} does not let you list services" for error in errors)


def test_who_may_not_ask_what_is_served_is_told_the_rule(reader: Reader, server: ApiServer) -> None:
    server.forbidden = lambda path: path == "/apis"
    (error,) = reader.errors(server.url)
    assert error.message == f"{server.url} does not let you, ci, ask what it serves"
    assert 'nonResourceURLs: ["/apis", "/apis/*"], verbs: [get]' in error.hint


def documented_rules() -> list[dict[str, list[str]]]:
    """The rules of the ClusterRole in the GitOps example."""
    text = (EXAMPLE.parent / "gitops" / "README.md").read_text()
    block = text[text.index("    kind: ClusterRole") :].split("\n\n")[0]
    rules: list[dict[str, list[str]]] = yaml.safe_load(textwrap.dedent(block))["rules"]
    return rules


@pytest.mark.parametrize("group", ["networking.k8s.io/v1", "networking.k8s.io/v1beta1", ""])
@pytest.mark.parametrize("calico", ["crd.projectcalico.org/v1", "projectcalico.org/v3", ""])
def test_the_documented_clusterrole_is_enough_on_every_cluster(
    reader: Reader, server: ApiServer, group: str, calico: str
) -> None:
    server.paths |= {"ServiceCIDR": f"/apis/{group}/servicecidrs", "IPPool": f"/apis/{calico}/ippools"}
    others = [item for item in server.objects if item["kind"] != "ServiceCIDR"]
    cidr = {"kind": "ServiceCIDR", "metadata": {"name": "kubernetes"}, "spec": {"cidrs": ["10.96.0.0/12"]}}
    server.objects = [*others, *([cidr] if group else []), *([POOL] if calico else [])]
    allowed = {"/apis", KUBEADM} | {f"/apis/{version}" for version in (group, calico, "networking.k8s.io/v1")}
    for rule in documented_rules():
        for api in rule["apiGroups"]:
            versions = ("v1", "v1beta1", "v3") if api else ("v1",)
            allowed |= {
                f"/apis/{api}/{version}/{plural}" if api else f"/api/{version}/{plural}"
                for version in versions
                for plural in rule["resources"]
            }
    server.forbidden = lambda path: path not in allowed
    items = json.loads(reader.text(server.url))["items"]
    kinds = {item["kind"] for item in items}
    assert ("ServiceCIDR" in kinds, "IPPool" in kinds) == (bool(group), bool(calico))
    told = {item["kind"]: item["apiVersion"] for item in items}
    assert all(told.values())
    assert (told["Node"], told.get("IPPool", "")) == ("v1", calico)


def test_a_forbidden_kubeadm_configuration_is_a_warning(reader: Reader, server: ApiServer) -> None:
    server.objects = [item for item in server.objects if item["kind"] != "ServiceCIDR"]
    server.forbidden = lambda path: path == KUBEADM
    found = Collector()
    assert read_live(kubeconfig(reader.where, server.url), None, found)
    (warning,) = found.found
    assert (warning.code, warning.severity) == ("cluster-forbidden", "warning")
    assert "serviceCIDRs in the settings" in warning.hint


PODS = "/api/v1/pods"


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again(
    reader: Reader, server: ApiServer, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = reader.text(server.url)
    pauses: list[float] = []
    monkeypatch.setattr("egress_compiler.load.cluster_api.time.sleep", pauses.append)
    busy = Odd(status, failure(status, "try again"))
    server.odd = {PODS: [busy, Odd(status, failure(status, "x"), (("Retry-After", "7"),)), busy], "/apis": [busy]}
    assert reader.text(server.url) == whole
    assert len(pauses) == 4
    assert max(pauses) >= 7
    server.odd, server.forever = {PODS: [busy]}, True
    (error,) = reader.errors(server.url)
    assert error.message == f"{server.url} answers {status} when asked to list pods: try again (6 times)"
    assert sum(pauses) < 60


def test_an_answer_that_is_cut_is_asked_for_again(
    reader: Reader, server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = reader.text(server.url)
    monkeypatch.setattr("egress_compiler.load.cluster_api.FIRST_PAUSE", 0.001)
    server.odd = {PODS: [Odd(way="cut"), Odd(way="cut")]}
    assert reader.text(server.url) == whole
    server.odd, server.forever = {PODS: [Odd(way="cut")]}, True
    (error,) = reader.errors(server.url)
    assert error.message.startswith(f"{server.url} cuts the answer off when asked to list pods: ")


@pytest.mark.parametrize("way", ["hang", "drip"])
@pytest.mark.parametrize("path", ["/apis", PODS])
def test_a_server_that_hangs_or_drips_ends_with_the_timeout(
    reader: Reader, server: ApiServer, way: str, path: str
) -> None:
    server.odd, server.forever = {path: [Odd(way=way)]}, True
    found, shown = Collector(), set[str]()
    began = time.monotonic()
    assert read_live(kubeconfig(reader.where, server.url), None, found, timeout=1.5, show=shown.add) == []
    assert time.monotonic() - began < 30
    (error,) = found.found
    doing = "reading pods" if path == PODS else f"asking {server.url} what it serves"
    assert error.message == f"nothing more within 1.5 seconds, while {doing}"
    assert "--timeout" in error.hint
    assert doing in shown


def test_a_terminal_shows_what_is_being_done(tmp_path: Path, server: ApiServer) -> None:
    server.odd, server.forever = {PODS: [Odd(way="drip")]}, True
    ours, theirs = os.openpty()
    done = snapshot(tmp_path, server.url, "-o", "cluster.json", "--timeout", "3", stderr=theirs)
    os.close(theirs)
    shown = os.read(ours, 65536).decode()
    os.close(ours)
    assert done.returncode == 1
    assert "reading pods, 1 s" in shown
    assert "nothing more within 3 seconds, while reading pods" in shown


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (
            failure(500, "etcd is away"),
            "answers 200 when asked to list pods, with a Status without items: etcd is away",
        ),
        ({"kind": "PodList", "metadata": {}}, "with a PodList without items"),
        (b"<html>Log in</html>", "lists pods in a form that is not understood"),
        (b'{"items": [{"metad', "ends its answer too early when asked to list pods"),
        (b"", "ends its answer too early when asked to list pods"),
    ],
)
def test_a_200_that_is_no_list_is_an_error(reader: Reader, server: ApiServer, body: Json | bytes, words: str) -> None:
    server.odd = {PODS: [Odd(body=body)]}
    (error,) = reader.errors(server.url)
    assert error.code == "cluster-error"
    assert words in error.message


def test_a_list_with_items_null_is_empty(reader: Reader, server: ApiServer) -> None:
    server.odd = {PODS: [Odd(body={"kind": "PodList", "metadata": {}, "items": None})]}
    assert not [item for item in json.loads(reader.text(server.url))["items"] if item["kind"] == "Pod"]


PLUGINS = {
    "fails": "echo 'Unable to refresh: AADSTS700082 expired' >&2; exit 1",
    "says nothing": "exit 0",
    "gives no token": "echo '{"
    + '"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {}'
    + "}'",
}


@pytest.mark.parametrize("plugin", [*PLUGINS, "is missing"])
def test_a_failing_exec_plugin_is_the_one_error(reader: Reader, server: ApiServer, plugin: str) -> None:
    path = kubeconfig(reader.where, server.url)
    config = yaml.safe_load(path.read_text())
    command = "sh" if plugin in PLUGINS else "/nonexistent/kubelogin"
    script = PLUGINS.get(plugin, "")
    config["users"][0]["user"] = {
        "exec": {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": command,
            "args": ["-c", script],
            "interactiveMode": "Never",
        }
    }
    path.write_text(yaml.safe_dump(config))
    (error,) = reader.errors(server.url, config=path)
    assert error.code == "cluster-credentials"
    assert "the credentials cannot be had" in error.message
    if plugin == "fails":
        assert "AADSTS700082 expired" in error.message
    assert server.requests == []


def test_nobody_is_told_so(reader: Reader, server: ApiServer) -> None:
    """A user without credentials is system:anonymous to the API server, which forbids it everything."""
    path = kubeconfig(reader.where, server.url)
    server.odd, server.forever = {}, True
    text = 'nodes is forbidden: User "system:anonymous" cannot list resource "nodes" in API group ""'
    server.odd = {PATHS["Node"]: [Odd(403, failure(403, text))]}
    (error,) = reader.errors(server.url, config=path)
    assert (error.code, len(server.requests)) == ("cluster-credentials", 1)
    assert "system:anonymous: the kubeconfig's user has no credentials" in error.message


def test_clusters_that_cannot_be_read(tmp_path: Path, reader: Reader, server: ApiServer) -> None:
    (refused,) = reader.errors(server.url, bearer="wrong")
    assert refused.code == "cluster-credentials"
    assert "refuses the credentials: they are wrong or have expired" in refused.message
    server.failing = {"/api/v1/nodes": 500}
    (failed,) = reader.errors(server.url)
    assert "answers 500 when asked to list nodes" in failed.message
    (away,) = reader.errors("http://127.0.0.1:9")
    assert away.message.startswith("http://127.0.0.1:9 cannot be read")
    assert "refused" in away.message
    (other,) = reader.errors(server.url, context="lap")
    assert other.hint == "did you mean 'lab'?"
    (none,) = reader.errors(server.url, config=tmp_path / "absent")
    assert "absent: no cluster to read: there is no such file" in none.message
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


def test_what_else_tells_of_the_inside_is_kept_without_the_rest(reader: Reader, server: ApiServer) -> None:
    flags = ["--cluster-cidr=$(CIDR)", "--secret=x"]
    manager = {"name": "kube-controller-manager", "command": flags, "env": [{"name": "CIDR", "value": "10.8.0.0/16"}]}
    vip = {"name": "kube-vip", "env": [{"name": "address", "value": "10.6.1.100"}, {"name": "k", "value": "secret"}]}
    foreign = {"name": "agent", "command": ["/agent", "--cluster-cidr=10.9.0.0/16"]}
    for container in (manager, vip, foreign):
        metadata = {"name": f"{container['name']}-1", "namespace": "kube-system"}
        spec = {"hostNetwork": True, "containers": [container]}
        server.objects.append({"kind": "Pod", "metadata": metadata, "spec": spec, "status": {"phase": "Running"}})
    items = {item["metadata"]["name"]: item for item in json.loads(reader.text(server.url))["items"]}
    assert items["kube-controller-manager-1"]["spec"]["containers"] == [{"args": ["--cluster-cidr=10.8.0.0/16"]}]
    assert items["kube-vip-1"]["spec"]["containers"] == [
        {"name": "kube-vip", "env": [{"name": "address", "value": "10.6.1.100"}]}
    ]
    assert "containers" not in items["agent-1"]["spec"]
