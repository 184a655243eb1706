"""A governed pod that never stops talking, and an outside that counts what does not come from an EIP."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from egress_compiler.lab import Lab, ProbeTarget, kill
from tests.ansible.conftest import NODES, Node, node_files

POD = "shop/web-5d8f7c9b6d-4kq2x"
"""It is on worker1, and leaves by gw1 while that is well."""
_EIPS4, _EIPS6 = "10.6.1.60-10.6.1.69", "fd00:10:6:1::60-fd00:10:6:1::69"
_PORT = 4242
TALK = f"""
import itertools, socket, sys, time
targets = [(socket.AF_INET6 if ":" in a else socket.AF_INET, a) for a in sys.argv[1:]]
for family, address in itertools.cycle(targets):
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as s:  # a connection of its own each time
            s.sendto(b"x", (address, {_PORT}))
    except OSError:
        pass  # refused: that is no leak
    time.sleep(0.005)
"""
_LISTEN = f"""
table inet leaks {{
    set leaked4 {{ type ipv4_addr; flags dynamic; }}
    set leaked6 {{ type ipv6_addr; flags dynamic; }}
    counter right {{ }}
    chain input {{
        type filter hook input priority 0;
        udp dport {_PORT} jump judge
    }}
    chain judge {{
        ip saddr {_EIPS4} counter name right return
        ip6 saddr {_EIPS6} counter name right return
        add @leaked4 {{ ip saddr }}
        add @leaked6 {{ ip6 saddr }}
    }}
}}
"""


@contextlib.contextmanager
def talking(lab: Lab) -> Iterator[None]:
    """While the block runs the pod sends IPv4 and IPv6 to the outside, which counts."""
    lab.exec("outside", ["nft", "-f", "-"], stdin=_LISTEN)
    talker = lab.popen(POD, [sys.executable, "-c", TALK, *_outside(lab)], stdout=subprocess.DEVNULL)
    try:
        yield
        assert talker.poll() is None, "it talks to the end"
    finally:
        kill(talker)
        lab.exec("outside", ["nft", "delete", "table", "inet", "leaks"])


def heard(lab: Lab) -> tuple[list[str], int]:
    """The addresses other than EIPs that it was seen with, and the number of packets from EIPs."""
    listing = json.loads(lab.exec("outside", ["nft", "-j", "list", "table", "inet", "leaks"]).stdout)["nftables"]
    leaked = [str(address) for entry in listing if "set" in entry for address in entry["set"].get("elem", ())]
    return leaked, next(int(entry["counter"]["packets"]) for entry in listing if "counter" in entry)


def govern(lab: Lab, bundle_dir: Path) -> None:
    """The bundle on every node, and the pod seen with its EIPs in both families."""
    for name in NODES:
        done = Node(lab, name).apply(node_files(bundle_dir, name))
        assert not done.get("failed"), done["msg"]
    until_governed(lab)


def until_governed(lab: Lab) -> None:
    targets = [ProbeTarget("tcp", address) for address in _outside(lab)]
    seen: list[str] = []
    for _ in range(30):
        seen = [str(result.seen) for result in lab.probe(POD, targets, timeout=1)]
        if all(address.rpartition(":")[2].rpartition(".")[2] in ("60", "61") for address in seen):
            return
    raise AssertionError(f"the pod is seen with {seen}")


def _outside(lab: Lab) -> list[str]:
    return [lab.topology.outside.far4[0], lab.topology.outside.far6[0]]
