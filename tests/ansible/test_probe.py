"""The probe module against the lab's echo service, from a node and from a pod's network namespace."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from egress_compiler.lab import HTTP_PORT, TCP_PORT, UDP_PORT, Lab
from tests.ansible.conftest import COLLECTIONS, Node

pytestmark = pytest.mark.lab

PORTS = {"tcp": TCP_PORT, "udp": UDP_PORT, "http": HTTP_PORT, "websocket": HTTP_PORT}


def targets(*addresses: str) -> list[dict[str, Any]]:
    return [{"address": a, "port": p, "protocol": name} for a in addresses for name, p in PORTS.items()]


def test_all_protocols_in_both_families(lab: Lab) -> None:
    servers = [*lab.topology.outside.far4[:1], *lab.topology.outside.far6[:1]]
    done = Node(lab, "worker1").module("probe", targets=targets(*servers), expect=["10.6.1.21", "fd00:10:6:1::21"])
    assert not done.get("failed"), done["msg"]
    seen = [(result["protocol"], result["seen"]) for result in done["results"]]
    assert seen == [(p, a) for a in ("10.6.1.21", "fd00:10:6:1::21") for p in PORTS]


def test_another_address_than_expected_fails(lab: Lab) -> None:
    server = lab.topology.outside.far4[0]
    done = Node(lab, "worker1").module("probe", targets=targets(server)[:1], expect=["10.6.1.60"])
    assert done["failed"]
    assert done["msg"] == f"{server} port {TCP_PORT} over tcp saw 10.6.1.21, expected 10.6.1.60"


def test_no_answer_is_told_apart_from_a_wrong_one(lab: Lab) -> None:
    server = lab.topology.outside.far4[0]
    closed = [{"address": server, "port": 9, "protocol": name} for name in ("tcp", "udp")]
    done = Node(lab, "worker1").module("probe", targets=closed, timeout=0.5, expect=["10.6.1.21"])
    assert done["failed"]
    assert [result["seen"] for result in done["results"]] == [None, None]
    assert all(result["error"] for result in done["results"])


def test_from_a_network_namespace(lab: Lab) -> None:
    pod = next(pod for pod in lab.topology.pods if pod.node == "worker1")
    namespace = lab.command(pod.host, ["true"])[3]
    arguments = {"targets": targets(lab.topology.outside.far4[0]), "namespace": namespace}
    done = _on_this_machine(arguments)
    assert {result["seen"] for result in done["results"]} == {"10.6.1.21"}, "the CNI masquerades"


KUBECTL = """\
#!/bin/sh
# As kubectl exec: the pod after the options, its command after --; programs that the container has not end with 127.
for word; do shift; case $word in --) break ;; --namespace=*) space=${word#*=} ;; -*|exec) ;; *) pod=$word ;; esac; done
[ "$space/$pod" = "@POD@" ] || { echo "Error from server (NotFound): pods \\"$pod\\" not found" >&2; exit 1; }
case " @PROGRAMS@ " in *" $1 "*) exec ip netns exec @NETNS@ "$@" ;; esac
echo "exec: \\"$1\\": executable file not found in \\$PATH" >&2
exit 127
"""


@pytest.mark.parametrize(("programs", "protocols"), [("python3", set(PORTS)), ("curl", {"http"}), ("", set())])
def test_from_a_pod_through_kubectl(lab: Lab, tmp_path: Path, programs: str, protocols: set[str]) -> None:
    if programs == "curl" and shutil.which("curl") is None:
        pytest.skip("needs curl")
    pod = next(pod for pod in lab.topology.pods if pod.node == "worker1")
    netns = lab.command(pod.host, ["true"])[3]
    script = KUBECTL.replace("@POD@", pod.host).replace("@NETNS@", netns).replace("@PROGRAMS@", programs)
    (tmp_path / "kubectl").write_text(script, encoding="utf-8")
    (tmp_path / "kubectl").chmod(0o755)
    names = {"namespace": pod.namespace, "name": pod.name, "kubectl": str(tmp_path / "kubectl")}
    arguments = {"targets": targets(lab.topology.outside.far4[0]), "pod": names, "timeout": 3}
    done = _on_this_machine(arguments)
    assert not done.get("failed"), done["msg"]
    assert {r["protocol"]: r["seen"] for r in done["results"] if r["seen"]} == dict.fromkeys(protocols, "10.6.1.21")
    assert all("the container has n" in r["error"] for r in done["results"] if not r["seen"])

    missing = _on_this_machine(arguments | {"pod": names | {"name": "gone"}})
    assert missing["msg"] == f'pod {pod.namespace}/gone: Error from server (NotFound): pods "gone" not found'
    hostile = _on_this_machine(arguments | {"pod": names | {"name": "--help"}})
    assert hostile["msg"] == "'--help' is no name of a pod, a namespace or a container"


def test_a_namespace_that_does_not_exist(lab: Lab) -> None:
    for name in ("no-such-namespace", "../../etc"):
        assert _on_this_machine({"targets": targets("192.0.2.1")[:1], "namespace": name})["failed"]


def _on_this_machine(arguments: dict[str, Any]) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "ansible_collections.egress.gateway.plugins.modules.probe"],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": arguments | {"_ansible_remote_tmp": "/tmp"}}),
        env={**os.environ, "PYTHONPATH": str(COLLECTIONS)},
        capture_output=True,
        text=True,
        check=False,
    )
    result: dict[str, Any] = json.loads(done.stdout)
    return result
