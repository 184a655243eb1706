"""Gateways that fail in the ways in which gateways fail, and come back."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Literal

from egress_compiler.lab.errors import LabError
from egress_compiler.lab.example import RunningExample
from egress_compiler.lab.failover import Outage
from egress_compiler.lab.lab import Lab
from egress_compiler.lab.load import KINDS, Flows, Kind, Load
from egress_compiler.lab.probe import ProbeTarget

Failure = Literal["cut", "poweroff", "kill", "stop", "hang", "drain"]
FAILURES: tuple[Failure, ...] = ("cut", "poweroff", "kill", "stop", "hang", "drain")

PATIENCE = 20.0
"""Seconds in which a gateway must be as it is to be."""
START_DAEMONS = """
mkdir -p /run/egress-gateway
cd /etc/egress-gateway
if [ -e conntrackd.conf ] && ! pgrep -x conntrackd >/dev/null; then
    rm -f /run/egress-gateway/conntrackd.lock /run/egress-gateway/conntrackd.ctl
    conntrackd -d -C /etc/egress-gateway/conntrackd.conf
fi
pgrep -x keepalived >/dev/null || exec keepalived --use-file=/etc/egress-gateway/keepalived.conf \
    --pid=/run/egress-gateway/keepalived.pid --vrrp_pid=/run/egress-gateway/vrrp.pid -P >/dev/null 2>&1
"""


def fail(lab: Lab, node: str, failure: Failure) -> None:
    """Lets a gateway fail: cable out; power off; keepalived killed, stopped, or hanging; or drained by the operator."""
    match failure:
        case "cut":
            lab.cut(node)
        case "poweroff":
            lab.poweroff(node)
        case "kill":
            # Stopped first, or the one of its processes would say goodbye for the other.
            lab.exec(node, ["sh", "-c", "pkill -STOP -x keepalived; pkill -KILL -x keepalived"])
        case "stop":
            lab.exec(node, ["pkill", "-TERM", "-x", "-o", "keepalived"])
        case "hang":
            lab.exec(node, ["pkill", "-STOP", "-x", "keepalived"])
        case "drain":
            lab.exec(node, ["sh", "-c", "echo 1 >/etc/egress-gateway/drained"])


def repair(lab: Lab, node: str, failure: Failure) -> None:
    """Undoes what `fail` did. A node that was powered off comes back empty: it has to be applied anew."""
    match failure:
        case "cut":
            lab.restore(node)
        case "poweroff":
            lab.power_on(node)
        case "kill":
            lab.exec(node, ["sh", "-ec", START_DAEMONS])  # unless what watches it was faster
        case "stop":
            wait_for(lambda: not _runs(lab, node), f"keepalived of {node} to end")
            lab.exec(node, ["sh", "-ec", START_DAEMONS])
        case "hang":
            lab.exec(node, ["pkill", "-CONT", "-x", "keepalived"], check=False)
        case "drain":
            lab.exec(node, ["rm", "-f", "/etc/egress-gateway/drained"])


def _runs(lab: Lab, node: str) -> bool:
    return lab.exec(node, ["pgrep", "-x", "keepalived"], check=False).returncode == 0


def wait_for(condition: Callable[[], bool], what: str, patience: float = PATIENCE) -> None:
    """Until ``condition`` holds; LabError after so many seconds."""
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            raise LabError(f"waited in vain for {what}")
        time.sleep(0.05)


@dataclass(frozen=True, slots=True)
class Slots:
    """Where the floating addresses of an example are, and where they should be."""

    running: RunningExample

    @property
    def gateways(self) -> tuple[str, ...]:
        return tuple(plan.node for plan in self.running.compilation.plans if plan.role == "gateway")

    def held(self, node: str) -> frozenset[str]:
        """The floating addresses that a node has now."""
        has = self.running.lab.exec(node, ["ip", "-o", "address"]).stdout
        return frozenset(address for address in self._owners() if f" {address}/" in has)

    def settled(self) -> bool:
        """Whether each floating address is where it stays: at home, or on any one gateway where nobody preempts."""
        if all(i.preempt for p in self.running.compilation.plans if p.gateway is not None for i in p.gateway.vrrp):
            return self.at_home()
        held = [self.held(node) for node in self.gateways]
        return all(sum(address in found for found in held) == 1 for address in self._owners())

    def at_home(self) -> bool:
        """Whether each floating address is on its preferred node and nowhere else."""
        held = {node: self.held(node) for node in self.gateways}
        return all([n for n in held if address in held[n]] == [home] for address, home in self._owners().items())

    def elsewhere(self, node: str) -> bool:
        """Whether each floating address is on exactly one gateway, which is not this one."""
        held = [self.held(other) for other in self.gateways if other != node]
        return all(sum(address in found for found in held) == 1 for address in self._owners())

    def _owners(self) -> dict[str, str]:
        return {
            address.address: instance.preferred_node
            for plan in self.running.compilation.plans
            if plan.gateway is not None
            for instance in plan.gateway.memberships
            for address in instance.floating()
        }


@dataclass(frozen=True, slots=True)
class Measured:
    """What a pod noticed of an event, by the address that it talked to."""

    outages: Mapping[str, Outage]

    @property
    def longest_ms(self) -> float:
        return max(outage.longest_gap_ms for outage in self.outages.values())


def measure(
    lab: Lab,
    pod: str,
    addresses: Sequence[str],
    event: Callable[[], None],
    settled: Callable[[], bool],
    after: float = 1,
) -> Measured:
    """Probes outside addresses every 5 ms while ``event`` happens, until ``settled`` and for ``after`` seconds more."""
    with ExitStack() as stack:
        meters = {
            address: stack.enter_context(lab.outage(pod, ProbeTarget("udp", address), 2 * PATIENCE))
            for address in addresses
        }
        time.sleep(0.3)
        event()
        wait_for(settled, "the addresses to settle")
        time.sleep(after)
        return Measured({address: meter.stop() for address, meter in meters.items()})


def run_failure(running: RunningExample, node: str, failure: Failure, pod: str, after: float = 1) -> Measured:
    """Lets a gateway fail, and measures what a governed pod elsewhere notices until others have its addresses."""
    lab, slots = running.lab, Slots(running)
    addresses = governed_addresses(running, pod)
    return measure(lab, pod, addresses, partial(fail, lab, node, failure), partial(slots.elsewhere, node), after)


def run_repair(running: RunningExample, node: str, failure: Failure, pod: str, after: float = 1) -> Measured:
    """The same of its return, until all addresses are where they belong; a power failure ends otherwise."""
    lab, slots = running.lab, Slots(running)
    addresses = governed_addresses(running, pod)
    return measure(lab, pod, addresses, partial(repair, lab, node, failure), slots.settled, after)


def governed_addresses(running: RunningExample, pod: str) -> list[str]:
    """One outside server of each family that the pod reaches with an egress address."""
    outside, own = running.lab.topology.outside, running.lab.topology.pod(pod).addresses
    families = (outside.far4, outside.far6)
    reachable = [a for family in families for a in family[:1] if any((":" in a) == (":" in ip) for ip in own)]
    return [address for address in reachable if running.decide(pod, address).outcome == "eip"]


def load(running: RunningExample, counts: Mapping[str, int]) -> Load:
    """About so many connections from each pod, evenly of all kinds and families."""
    wanted = {}
    for pod, count in counts.items():
        targets = [(address, kind) for address in governed_addresses(running, pod) for kind in KINDS]
        each, more = divmod(count, len(targets)) if targets else (0, 0)
        wanted[pod] = [flows(running, pod, *target, each + (n < more)) for n, target in enumerate(targets)]
    return Load(running.lab, wanted)


def flows(running: RunningExample, pod: str, address: str, kind: Kind, count: int) -> Flows:
    """Connections of a governed pod, with the address that the outside must see; LabError when it is not governed."""
    sources = running.decide(pod, address).sources
    if not sources:
        raise LabError(f"{pod} does not leave with an egress address towards {address}")
    return Flows(kind, count, address, sources[0])
