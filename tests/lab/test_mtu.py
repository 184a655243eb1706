"""Paths of several widths: large transfers arrive whatever ICMP is filtered, and datagrams learn what fits."""

import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from egress_compiler.lab import down
from egress_compiler.lab.example import RunningExample, running_example, up_example
from tests.lab.by_hand import EXAMPLES, apply_by_hand
from tests.lab.transfers import start_server, transfer

pytestmark = pytest.mark.lab
NODES = ("gw1", "gw2", "worker1", "worker2")
NARROW_POD, WORKER_POD = "shop/web-5d8f7c9b6d-4kq2x", "shop/web-5d8f7c9b6d-9wz7m"
GATEWAY_POD, FREE_POD = "shop/web-5d8f7c9b6d-tn5rs", "ops/batch-28c7q"
INVENTORY = "all: {hosts: {worker1: {egress_mtu: 1400}, worker2: {}, gw1: {}, gw2: {}}}\n"
"""The tunnel of worker1 takes 1350 bytes, those of the others 1450; its pods' devices have 1400, the others' 1500."""
NO_ICMP = """
table inet no_icmp {
  chain output { type filter hook output priority 0; jump refuse; }
  chain forward { type filter hook forward priority 0; jump refuse; }
  chain refuse {
    icmp type destination-unreachable drop
    icmpv6 type { destination-unreachable, packet-too-big } drop
  }
}
"""


@dataclass(frozen=True)
class Narrow:
    """An applied example, and a server outside for large transfers."""

    running: RunningExample
    far: tuple[str, ...]

    def transfer(self, pod: str, *kinds: str) -> list[object]:
        """The results of each kind towards each address of the server."""
        return transfer(self.running.lab, pod, [f"{kind},{address}" for kind in kinds for address in self.far])

    def forget_paths(self) -> None:
        for host in (*NODES, "outside", NARROW_POD, WORKER_POD, GATEWAY_POD, FREE_POD):
            self.running.lab.exec(host, ["sh", "-ec", "ip route flush cache; ip -6 route flush cache"])

    def everywhere(self, ruleset: str) -> None:
        for host in (*NODES, "outside"):
            self.running.lab.exec(host, ["nft", "-f", "-"], stdin=ruleset)


def applied(directory: Path) -> Iterator[Narrow]:
    name = f"test-{os.getpid()}-{directory.name}"
    lab = up_example(directory, name)
    try:
        running = running_example(name)
        apply_by_hand(lab, running.compilation)
        far = (*lab.topology.outside.far4[:1], *lab.topology.outside.far6[:1])
        server = start_server(lab, "outside", far)
        yield Narrow(running, far)
        server.stop()
    finally:
        down(name)


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Narrow]:
    directory = tmp_path_factory.mktemp("example") / "narrow"
    shutil.copytree(EXAMPLES / "dual-stack-ha", directory)
    (directory / "inventory.yml").write_text(INVENTORY, encoding="utf-8")
    yield from applied(directory)


@pytest.fixture
def filtered(narrow: Narrow) -> Iterator[Narrow]:
    """No router says that a packet was too big, nor does the server."""
    narrow.forget_paths()
    narrow.everywhere(NO_ICMP)
    yield narrow
    narrow.everywhere("delete table inet no_icmp")


@pytest.mark.parametrize("pod", [NARROW_POD, WORKER_POD, GATEWAY_POD])
def test_tcp_transfers_arrive_though_all_icmp_is_filtered(filtered: Narrow, pod: str) -> None:
    assert filtered.transfer(pod, "up", "down") == [True] * 4
    assert filtered.transfer(pod, "udp-up") == [0, 0], "a full datagram shows that nobody is told"


def test_datagrams_learn_what_the_tunnel_takes(narrow: Narrow) -> None:
    narrow.forget_paths()
    found = {pod: narrow.transfer(pod, "udp-up") for pod in (NARROW_POD, WORKER_POD, GATEWAY_POD, FREE_POD)}
    assert found == {
        NARROW_POD: [1350, 1350],
        WORKER_POD: [1450, 1450],
        GATEWAY_POD: [1450, 1450],
        FREE_POD: [1400, 1400],
    }


def test_the_server_learns_what_the_pod_takes(narrow: Narrow) -> None:
    """The pod's node says it, and the server believes it, as it comes from the address that it talks to."""
    lab = narrow.running.lab
    for pod in (WORKER_POD, GATEWAY_POD):
        device = lab.topology.pod(pod).device
        lab.exec(lab.topology.pod(pod).node, ["ip", "link", "set", device, "mtu", "1340"])
        lab.exec(pod, ["ip", "link", "set", "eth0", "mtu", "1340"])
    narrow.forget_paths()
    assert narrow.transfer(WORKER_POD, "udp-down") == [1312, 1292]
    narrow.forget_paths()
    assert narrow.transfer(GATEWAY_POD, "udp-down") == [1312, 1292]


def test_the_pod_learns_of_a_narrower_way_beyond_the_gateway(narrow: Narrow) -> None:
    narrow.forget_paths()
    lab = narrow.running.lab
    for gateway, family in zip(lab.topology.outside.gateways, ("-4", "-6"), strict=True):
        lab.exec("gw1", ["ip", family, "route", "replace", "default", "via", gateway, "dev", "eth0", "mtu", "1290"])
    assert narrow.transfer(NARROW_POD, "udp-up") == [1290, 1290]
    assert narrow.transfer(NARROW_POD, "up", "down") == [True] * 4


IPV6_POLICIES = """
apiVersion: egressgateway.spidernet.io/v1beta1
kind: EgressGateway
metadata: {name: internet}
spec:
  clusterDefault: true
  ippools: {ipv6: ["fd00:10:6:1::60-fd00:10:6:1::65"]}
  nodeSelector: {selector: {matchLabels: {egress.example.com/gateway: "true"}}}
---
apiVersion: egressgateway.spidernet.io/v1beta1
kind: EgressPolicy
metadata: {name: web, namespace: shop}
spec:
  appliedTo: {podSelector: {matchLabels: {app: web}}}
"""


def test_a_tunnel_over_ipv6_is_narrower(tmp_path: Path) -> None:
    cluster = without_ipv4(json.loads((EXAMPLES / "dual-stack-ha" / "cluster.json").read_text(encoding="utf-8")))
    directory = tmp_path / "ipv6"
    (directory / "policies").mkdir(parents=True)
    (directory / "cluster.json").write_text(json.dumps(cluster), encoding="utf-8")
    (directory / "policies" / "web.yaml").write_text(IPV6_POLICIES, encoding="utf-8")
    for narrow in applied(directory):
        assert narrow.far == (narrow.running.lab.topology.outside.far6[0],)
        narrow.everywhere(NO_ICMP)
        assert [narrow.transfer(pod, "up", "down") for pod in (WORKER_POD, GATEWAY_POD)] == [[True] * 2] * 2
        narrow.everywhere("delete table inet no_icmp")
        narrow.forget_paths()
        assert [narrow.transfer(pod, "udp-up") for pod in (WORKER_POD, GATEWAY_POD)] == [[1430], [1430]]


def without_ipv4(value: Any) -> Any:
    """The cluster as one of IPv6 alone: without the IPv4 items of lists, and the first of those that are left."""
    if isinstance(value, list):
        return [without_ipv4(item) for item in value if not is_ipv4(item)]
    if not isinstance(value, dict):
        return value
    found = {key: without_ipv4(item) for key, item in value.items()}
    for one, several in (("podIP", "podIPs"), ("podCIDR", "podCIDRs"), ("clusterIP", "clusterIPs")):
        if found.get(several):
            found[one] = found[several][0]["ip"] if one == "podIP" else found[several][0]
    return found


def is_ipv4(item: object) -> bool:
    text = item.get("address", item.get("ip")) if isinstance(item, dict) else item
    return isinstance(text, str) and re.fullmatch(r"[0-9]+\.[0-9.]+(/[0-9]+)?", text) is not None
