"""The follower's library beside the compiler, packed, measured, and with the scripted server as a process."""

import ipaddress
import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from ansible_collections.egress.gateway.plugins.module_utils.follow.objects import BadObject, metadata
from ansible_collections.egress.gateway.plugins.module_utils.follow.pods import NAMESPACES, pods_of
from ansible_collections.egress.gateway.plugins.module_utils.zipapp import imports
from hypothesis import example, given
from hypothesis import strategies as st

from egress_compiler.diagnostics import Collector
from egress_compiler.load.cluster import load_cluster
from tests.follow_api.certificates import Authority
from tests.follow_api.following import Following
from tests.follow_api.scripted_api import ScriptedApi
from tests.follow_api.wire import Json

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "collections/ansible_collections/egress/gateway/plugins/module_utils"
PODS = pods_of("n1")

# ----------------------------------------------------------------------------------------- the compiler's understanding

TEXTS = st.one_of(
    st.ip_addresses().map(str),
    st.sampled_from(
        ["10.0.0.1", "10.0.0.01", "FD00:0:0::1", "fd00::1%a", "::ffff:1.2.3.4", "", "x", "1", "::", "10.0.0.1 "]
    ),
)
STATUS = st.fixed_dictionaries(
    {},
    optional={
        "phase": st.sampled_from([None, "Pending", "Running", "Succeeded", "Failed", "Unknown"]),
        "podIP": st.none() | TEXTS,
        "podIPs": st.none() | st.lists(st.fixed_dictionaries({}, optional={"ip": st.none() | TEXTS}), max_size=3),
    },
)
SPEC = st.fixed_dictionaries(
    {"nodeName": st.just("n1")}, optional={"hostNetwork": st.sampled_from([None, True, False])}
)
LABELS = st.none() | st.dictionaries(st.sampled_from("abc"), st.sampled_from("xyz"))


@example({"podIP": "10.0.0.1", "podIPs": []}, {}, None)
@given(STATUS, SPEC, LABELS)
def test_a_pod_means_what_the_compiler_makes_of_it(
    tmp_path_factory: pytest.TempPathFactory,
    status: dict[str, Any],
    spec: dict[str, Any],
    labels: dict[str, str] | None,
) -> None:
    meta = {"name": "p", "namespace": "a", "uid": "u", "resourceVersion": "1", "labels": labels}
    raw = {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec, "status": status}
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}, "status": {"addresses": []}}
    path = tmp_path_factory.getbasetemp() / "cluster.json"
    path.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": [node, raw]}))
    cluster = load_cluster([path], Collector())
    one = PODS.decode(raw, metadata(raw, PODS))
    compiled = {pod.key: (tuple(map(shown, pod.addresses)), pod.labels) for pod in cluster.pods}
    assert compiled == ({"a/p": (one.sources, one.labels)} if one.sources else {})
    assert bool(cluster.host_network_pods) == (one.host_network and not one.finished)
    if not one.finished and not one.host_network:
        assert len(cluster.bad_addresses) == one.bad_addresses


def shown(address: Any) -> str:
    kind = ipaddress.IPv6Address if address.family == 6 else ipaddress.IPv4Address
    return str(kind(address.value))


@given(st.binary(max_size=40))
def test_objects_of_any_bytes(data: bytes) -> None:
    try:
        value = msgspec.json.decode(data)
    except msgspec.DecodeError:
        value = data.decode("latin-1")
    for resource in (PODS, NAMESPACES):
        with pytest.raises(BadObject):
            metadata(value, resource)


# ------------------------------------------------------------------------------------------------ on a node without us


def packed(entry: str) -> set[str]:
    """The modules that an archive for ``entry`` would have, as zipapp finds them."""
    found, waiting = {entry}, [entry]
    while waiting:
        source = (PACKAGE / (waiting.pop().replace(".", "/") + ".py")).read_text(encoding="utf-8")
        fresh = imports(source, "follow") - found
        found |= fresh
        waiting += fresh
    return found


def test_an_archive_has_all_of_it() -> None:
    modules = packed("follow.reflector") | packed("follow.api") | packed("follow.pods")
    assert modules == {f"follow.{path.stem}" for path in (PACKAGE / "follow").glob("*.py") if path.stem != "__init__"}


MEASURE = """
import sys, threading, time
sys.path.insert(0, sys.argv[2])
from ansible_collections.egress.gateway.plugins.module_utils.follow.api import Api
from ansible_collections.egress.gateway.plugins.module_utils.follow.credentials import Credentials
from ansible_collections.egress.gateway.plugins.module_utils.follow.pods import NAMESPACES, pods_of
from ansible_collections.egress.gateway.plugins.module_utils.follow.reflector import Reflector
credentials = Credentials(sys.argv[1])
reflectors = [Reflector(Api(credentials), one, lambda changes: None) for one in (pods_of("n1"), NAMESPACES)]
for one in reflectors:
    threading.Thread(target=one.run, daemon=True).start()
while not all(one.state.synced for one in reflectors):
    time.sleep(0.01)
print([sum(1 for _ in one.objects()) for one in reflectors])
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
"""


def test_its_memory_on_a_busy_node(tmp_path: Path) -> None:
    """40 MiB are for the whole follower with 10,000 policies; this is its half without them, at its highest."""
    with ScriptedApi(authority=Authority()) as api:
        for number in range(250):
            labels = {"app": "web", "pod-template-hash": f"{number:x}"}
            api.add_pod("shop", f"web-{number}", ips=[f"10.1.0.{number}"], labels=labels, padding=10_500)
        for number in range(2000):
            api.add_namespace(f"ns-{number}", {"team": f"t{number % 40}", "environment": "production"})
        path = tmp_path / "kubeconfig"
        path.write_text(api.kubeconfig())
        command = [sys.executable, "-I", "-c", MEASURE, str(path), str(ROOT / "collections")]
        counts, kibibytes = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert counts == "[250, 2000]"
    assert int(kibibytes) < 32 * 1024


# ------------------------------------------------------------------------------------- the scripted server as a process


@pytest.mark.parametrize("kind", ["unix", "tcp"])
def test_the_scripted_server_as_a_process(tmp_path: Path, kind: str) -> None:
    control = f"unix:{tmp_path}/control" if kind == "unix" else "tcp:0"
    path = tmp_path / "kubeconfig"
    command = [sys.executable, "-m", "tests.follow_api", "--control", control, "--tls", "--kubeconfig", str(path)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        started = json.loads(process.stdout.readline())
        with connected(started["control"]) as sock, sock.makefile("rw") as file:

            def do(what: str, **arguments: Any) -> Json:
                file.write(json.dumps({"do": what, **arguments}) + "\n")
                file.flush()
                answer: Json = json.loads(file.readline())
                return answer

            assert do("add_pod", namespace="shop", name="a", ips=["10.1.0.1"]) == {"ok": 1001}
            with Following(path, PODS) as it:
                it.until_synced()
                do("misbehave", name="gone-event", verb="watch")
                do("cut")
                do("add_pod", namespace="shop", name="b")
                it.until(lambda: it.names == ["a", "b"] and it.reflector.counters.lists == 2)
            assert do("close") == {"error": "no command close"}
            assert "KeyError" in do("delete_pod", namespace="shop", name="none")["error"]
        process.communicate("")
        assert process.returncode == 0


def connected(where: str) -> socket.socket:
    kind, _, place = where.partition(":")
    if kind == "tcp":
        return socket.create_connection(("127.0.0.1", int(place)))
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(place)
    return sock
