# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""Where things of ours are on a node."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Paths:
    """The places on a node that are ours, and the kernel's view of its sysctls."""

    config: Path = Path("/etc/egress-gateway")
    runtime: Path = Path("/run/egress-gateway")
    state: Path = Path("/var/lib/egress-gateway")
    units: Path = Path("/etc/systemd/system")
    sysctls: Path = Path("/proc/sys")
    networkd: Path = Path("/etc/systemd/networkd.conf.d/90-egress-gateway.conf")
    """Our drop-in for systemd-networkd."""
    networkd_runs: Path = Path("/run/systemd/netif/state")
    """There while it runs."""

    @property
    def nftables(self) -> Path:
        """Our drop-in for the host's nftables.service."""
        return self.units / "nftables.service.d" / "egress-gateway.conf"

    @property
    def originals(self) -> Path:
        """What sysctls held before the first apply."""
        return self.config / "before.json"

    @property
    def originals_copy(self) -> Path:
        """The same once more, where nobody tidies up."""
        return self.state / "before.json"

    @property
    def drained(self) -> Path:
        """What keepalived watches: 1 gives the node the lowest priority in every slot, no file its own."""
        return self.config / "drained"

    @property
    def watch(self) -> Path:
        """The program of the bundle that ends a keepalived that hangs."""
        return self.config / "watch"

    @property
    def pending(self) -> Path:
        """What to go back to unless somebody confirms."""
        return self.state / "pending.json"

    @property
    def rollback(self) -> Path:
        """The program that goes back."""
        return self.state / "rollback.pyz"

    @property
    def boot(self) -> Path:
        """What the restore unit runs first, where it is there."""
        return self.state / "boot.sh"

    @property
    def known(self) -> Path:
        """What a node that follows its pods knows of them."""
        return self.state / "known.json"

    @property
    def followed(self) -> Path:
        """What follows from that for the bundle that the node has, so that nobody has to work it out again."""
        return self.state / "followed.json"

    @property
    def members_ruleset(self) -> Path:
        """The same, as what the ruleset has of it: loaded behind nftables.nft."""
        return self.state / "members.nft"

    @property
    def follow_status(self) -> Path:
        """How the follower is."""
        return self.runtime / "follow.status"

    @property
    def follow_socket(self) -> Path:
        """Where the follower hears of pods that start and end."""
        return self.runtime / "follow.sock"

    @property
    def spool(self) -> Path:
        """What it is to hear when it runs again."""
        return self.runtime / "spool"

    @property
    def agent(self) -> Path:
        """The program that brings back what others take away."""
        return self.state / "agent.pyz"

    @property
    def agent_loaded(self) -> Path:
        """The code that the running agent has, once it listens."""
        return self.runtime / "agent.loaded"

    @property
    def gate(self) -> Path:
        """Which container has which addresses, as the gate at pod start tells."""
        return self.state / "gate.json"

    @property
    def follow_changing(self) -> Path:
        """There while the kernel may have what the file of known pods has not."""
        return self.runtime / "follow.changing"

    @property
    def lock(self) -> Path:
        return self.runtime / "lock"

    @property
    def keepalived_pid(self) -> Path:
        return self.runtime / "keepalived.pid"

    @property
    def vrrp_pid(self) -> Path:
        return self.runtime / "vrrp.pid"

    @property
    def keepalived_loaded(self) -> Path:
        """The digests of what the running keepalived has read, as sha256sum prints them."""
        return self.runtime / "keepalived.loaded"

    @property
    def conntrackd_loaded(self) -> Path:
        """The same of the running conntrackd."""
        return self.runtime / "conntrackd.loaded"

    @property
    def conntrackd_socket(self) -> Path:
        return self.runtime / "conntrackd.ctl"

    @property
    def conntrackd_lock(self) -> Path:
        return self.runtime / "conntrackd.lock"

    def file(self, name: str) -> Path:
        return self.config / name
