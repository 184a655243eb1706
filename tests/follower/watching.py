"""What the outside sees of a pod that never stops talking, by source address."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator

from egress_compiler.lab import Lab, kill
from tests.ansible.leaks import TALK

_TABLE = """
table inet sources {
    set seen4 { type ipv4_addr; flags dynamic; counter; }
    set seen6 { type ipv6_addr; flags dynamic; counter; }
    chain input {
        type filter hook input priority 0;
        udp dport 4242 add @seen4 { ip saddr }
        udp dport 4242 add @seen6 { ip6 saddr }
    }
}
"""


class Outside:
    """Its table is gone when the block ends."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab

    def __enter__(self) -> "Outside":
        self._lab.exec("outside", ["nft", "-f", "-"], stdin=_TABLE)
        return self

    def __exit__(self, *_: object) -> None:
        self._lab.exec("outside", ["nft", "delete", "table", "inet", "sources"])

    def seen(self) -> dict[str, int]:
        """Packets by source, of both families, since the last time."""
        listed = json.loads(self._lab.exec("outside", ["nft", "-j", "list", "table", "inet", "sources"]).stdout)
        self._lab.exec("outside", ["nft", "-f", "-"], stdin=_FLUSH)
        found = {}
        for entry in listed["nftables"]:
            for element in entry.get("set", {}).get("elem", ()):
                found[str(element["elem"]["val"])] = int(element["elem"]["counter"]["packets"])
        return found

    @contextlib.contextmanager
    def talking(self, pod: str) -> Iterator[None]:
        """A packet each 5 ms, each from a port of its own, to both families in turn."""
        outside = self._lab.topology.outside
        argv = [sys.executable, "-c", TALK, outside.far4[0], outside.far6[0]]
        talker = self._lab.popen(pod, argv, stdout=subprocess.DEVNULL)
        try:
            yield
            assert talker.poll() is None, "it talks to the end"
        finally:
            kill(talker)


_FLUSH = "flush set inet sources seen4\nflush set inet sources seen6\n"
