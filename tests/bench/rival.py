"""Two other ways to steer the same pods: a rule for each policy, and by hand the least that will do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from egress_compiler.contract.names import TUNNEL_DEVICE
from egress_compiler.contract.numbers import GATEWAY_MARK_PREFIX, MARK_MASK, slot_mark
from egress_compiler.lab import Lab

NUMBER = 1
"""Of the slot, and of the answer that the gateway is to give: the tunnel carries the packet's mark."""
MARK = f"{slot_mark(NUMBER):#x}"
KEEP = f"""    chain keep {{
        type nat hook postrouting priority srcnat - 10
        oifname "{TUNNEL_DEVICE}" snat ip to ip saddr
    }}
"""
"""Keeps the CNI from masquerading what goes into the tunnel."""


@dataclass(frozen=True, slots=True)
class Policy:
    """Sources that leave by slot 1 towards the destinations."""

    sources: Sequence[str]
    destinations: Sequence[str]


class Iptables:
    """A rule in mangle/PREROUTING and two ipsets for each policy, as the in-cluster controller keeps them."""

    def __init__(self, lab: Lab, node: str, program: str) -> None:
        self._lab = lab
        self._node = node
        self._program = program

    def up(self, policies: Sequence[Policy]) -> None:
        sets, rules = [], ["*mangle"]
        for number, policy in enumerate(policies):
            for name, addresses in ((f"src-{number}", policy.sources), (f"dst-{number}", policy.destinations)):
                sets.append(f"create {name} hash:net maxelem 1024 hashsize 64")
                sets += [f"add {name} {address}" for address in addresses]
            match = f"-m set --match-set src-{number} src -m set --match-set dst-{number} dst"
            rules.append(f"-A PREROUTING {match} -j MARK --set-xmark {MARK}/{MARK_MASK:#x}")
        rules += [
            f"-A FORWARD -o {TUNNEL_DEVICE} -j MARK --set-mark {NUMBER}",
            "COMMIT",
        ]
        self._exec(["ipset", "restore"], "\n".join(sets) + "\n")
        self._exec([f"{self._program}-restore", "--noflush"], "\n".join(rules) + "\n")
        self._exec(["nft", "-f", "-"], f"table ip hand {{\n{KEEP}}}\n")

    def down(self) -> None:
        flush = "*mangle\n-F PREROUTING\n-F FORWARD\nCOMMIT\n"
        self._exec([f"{self._program}-restore", "--noflush"], flush)
        self._exec(["nft", "delete", "table", "ip", "hand"], "")
        self._exec(["ipset", "destroy"], "")

    def _exec(self, argv: Sequence[str], stdin: str) -> None:
        self._lab.exec(self._node, argv, stdin=stdin, timeout=120)


def by_hand(pod: str, eip: str, uplink: str, segment: int) -> tuple[str, str]:
    """nft for the worker: mark, and a segment size that fits; and for the gateway: the EIP as source."""
    worker = f"""table ip hand {{
    chain steer {{
        type filter hook prerouting priority mangle
        ip saddr {pod} meta mark set {MARK}
    }}
    chain forward {{
        type filter hook forward priority mangle
        oifname "{TUNNEL_DEVICE}" meta mark set {NUMBER}
        ip daddr {pod} tcp flags syn tcp option maxseg size set {segment}
    }}
{KEEP}}}
"""
    gateway = f"""table ip hand {{
    chain known {{
        type filter hook prerouting priority mangle
        iifname "{TUNNEL_DEVICE}" meta mark set {GATEWAY_MARK_PREFIX:#x}
    }}
    chain translate {{
        type nat hook postrouting priority srcnat - 10
        oifname "{uplink}" ip saddr {pod} snat ip to {eip}
    }}
}}
"""
    return worker, gateway
