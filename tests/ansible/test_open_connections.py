"""What a change does to open connections: nothing, unless it is asked to, or their address has changed hands."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from egress_compiler.lab import TCP_PORT, Lab, kill
from tests.ansible.conftest import EXAMPLE, Node, compiled, node_files

pytestmark = pytest.mark.lab
PODS = ("shop/web-5d8f7c9b6d-4kq2x", "payments/api-7b6c54d9f8-h2j4l")
FAR = "203.0.113.10"
CLIENT = """
import socket, sys
link = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=4)
file = link.makefile("rw")
print(file.readline().split()[0], flush=True)
for line in sys.stdin:
    try:
        file.write(line)
        file.flush()
        print("alive" if file.readline() == line else "dead", flush=True)
    except OSError:
        print("dead", flush=True)
"""


class Connection:
    def __init__(self, lab: Lab, pod: str) -> None:
        self.process = lab.popen(pod, ["python3", "-c", CLIENT, FAR, str(TCP_PORT)], stdin=subprocess.PIPE)
        self.seen = self._read()

    def _read(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def state(self) -> str:
        assert self.process.stdin is not None
        self.process.stdin.write("ping\n")
        self.process.stdin.flush()
        return self._read()


NEIGHBOUR = """---
apiVersion: egressgateway.spidernet.io/v1beta1
kind: EgressClusterPolicy
metadata: {name: neighbour}
spec:
  egressGatewayName: internet
  egressIP: {ipv4: 10.6.1.61}
  appliedTo: {podSubnet: [10.244.3.96/28]}
"""
"""Has the EIP of shop/web, and nothing else to do with it."""
GATEWAYS = ("gw1", "gw2")


class Stages:
    """The bundle with shop/web, without it, and with another EIP for it, each compiled after the first."""

    def __init__(self, directory: Path) -> None:
        web = (EXAMPLE / "policies" / "shop.yaml").read_text(encoding="utf-8")
        self._directory = directory
        self._lock = EXAMPLE / "egress.lock.json"
        self.with_web = self._compiled("with", web + NEIGHBOUR)
        self._lock = directory / "with.lock.json"
        self.without_web = self._compiled("without", NEIGHBOUR)
        self.moved = self._compiled("moved", web.replace("10.6.1.61", "10.6.1.63") + NEIGHBOUR)

    def _compiled(self, name: str, shop: str) -> Path:
        policies = self._directory / f"policies-{name}"
        shutil.copytree(EXAMPLE / "policies", policies)
        (policies / "shop.yaml").write_text(shop, encoding="utf-8")
        return compiled(self._directory / name, policies=policies, lock=self._lock)


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> Stages:
    return Stages(tmp_path_factory.mktemp("stages"))


@pytest.fixture
def nodes(lab: Lab, stages: Stages) -> Iterator[dict[str, Node]]:
    made = {name: Node(lab, name) for name in (*GATEWAYS, "worker1")}
    for name, node in made.items():
        node.apply(node_files(stages.with_web, name))
    yield made
    for node in made.values():
        node.absent()


@pytest.fixture
def open_ones(lab: Lab, nodes: dict[str, Node]) -> Iterator[list[Connection]]:
    made = [Connection(lab, pod) for pod in PODS]
    assert [connection.seen for connection in made] == ["10.6.1.61", "10.6.1.62"]
    yield made
    for connection in made:
        kill(connection.process)


def new_one_leaves_with(lab: Lab, pod: str) -> str:
    connection = Connection(lab, pod)
    kill(connection.process)
    return connection.seen


def apply(nodes: dict[str, Node], bundle: Path, *names: str, **arguments: Any) -> list[dict[str, Any]]:
    """What ended, on all of these."""
    results = [nodes[name].apply(node_files(bundle, name), **arguments) for name in names]
    return [ended for result in results for ended in result["ended"]]


def test_a_run_that_cuts_ends_what_would_leave_otherwise_and_nothing_else(
    nodes: dict[str, Node], stages: Stages, open_ones: list[Connection]
) -> None:
    assert apply(nodes, stages.without_web, *GATEWAYS) == []
    would = apply(nodes, stages.without_web, "worker1", check=True, connections="cut")
    assert [(e["source"], e["connections"]) for e in would] == [("10.244.3.10", 1)]
    assert apply(nodes, stages.without_web, "worker1") == []
    assert [c.state() for c in open_ones] == ["alive", "alive"], "kept until closed"
    (done,) = apply(nodes, stages.without_web, "worker1", connections="cut")
    assert done["reason"] == "cut, as this run says"
    assert [c.state() for c in open_ones] == ["dead", "alive"]


def test_another_eip_is_for_new_connections_unless_the_run_cuts(
    lab: Lab, nodes: dict[str, Node], stages: Stages, open_ones: list[Connection]
) -> None:
    assert apply(nodes, stages.moved, *GATEWAYS) == []
    assert new_one_leaves_with(lab, PODS[0]) == "10.6.1.61", "the worker does not know yet"
    assert apply(nodes, stages.moved, "worker1") == []
    assert [c.state() for c in open_ones] == ["alive", "alive"], "with the EIP that they have"
    assert new_one_leaves_with(lab, PODS[0]) == "10.6.1.63"
    apply(nodes, stages.moved, *GATEWAYS, connections="cut")
    assert [c.state() for c in open_ones] == ["alive", "alive"], "the worker goes on with them"
    assert apply(nodes, stages.moved, "worker1", connections="cut") != []
    open_ones[0].state()
    anew = apply(nodes, stages.moved, *GATEWAYS, connections="cut")
    assert "begun anew with another answer" in [ended["reason"] for ended in anew]
    assert [c.state() for c in open_ones] == ["dead", "alive"]


def test_another_pod_with_the_address_of_one_that_went_has_nothing_of_it(
    lab: Lab, nodes: dict[str, Node], stages: Stages
) -> None:
    """At the first packet, in case that comes before the next run; and for good at the run that knows the new pod."""
    worker, files = nodes["worker1"], node_files(stages.with_web, "worker1")
    answers = json.loads(files["plan.json"])["worker"]["answers"]
    number = next(answer["number"] for answer in answers if answer["origin"] == "EgressPolicy shop/web")
    stale = f"-p tcp -s 10.244.3.10 -d {FAR} --sport 4000 --dport {TCP_PORT}"
    reply = f"-r {FAR} -q 10.244.3.10 --reply-port-src {TCP_PORT} --reply-port-dst 4000"
    state = f"-t 300 --state ESTABLISHED --status ASSURED,SEEN_REPLY --mark {0x26000000 | number:#x}"
    left_behind = f"conntrack -I {stale} {reply} {state}"
    client = (
        "import socket; link = socket.socket(); link.bind(('', 4000)); link.settimeout(3)\n"
        f"try: link.connect(('{FAR}', {TCP_PORT})); print(link.recv(99))\n"
        "except OSError as error: print(type(error).__name__)"
    )
    worker.shell(left_behind)
    assert lab.exec(PODS[0], ["python3", "-c", client]).stdout.strip() == "ConnectionRefusedError"
    worker.shell(f"conntrack -D {stale}; {left_behind}")
    plan = files["plan.json"].replace("shop/web-5d8f7c9b6d-4kq2x", "shop/web-5d8f7c9b6d-fresh")
    (ended,) = worker.apply({**files, "plan.json": plan})["ended"]
    assert ended["reason"] == "shop/web-5d8f7c9b6d-fresh has the address of shop/web-5d8f7c9b6d-4kq2x now"
    assert "0 flow" in lab.exec("worker1", ["sh", "-c", f"conntrack -L {stale} 2>&1"]).stdout
