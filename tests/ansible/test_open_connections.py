"""What a change does to open connections: nothing, unless it is asked to, or their address has changed hands."""

import json
import subprocess
from pathlib import Path

import pytest

from egress_compiler.lab import TCP_PORT, Lab, kill
from tests.ansible.conftest import Node, node_files

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


def without_policy(files: dict[str, str]) -> dict[str, str]:
    """The node's files with the classes of EgressPolicy shop/web gone from both places that hold them."""
    plan = json.loads(files["plan.json"])
    kept = {"steer": "steer.egp.shop.web", "snat": "snat.egp.shop.web"}
    for kind, chain in kept.items():
        for key, sources in plan[kind + "_sources"].items():
            plan[kind + "_sources"][key] = [s for s in sources if f"{kind}.{s['traffic_class']}" != chain]
    text = "".join(
        line
        for line in files["nftables.nft"].splitlines(keepends=True)
        if not any(f"goto {c}," in line for c in kept.values())
    )
    for address in ("10.244.3.10", "fd00:10:244:3::a"):
        text = text.replace(f"\t\t\t{address},\n", "")
    return {**files, "plan.json": json.dumps(plan), "nftables.nft": text}


@pytest.fixture
def applied(lab: Lab, bundle_dir: Path) -> "list[tuple[Node, dict[str, str]]]":
    made = [(Node(lab, name), node_files(bundle_dir, name)) for name in ("gw1", "gw2", "worker1")]
    for node, files in made:
        node.apply(files)
    return made


def test_a_run_that_cuts_ends_what_would_leave_otherwise_and_nothing_else(
    lab: Lab, applied: "list[tuple[Node, dict[str, str]]]"
) -> None:
    worker, files = applied[2]
    connections = [Connection(lab, pod) for pod in PODS]
    try:
        assert [c.seen for c in connections] == ["10.6.1.61", "10.6.1.62"]
        less = without_policy(files)
        would = worker.apply(less, check=True, connections="cut")
        assert [(e["source"], e["connections"]) for e in would["ended"]] == [("10.244.3.10", 1)]
        assert worker.apply(less)["ended"] == []
        assert [c.state() for c in connections] == ["alive", "alive"], "kept until closed"
        done = worker.apply(less, connections="cut")
        assert ([e["reason"] for e in done["ended"]], done["changed"]) == (["cut, as this run says"], False)
        assert [c.state() for c in connections] == ["dead", "alive"]
    finally:
        for connection in connections:
            kill(connection.process)
        for node, _ in applied:
            node.absent()


def test_another_pod_with_the_address_of_one_that_went_has_nothing_of_it(
    lab: Lab, applied: "list[tuple[Node, dict[str, str]]]"
) -> None:
    """At the first packet, in case that comes before the next run; and for good at the run that knows the new pod."""
    worker, files = applied[2]
    stale = f"-p tcp -s 10.244.3.10 -d {FAR} --sport 4000 --dport {TCP_PORT}"
    reply = f"-r {FAR} -q 10.244.3.10 --reply-port-src {TCP_PORT} --reply-port-dst 4000"
    left_behind = (
        f"conntrack -I {stale} {reply} -t 300 --state ESTABLISHED --status ASSURED,SEEN_REPLY --mark 0x26000001"
    )
    client = (
        "import socket; link = socket.socket(); link.bind(('', 4000)); link.settimeout(3)\n"
        f"try: link.connect(('{FAR}', {TCP_PORT})); print(link.recv(99))\n"
        "except OSError as error: print(type(error).__name__)"
    )
    try:
        worker.shell(left_behind)
        assert lab.exec(PODS[0], ["python3", "-c", client]).stdout.strip() == "ConnectionRefusedError"
        worker.shell(f"conntrack -D {stale}; {left_behind}")
        plan = files["plan.json"].replace("shop/web-5d8f7c9b6d-4kq2x", "shop/web-5d8f7c9b6d-fresh")
        (ended,) = worker.apply({**files, "plan.json": plan})["ended"]
        assert ended["reason"] == "shop/web-5d8f7c9b6d-fresh has the address of shop/web-5d8f7c9b6d-4kq2x now"
        assert "0 flow" in lab.exec("worker1", ["sh", "-c", f"conntrack -L {stale} 2>&1"]).stdout
    finally:
        for node, _ in applied:
            node.absent()
