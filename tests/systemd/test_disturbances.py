"""What others on a real system do to the node, and what becomes of our daemons: no leak, and all is back soon."""

import time
from pathlib import Path

import pytest

from egress_compiler.lab import cni
from tests.ansible.conftest import compiled
from tests.ansible.leaks import heard, talking, until_governed
from tests.ansible.test_confirm import STATE
from tests.systemd.conftest import ONE_RELEASE, Cluster, nothing_failed

pytestmark = [pytest.mark.systemd, ONE_RELEASE]

# Of the worker and of the master of its pod's EIP.
BOTH = ("worker1", "gw1")
NFTABLES = "nftables.service"
NETWORKD = "systemd-networkd.service"


def disturbed(cluster: Cluster, *commands: str, nodes: tuple[str, ...] = BOTH) -> None:
    """Each command on each node while the pod talks: nothing leaks, and everything is back and verified afterwards."""
    with talking(cluster.lab):
        for command in commands:
            for node in nodes:
                cluster.shell(node, command)
                _masquerade(cluster, node)
                until_governed(cluster.lab)
        cluster.until_verified()
        leaked, right = heard(cluster.lab)
    assert leaked == []
    assert right > 0


def _masquerade(cluster: Cluster, node: str) -> None:
    """A CNI puts its own table back, after which a packet that is not stopped leaves with the node's address."""
    tables = cluster.shell(node, "nft list tables")
    if cni.TABLE not in tables:
        cluster.lab.exec(node, ["nft", "-f", "-"], stdin=cni.ruleset(cluster.lab.topology))


def test_networkd_restarts(governed: Cluster) -> None:
    """Since 256 it removes rules and routes that others made, unless it is told not to."""
    disturbed(governed, f"systemctl restart {NETWORKD}", "networkctl reload; networkctl reconfigure eth0")


def test_nftables_starts_restarts_reloads_and_stops(governed: Cluster) -> None:
    """Debian's configuration begins with `flush ruleset`, and so does its stop. The CNI puts its own table back."""
    disturbed(governed, *(f"systemctl {verb} {NFTABLES}" for verb in ("start", "restart", "reload", "stop")))


def test_networkd_and_nftables_at_once(governed: Cluster) -> None:
    both = f"systemctl restart {NETWORKD} {NFTABLES}"
    disturbed(governed, f"systemctl start {NFTABLES}", both, f"systemctl stop {NFTABLES}")


@pytest.mark.parametrize("signal", ["KILL", "TERM"])
@pytest.mark.parametrize("daemon", ["keepalived", "conntrackd"])
def test_daemons_come_back(governed: Cluster, daemon: str, signal: str) -> None:
    """Every process of it, whatever unit it is of; what systemd takes for a clean end is none."""
    unit = f"egress-gateway-{daemon}.service"
    before = governed.shell("gw1", f"systemctl show --property=MainPID --value {unit}")
    disturbed(governed, f"systemctl kill --signal={signal} {unit}", nodes=("gw1",))
    assert governed.shell("gw1", f"systemctl is-active {unit}") == "active\n"
    assert governed.shell("gw1", f"systemctl show --property=MainPID --value {unit}") != before
    nothing_failed(governed)


def test_what_nobody_confirmed_is_gone_after_a_reboot(governed: Cluster, tmp_path: Path) -> None:
    """A node comes up with the files of what was confirmed; the rest follows soon after the boot."""
    settings = tmp_path / "settings.yaml"
    settings.write_text("interface: eth0\nuplinkMTU: 1400\n", encoding="utf-8")
    other = compiled(tmp_path / "bundle", cluster=governed.input, settings=settings)
    governed.module("worker1", "apply", f"bundle={other} node=worker1 confirm_timeout=600")
    assert governed.shell("worker1", f"ls {STATE}/pending.json")
    assert "mtu 1350" in governed.shell("worker1", "ip link show egress.vxlan")
    with talking(governed.lab):
        governed.reboot("worker1")
        until_governed(governed.lab)
        leaked, _ = heard(governed.lab)
    assert leaked == []
    limit = time.monotonic() + 90
    while governed.shell("worker1", f"ls {STATE}/pending.json 2>/dev/null || true"):
        assert time.monotonic() < limit, "it does not go back"
        time.sleep(0.5)
    governed.until_verified()
    assert "mtu 1450" in governed.shell("worker1", "ip link show egress.vxlan")
    nothing_failed(governed)
