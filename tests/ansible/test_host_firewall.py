"""Hosts with a firewall of their own that refuses what it does not know: our accepts in it, and nothing else of it."""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from egress_compiler.lab import Lab, ProbeTarget
from tests.ansible.conftest import NODES, Node, node_files, objects

pytestmark = pytest.mark.lab

WORKER_POD, GATEWAY_POD, FREE_POD = "shop/web-5d8f7c9b6d-4kq2x", "shop/web-5d8f7c9b6d-tn5rs", "ops/batch-28c7q"
EIPS = ("10.6.1.61", "fd00:10:6:1::61")


@dataclass(frozen=True)
class Firewall:
    """A host's own rules: what loads them, again too, what shows and what removes them; ours in it, by their places."""

    name: str
    load: str
    show: str
    remove: str
    places: tuple[str, ...]


_TABLE = """
*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT DROP [0:0]
:DOCKER-USER - [0:0]
-A INPUT -i lo -j ACCEPT
-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT
-A INPUT ! -i egress.vxlan -p ICMP -j ACCEPT
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -j DOCKER-USER
-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -m comment --comment "not \\"ours\\"" -m conntrack --ctstate INVALID -j DROP
END
-A OUTPUT -o lo -j ACCEPT
-A OUTPUT ! -o egress.vxlan -p ICMP -j ACCEPT
-A OUTPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A DOCKER-USER -j RETURN
COMMIT
"""


def iptables(variant: str, end: str) -> Firewall:
    """What Docker makes of FORWARD, on a host whose other chains are closed too; ``end`` is the last of FORWARD."""
    scripts = {"load": "", "show": "", "remove": ""}
    for tool, icmp in (("iptables", "icmp"), ("ip6tables", "ipv6-icmp")):
        table = _TABLE.replace("ICMP", icmp).replace("END\n", end)
        open_table = "*filter\n:INPUT ACCEPT\n:FORWARD ACCEPT\n:OUTPUT ACCEPT\nCOMMIT\n"
        scripts["load"] += f"{tool}-{variant}-restore <<'X'\n{table}X\n"
        scripts["remove"] += f"{tool}-{variant}-restore <<'X'\n{open_table}X\n"
        scripts["show"] += f"{tool}-{variant}-save\n"
    places = tuple(f"{tool}-{variant} {chain}" for tool in ("iptables", "ip6tables") for chain in ("FORWARD", "OUTPUT"))
    return Firewall(f"iptables-{variant}", **scripts, places=places)


def nftables(name: str, policy: str, end: str) -> Firewall:
    """A ruleset as people write it to /etc/nftables.conf."""
    load = f"""
nft -f - <<'X'
table inet host
delete table inet host
table inet host {{
  chain input {{
    type filter hook input priority filter; policy {policy};
    iif lo accept
    ct state {{ established, related }} accept
    meta l4proto {{ icmp, icmpv6 }} iifname != "egress.vxlan" accept
    tcp dport 22 accept
    {end}
  }}
  chain pass {{
    type filter hook forward priority filter; policy {policy};
    ct state invalid counter drop
    {end}
  }}
  chain refused {{
    counter reject with icmpx type admin-prohibited
  }}
}}
X
"""
    places = ("nft inet host pass",)
    return Firewall(name, load, "nft -s list table inet host", "nft delete table inet host", places)


FIREWALLS = (
    iptables("nft", ""),
    iptables("legacy", "-A FORWARD -j REJECT\n"),
    nftables("nftables-policy", "drop", ""),
    nftables("nftables-reject", "accept", "jump refused"),
)


@pytest.fixture(params=FIREWALLS, ids=lambda firewall: firewall.name)
def firewall(request: pytest.FixtureRequest, lab: Lab) -> Iterator[Firewall]:
    found: Firewall = request.param
    nodes = [Node(lab, name) for name in NODES]
    try:
        for node in nodes:
            node.shell(found.load)
        yield found
    finally:
        for node in nodes:
            assert not node.absent().get("failed")
            node.shell(found.remove)


def shown(node: Node, firewall: Firewall) -> list[str]:
    """The host's rules, without what changes by itself."""
    return [re.sub(r"\[\d+:\d+\]", "", line) for line in node.shell(firewall.show).splitlines() if line[:1] != "#"]


def test_what_is_governed_passes_a_closed_host(lab: Lab, bundle_dir: Path, firewall: Firewall) -> None:
    nodes = [Node(lab, name) for name in NODES]
    before = {node.name: shown(node, firewall) for node in nodes}
    for node in nodes:
        done = node.apply(node_files(bundle_dir, node.name))
        assert not done.get("failed"), done["msg"]

    far = [*lab.topology.outside.far4[:1], *lab.topology.outside.far6[:1]]
    targets = [ProbeTarget(protocol, address) for address in far for protocol in ("tcp", "udp")]
    for _ in range(10):
        if all(result.seen for result in lab.probe(WORKER_POD, targets)):
            break
    for pod in (WORKER_POD, GATEWAY_POD):
        assert [result.seen for result in lab.probe(pod, targets)] == [EIPS[0]] * 2 + [EIPS[1]] * 2
    assert [result.seen for result in lab.probe(FREE_POD, targets, timeout=1)] == [None] * 4, "the host refuses these"

    for node in nodes:
        files = node_files(bundle_dir, node.name)
        again = node.apply(files)
        assert (again["changed"], node.verify(files)) == (False, [])
        after = shown(node, firewall)
        assert [line for line in after if "egress-gateway" not in line] == before[node.name]
        assert len(after) > len(before[node.name])

    node, files = nodes[2], node_files(bundle_dir, NODES[2])
    node.shell(firewall.load)
    named = objects(node.verify(files))
    assert {f"accept of governed connections in {place}" for place in firewall.places} <= set(named)
    assert all(name.startswith("accept of ") for name in named)
    assert objects(node.apply(files, check=True)["changes"]) == named
    assert objects(node.apply(files)["changes"]) == named
    assert node.verify(files) == []

    for node in nodes:
        node.absent()
        assert shown(node, firewall) == before[node.name]


def test_an_accept_behind_what_refuses_everything_is_no_accept(worker: Node, bundle_dir: Path) -> None:
    files = node_files(bundle_dir, "worker1")
    worker.shell("iptables-nft -P FORWARD DROP")
    worker.apply(files)
    worker.shell("iptables-nft -I FORWARD -j LOG; iptables-nft -I FORWARD 2 -j DROP")
    (drift,) = worker.verify(files)
    assert drift["object"] == "accept of governed connections in iptables-nft FORWARD"
    assert drift["actual"].endswith("behind a rule that refuses everything")
    assert worker.apply(files)["changed"]
    assert worker.verify(files) == []
    assert [line.split(" -j ")[1] for line in worker.run("iptables-nft", "-S", "FORWARD").splitlines()[1:]] == [
        "LOG",
        "ACCEPT",
        "DROP",
    ]
    worker.absent()
    worker.shell("iptables-nft -F FORWARD; iptables-nft -P FORWARD ACCEPT")


def test_a_host_that_refuses_nothing_is_left_alone(worker: Node, bundle_dir: Path) -> None:
    worker.shell("iptables-nft -A FORWARD -s 192.0.2.0/24 -j DROP; iptables-nft -t nat -A POSTROUTING -j RETURN")
    show = "nft -s list ruleset | sed '/^table inet egress_gateway/,/^}/d'; cat /proc/net/ip_tables_names"
    before = worker.shell(show)
    worker.apply(node_files(bundle_dir, "worker1"))
    assert worker.shell(show) == before
    worker.shell("iptables-nft -F FORWARD; iptables-nft -t nat -F POSTROUTING")


@pytest.mark.parametrize("variant", ["nft", "legacy"])
def test_a_firewall_that_is_loaded_anew_accepts_again(worker: Node, bundle_dir: Path, variant: str) -> None:
    """By the agent: at boot, too, it finds the firewall of the host as that was loaded."""
    files = node_files(bundle_dir, "worker1")
    load = f"printf '*filter\\n:FORWARD DROP\\n-A FORWARD -j LOG\\nCOMMIT\\n' | iptables-{variant}-restore"
    worker.apply(files, agent=True)
    for _ in range(2):
        worker.shell(load)
        deadline = time.monotonic() + 10
        while "egress-gateway" not in worker.run(f"iptables-{variant}", "-S", "FORWARD"):
            assert time.monotonic() < deadline
    assert worker.verify(files) == []
    worker.absent()
    assert "egress-gateway" not in worker.run(f"iptables-{variant}-save")
    worker.shell(f"iptables-{variant} -F FORWARD; iptables-{variant} -P FORWARD ACCEPT")
