"""How long apply and verify take on a gateway that translates 150,000 source addresses, and nft's part of that.

`make bench`, or `python -m tests.bench.bench_apply [PODS]`; root. The gateways are nodes of a lab; the other nodes, the
pods (with an IPv4 and an IPv6 address each) and the policies are in the bundle only, which is all that a gateway sees.
The modules run as Ansible would run them, without the way there, which `bench_noop` measures.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest

from egress_compiler.lab import build_topology, down, up
from egress_compiler.pipeline import Inputs, compile_bundle
from tests.ansible.conftest import Node

PODS, PODS_OF_NODE, POLICIES = 75_000, 250, 2_000
GATEWAY = "gw1"
POOLS = ("10.6.240.0-10.6.247.255", "fd00:10:6:f::-fd00:10:6:f::7ff")
LIMIT = 45.0
"""Seconds for one pod: four times what it takes on a machine that has nothing else to do."""


def documents(pods: int) -> Iterator[dict[str, Any]]:
    """Gateways, a policy for each app with an EIP of its own."""
    api = {"apiVersion": "egressgateway.spidernet.io/v1beta1"}
    selector = {"selector": {"matchLabels": {"gateway": "true"}}}
    spec: dict[str, Any] = {"ippools": {"ipv4": [POOLS[0]], "ipv6": [POOLS[1]]}, "nodeSelector": selector}
    yield {**api, "kind": "EgressGateway", "metadata": {"name": "internet"}, "spec": spec}
    for number in range(min(POLICIES, pods)):
        metadata = {"name": f"app-{number}", "namespace": "team"}
        applied = {"podSelector": {"matchLabels": {"app": f"app-{number}"}}}
        spec = {"egressGatewayName": "internet", "appliedTo": applied, "egressIP": {"allocatorPolicy": "rr"}}
        yield {**api, "kind": "EgressPolicy", "metadata": metadata, "spec": spec}


def node(number: int, address: int, name: str) -> dict[str, Any]:
    first, second = divmod(address, 250)
    ips = [f"10.6.{first}.{second + 1}", f"fd00:10:6::{address + 1:x}"]
    return {
        "kind": "Node",
        "metadata": {"name": name, "labels": {"gateway": str(name.startswith("gw")).lower()}},
        "spec": {"podCIDRs": [f"10.{128 + number // 256}.{number % 256}.0/24", f"fd00:20:0:{number:x}::/64"]},
        "status": {"addresses": [{"type": "InternalIP", "address": ip} for ip in ips]},
    }


def pod(number: int, place: int) -> dict[str, Any]:
    on, slot = divmod(place, PODS_OF_NODE)
    on += 2
    ips = [f"10.{128 + on // 256}.{on % 256}.{slot + 2}", f"fd00:20:0:{on:x}::{slot + 2:x}"]
    labels = {"app": f"app-{number % POLICIES}"}
    return {
        "kind": "Pod",
        "metadata": {"name": f"pod-{number}", "namespace": "team", "labels": labels},
        "spec": {"nodeName": f"node-{on}"},
        "status": {"phase": "Running", "podIP": ips[0], "podIPs": [{"ip": ip} for ip in ips]},
    }


def cluster(pods: int, *, first: int = 0) -> dict[str, Any]:
    """The gateways and workers for more than that many pods; the first pod has the address of that place."""
    items = [node(number, number, f"gw{number + 1}") for number in range(2)]
    items += [node(n + 2, n + 2, f"node-{n + 2}") for n in range(2 * pods // PODS_OF_NODE + 1)]
    items += [pod(number, number + first) for number in range(pods)]
    return {"apiVersion": "v1", "kind": "List", "items": items}


class Bench:
    """A gateway in a lab, and the files for it with many pods."""

    def __init__(self, directory: Path, node_: Node) -> None:
        self._directory = directory
        self._node = node_

    def files(self, pods: int, first: int = 0) -> dict[str, str]:
        """The gateway's part of the bundle for so many pods; EIPs stay, by the lock file."""
        source = self._directory / "cluster.json"
        source.write_text(json.dumps(cluster(pods, first=first)), encoding="utf-8")
        lock = self._directory / "egress.lock.json"
        settings = self._directory / "settings.yaml"
        compilation = compile_bundle(
            Inputs((self._directory / "policies.json",), (source,), settings=settings, lock=lock)
        )
        lock.write_text(compilation.lock_text, encoding="utf-8")
        prefix = f"nodes/{GATEWAY}/"
        return {n.removeprefix(prefix): t for n, t in compilation.files.items() if n.startswith(prefix)}

    def apply(self, files: dict[str, str]) -> tuple[float, int]:
        """Seconds, and how many objects it changed."""
        began = perf_counter()
        result = self._node.apply(files)
        took = perf_counter() - began
        assert not result.get("failed"), result
        return took, len(result["changes"])

    def verify(self, files: dict[str, str]) -> float:
        began = perf_counter()
        assert self._node.verify(files) == []
        return perf_counter() - began

    def nft(self, ruleset: str) -> tuple[float, float]:
        """What nft alone takes to replace the table, and to print it."""
        began = perf_counter()
        self._node.lab.exec(GATEWAY, ["nft", "-f", "-"], stdin=ruleset, timeout=60)
        replaced = perf_counter()
        command = self._node.lab.command(GATEWAY, ["nft", "-j", "-s", "list", "table", "inet", "egress_gateway"])
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        return replaced - began, perf_counter() - replaced


def measure(pods: int = PODS) -> dict[str, float]:
    """Seconds by what was done; prints them as they come."""
    name = f"bench-{os.getpid()}-apply"
    times: dict[str, float] = {}

    def tell(what: str, seconds: float, changed: int | None = None) -> None:
        times[what] = seconds
        more = "" if changed is None else f"  {changed} objects changed"
        sys.stdout.write(f"{what:32} {seconds:6.2f} s{more}\n")
        sys.stdout.flush()

    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary)
        policies = {"apiVersion": "v1", "kind": "List", "items": list(documents(pods))}
        (directory / "policies.json").write_text(json.dumps(policies), encoding="utf-8")
        (directory / "settings.yaml").write_text("serviceCIDRs: [10.96.0.0/16, 'fd00:10:96::/112']\n", encoding="utf-8")
        (directory / "lab.json").write_text(
            json.dumps({"kind": "List", "items": [node(n, n, f"gw{n + 1}") for n in range(2)]}), encoding="utf-8"
        )
        lab = up(build_topology([directory / "lab.json"], extra_addresses=POOLS), name=name, gateways=["gw1", "gw2"])
        try:
            bench = Bench(directory, Node(lab, GATEWAY))
            many, more, others = bench.files(pods), bench.files(pods + 1), bench.files(pods, pods)
            sys.stdout.write(f"\n{2 * pods} source addresses, {min(POLICIES, pods)} policies\n")
            tell("apply, nothing was there", *bench.apply(many))
            tell("apply, nothing to do", *bench.apply(many))
            tell("apply, one pod more", *bench.apply(more))
            tell("apply, one pod less", *bench.apply(many))
            tell("verify", bench.verify(many))
            tell("apply, every address another", *bench.apply(others))
            for what, seconds in zip(
                ("nft alone: replace", "nft alone: list"), bench.nft(many["nftables.nft"]), strict=True
            ):
                tell(what, seconds)
        finally:
            down(name)
    return times


@pytest.mark.lab
def test_apply() -> None:
    assert measure()["apply, one pod more"] < LIMIT


if __name__ == "__main__":
    measure(*map(int, sys.argv[1:]))
