"""How many packets a worker steers with 1 to 5,000 policies, and how much TCP goes through the tunnel and a gateway.

`make bench`, or `python -m tests.bench.bench_packets [POLICIES [PODS]]`; root. The worker has its part of a compiled
bundle in which every policy governs a pod there towards destinations of its own; it has 250 pods at most, which several
policies share then. Beside it, in the same run: a rule with two ipsets for each policy, by iptables-legacy and
iptables-nft, where this machine has ipset. A pod that no policy governs sends too, past the worker's rules.

One sender and everything on the way share a processor, as a veth pair hands a packet on within the sender's system
call: the figures are what one processor does, sending included. What sending alone costs is measured too, by dropping
the packets where they leave the pod; the costs of steering have it subtracted. What was steered is dropped at the
gateway's door and counted there: a packet that does not arrive does not count.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from egress_compiler.contract.names import NFT_TABLE
from egress_compiler.lab import Lab, build_topology, down, up
from egress_compiler.lab.lab import kill
from egress_compiler.lab.ports import UDP_PORT
from egress_compiler.pipeline import Compilation, Inputs, compile_bundle
from tests.bench.rival import Iptables, Policy, by_hand
from tests.lab.by_hand import apply_by_hand, apply_node

POLICIES = (1, 100, 1_000, 5_000)
PODS = 250
"""Of a node; the last resort of routing has a rule for each, which every packet without our mark passes."""
GATEWAY, WORKER, POD, FREE_POD = "gw1", "worker1", "bench/web-0", "bench/free"
SERVER = "203.0.113.10"
STREAM_PORT = 7100
ROUNDS, COUNT, SECONDS = 3, 40_000, 0.5
STREAMS, STREAM_SECONDS = 5, 1.5
MOST_GROWTH = 3.0
"""A packet with 5,000 policies and 250 pods may cost that many times what it costs with one of each."""
LEAST_THROUGHPUT = 0.5
"""Of the path by hand."""
Kind = Literal["established", "new"]
KINDS: tuple[Kind, ...] = ("established", "new")
TRAFFIC = str(Path(__file__).with_name("traffic.py"))


def own_destination(number: int) -> str:
    return f"198.18.{number // 250}.{number % 250}"


def pod_address(number: int) -> str:
    return f"10.244.{64 + number // 250}.{number % 250 + 2}"


def destinations(number: int, pods: int) -> list[str]:
    """Of a policy; the first of each pod has the server that is sent to."""
    return [own_destination(number)] + ([SERVER] if number < pods else [])


def policies(count: int, pods: int) -> Iterator[dict[str, Any]]:
    api = {"apiVersion": "egressgateway.spidernet.io/v1beta1"}
    spec: dict[str, Any] = {
        "ippools": {"ipv4": ["10.6.1.60-10.6.1.63"]},
        "nodeSelector": {"selector": {"matchLabels": {"gateway": "true"}}},
    }
    yield {**api, "kind": "EgressGateway", "metadata": {"name": "internet"}, "spec": spec}
    for number in range(count):
        spec = {
            "egressGatewayName": "internet",
            "appliedTo": {"podSelector": {"matchLabels": {"app": f"web-{number % pods}"}}},
            "destSubnet": [f"{address}/32" for address in destinations(number, pods)],
        }
        yield {**api, "kind": "EgressPolicy", "metadata": {"name": f"p{number}", "namespace": "bench"}, "spec": spec}


def cluster(count: int) -> dict[str, Any]:
    """A gateway, and a worker with so many pods and one that no policy governs."""

    def node(name: str, number: int, cidr: str) -> dict[str, Any]:
        metadata = {"name": name, "labels": {"gateway": str(name == GATEWAY).lower()}}
        addresses = [{"type": "InternalIP", "address": f"10.6.1.{number + 10}"}]
        return {"kind": "Node", "metadata": metadata, "spec": {"podCIDRs": [cidr]}, "status": {"addresses": addresses}}

    def pod(name: str, address: str) -> dict[str, Any]:
        metadata = {"name": name, "namespace": "bench", "labels": {"app": name}}
        status = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}
        return {"kind": "Pod", "metadata": metadata, "spec": {"nodeName": WORKER}, "status": status}

    nodes = [node(GATEWAY, 1, "10.244.1.0/24"), node(WORKER, 2, "10.244.64.0/18")]
    pods = [pod(f"web-{number}", pod_address(number)) for number in range(count)]
    return {"apiVersion": "v1", "kind": "List", "items": [*nodes, *pods, pod("free", "10.244.127.9")]}


@dataclass(slots=True)
class Bench:
    """A lab with one gateway and one worker, which has at most so many pods."""

    lab: Lab
    directory: Path
    pods: int

    def compile(self, count: int) -> Compilation:
        for name, value in (
            ("policies.json", {"apiVersion": "v1", "kind": "List", "items": list(policies(count, self.pods))}),
            ("cluster.json", cluster(min(count, self.pods))),
        ):
            (self.directory / name).write_text(json.dumps(value), encoding="utf-8")
        lock = self.directory / "egress.lock.json"
        settings = self.directory / "settings.yaml"
        files = [self.directory / name for name in ("policies.json", "cluster.json")]
        compilation = compile_bundle(Inputs((files[0],), (files[1],), settings=settings, lock=lock))
        lock.write_text(compilation.lock_text, encoding="utf-8")
        return compilation

    def flood(self, pod: str, kind: Kind, sink: str) -> float:
        """Packets a second that arrived at a host's sink; the median of the rounds."""
        rates = []
        for _ in range(ROUNDS):
            self.lab.exec(WORKER, ["conntrack", "-F"], check=False)
            before = self._arrived(sink)
            words = ["flood", SERVER, str(UDP_PORT), kind, str(COUNT), str(SECONDS)]
            done = json.loads(self.lab.exec(pod, [sys.executable, "-I", "-S", TRAFFIC, *words]).stdout)
            rates.append((self._arrived(sink) - before) / done["seconds"])
        return statistics.median(rates)

    def _arrived(self, host: str) -> int:
        text = self.lab.exec(host, ["nft", "list", "table", "netdev", "sink"]).stdout
        return int(re.findall(r"packets (\d+)", text)[0])

    @contextmanager
    def sink(self, host: str, device: str, match: str) -> Iterator[None]:
        """Counts and drops the long datagrams that arrive at a device; short ones, as of hello and ARP, pass."""
        chain = f'type filter hook ingress device "{device}" priority 0'
        rules = f"table netdev sink {{ chain in {{ {chain}\n{match} counter drop\n}}\n}}\n"
        self.lab.exec(host, ["nft", "-f", "-"], stdin=rules)
        try:
            yield
        finally:
            self.lab.exec(host, ["nft", "delete", "table", "netdev", "sink"])

    def bare(self, *nodes: str) -> None:
        """Takes our table away, and leaves the tunnel and its routing."""
        for node in nodes:
            self.lab.exec(node, ["nft", "delete", "table", "inet", NFT_TABLE])


@contextmanager
def benched(pods: int) -> Iterator[Bench]:
    name = f"bench-{os.getpid()}-packets"
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary)
        (directory / "settings.yaml").write_text("serviceCIDRs: [10.96.0.0/16]\n", encoding="utf-8")
        (directory / "lab.json").write_text(json.dumps(cluster(1)), encoding="utf-8")
        topology = build_topology([directory / "lab.json"], extra_addresses=["10.6.1.60-10.6.1.63"])
        try:
            yield Bench(up(topology, name=name, gateways=[GATEWAY]), directory, pods)
        finally:
            down(name)


def packets(bench: Bench, counts: tuple[int, ...]) -> dict[tuple[int, str, Kind], float]:
    """Packets a second by number of policies, layout and kind of connection; prints them as they come."""
    found: dict[tuple[int, str, Kind], float] = {}
    lab = bench.lab
    device = lab.topology.pod(POD).device
    with bench.sink(WORKER, device, "udp length > 60"):
        alone = bench.flood(POD, "new", WORKER)
    say(f"sending alone: {alone:,.0f} packets/s, {1e6 / alone:.2f} us each")
    say(f"{'policies':>8}  {'layout':16} {'established':>12} {'new':>10}  us for steering: established, new   free pod")
    for count in counts:
        compilation = bench.compile(count)
        if count == counts[0]:
            apply_by_hand(lab, compilation)
        else:
            apply_worker(lab, compilation)
        layouts: list[tuple[str, Callable[[], None], Callable[[], None]]] = [("egress-compiler", nothing, nothing)]
        layouts += rivals(bench, count)
        for layout, begin, end in layouts:
            begin()
            with bench.sink(GATEWAY, "eth0", "udp dport 7789 udp length > 90"):
                for kind in KINDS:
                    found[count, layout, kind] = bench.flood(POD, kind, GATEWAY)
            with bench.sink("outside", "eth0", "udp length > 60"):
                free = bench.flood(FREE_POD, "established", "outside")
            end()
            rates = [found[count, layout, kind] for kind in KINDS]
            costs = "  ".join(f"{1e6 / rate - 1e6 / alone:8.2f}" for rate in rates)
            say(f"{count:8}  {layout:16} {rates[0]:12,.0f} {rates[1]:10,.0f}  {costs}  {free:24,.0f}")
    return found


def nothing() -> None:
    """For a layout that is there."""


def rivals(bench: Bench, count: int) -> Iterator[tuple[str, Callable[[], None], Callable[[], None]]]:
    """Those for which this machine has the programs. After all of them the worker has no table of ours."""
    wanted = [Policy([pod_address(n % bench.pods)], destinations(n, bench.pods)) for n in range(count)]
    first = True
    for program in ("iptables-legacy", "iptables-nft"):
        if shutil.which("ipset") is None or shutil.which(program) is None:
            say(f"          {program}: this machine lacks it, or ipset")
            continue
        rival = Iptables(bench.lab, WORKER, program)

        def begin(rival: Iptables = rival, bare: bool = first) -> None:
            if bare:
                bench.bare(WORKER)
            rival.up(wanted)

        yield f"{program}+ipset", begin, rival.down
        first = False


def apply_worker(lab: Lab, compilation: Compilation) -> None:
    """Routing rules and the device anew, as files that a person feeds to `ip` are no delta."""
    lab.exec(
        WORKER, ["sh", "-c", "ip rule flush proto 213; ip route flush table all proto 213; ip link del egress.vxlan"]
    )
    apply_node(lab, compilation, next(plan for plan in compilation.plans if plan.node == WORKER))


def throughput(bench: Bench) -> tuple[float, float]:
    """Median Gbit/s of one TCP connection from a pod by its gateway: as compiled, and with the least rules by hand."""
    lab = bench.lab
    compilation = bench.compile(1)
    apply_worker(lab, compilation)
    pod = lab.topology.pod(POD).addresses[0]
    plan = next(plan for plan in compilation.plans if plan.node == GATEWAY)
    assert plan.gateway is not None
    eip = next(eip.address for membership in plan.gateway.memberships for eip in membership.eips)
    hand = dict(zip((WORKER, GATEWAY), by_hand(pod, eip, "eth0", plan.kernel.tunnel.mtu - 40), strict=True))
    ours = {node: compilation.files[f"nodes/{node}/nftables.nft"] for node in hand}
    rates: tuple[list[float], list[float]] = ([], [])
    sink = lab.popen("outside", [sys.executable, "-I", "-S", TRAFFIC, "sink", SERVER, str(STREAM_PORT)])
    try:
        assert sink.stdout is not None
        sink.stdout.readline()
        for _ in range(STREAMS):
            rates[0].append(stream(lab))
            bench.bare(*hand)
            for node, rules in hand.items():
                lab.exec(node, ["nft", "-f", "-"], stdin=rules)
            rates[1].append(stream(lab))
            for node, rules in ours.items():
                lab.exec(node, ["nft", "-f", "-"], stdin="delete table ip hand\n" + rules)
    finally:
        kill(sink)
    return statistics.median(rates[0]), statistics.median(rates[1])


def stream(lab: Lab) -> float:
    words = ["stream", SERVER, str(STREAM_PORT), str(STREAM_SECONDS)]
    done = json.loads(lab.exec(POD, [sys.executable, "-I", "-S", TRAFFIC, *words]).stdout)
    return float(done["bytes"] * 8 / done["seconds"] / 1e9)


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def report(counts: tuple[int, ...] = POLICIES, pods: int = PODS) -> tuple[dict[tuple[int, str, Kind], float], float]:
    """The packets, and the ratio of the throughputs."""
    say("")
    with benched(pods) as bench:
        found = packets(bench, counts)
        ours, hand = throughput(bench)
    say(f"TCP, one connection: {ours:.2f} Gbit/s, by hand {hand:.2f} Gbit/s: {ours / hand:.2f} times")
    return found, ours / hand


@pytest.mark.lab
@pytest.mark.timeout(900)
def test_packets() -> None:
    found, ratio = report()
    for kind in KINDS:
        few, many = (found[count, "egress-compiler", kind] for count in (POLICIES[0], POLICIES[-1]))
        assert few < MOST_GROWTH * many
    assert ratio > LEAST_THROUGHPUT


if __name__ == "__main__":
    numbers = [int(argument) for argument in sys.argv[1:]]
    report(tuple(numbers[:1]) or POLICIES, *numbers[1:])
