# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
"""The unit files as systemd reads them, and their installation against a systemctl that keeps state."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from ansible_collections.egress.gateway.plugins.module_utils.kernel.command import Finished
from ansible_collections.egress.gateway.plugins.module_utils.node import Paths
from ansible_collections.egress.gateway.plugins.module_utils.resources import units
from ansible_collections.egress.gateway.plugins.module_utils.resources.load_ruleset import load_ruleset
from ansible_collections.egress.gateway.plugins.module_utils.resources.resource import bring, clear
from ansible_collections.egress.gateway.plugins.module_utils.resources.units import (
    AGENT_UNIT,
    GUARD_UNIT,
    KEEPALIVED_UNIT,
    RESTORE_UNIT,
    Units,
)

FILES = dict.fromkeys(
    (
        "fdb.batch",
        "keepalived.conf",
        "nftables.nft",
        "notify.sh",
        "plan.json",
        "routes.batch",
        "routes6.batch",
        "sysctl.conf",
        "vxlan.batch",
    ),
    "",
)


class Systemctl:
    """What ``systemctl`` would do, and a log of it."""

    def __init__(self) -> None:
        self.enabled: set[str] = set()
        self.active: set[str] = set()
        self.failed: set[str] = set()
        self.log: list[str] = []

    def run(self, argv: list[str], stdin: str = "", check: bool = True) -> Finished:
        verb, name = argv[1], argv[-1]
        if verb == "show":
            return Finished(0, "\n\n".join(map(self._shown, argv[3:])) + "\n", "")
        self.log.append(" ".join(argv[1:]))
        names = self.enabled if verb in ("enable", "disable") else self.active
        if verb in ("enable", "start"):
            names.add(name)
        if verb in ("disable", "stop"):
            names.discard(name)
        if verb == "reset-failed":
            self.failed.discard(name)
        return Finished(0, "", "")

    def _shown(self, name: str) -> str:
        state = "enabled" if name in self.enabled else ""
        return "Id=%s\nActiveState=%s\nUnitFileState=%s" % (
            name,
            "failed" if name in self.failed else "active" if name in self.active else "inactive",
            state,
        )


@pytest.fixture
def systemctl(monkeypatch: pytest.MonkeyPatch) -> Systemctl:
    fake = Systemctl()
    monkeypatch.setattr(units, "run", fake.run)
    return fake


def test_installed_enabled_and_gone_again(tmp_path: Path, systemctl: Systemctl) -> None:
    paths = Paths(units=tmp_path)
    assert bring([Units(paths, FILES)])
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        AGENT_UNIT,
        GUARD_UNIT,
        KEEPALIVED_UNIT,
        RESTORE_UNIT,
    ]
    assert systemctl.enabled == {AGENT_UNIT, GUARD_UNIT, KEEPALIVED_UNIT, RESTORE_UNIT}
    assert systemctl.log[0] == "daemon-reload"
    assert [line for line in systemctl.log if "start" in line] == ["start " + GUARD_UNIT]
    assert not bring([Units(paths, FILES)])

    systemctl.active.add(RESTORE_UNIT)  # as after a boot
    assert not bring([Units(paths, FILES)])
    assert clear([Units(paths, {})])
    assert (list(tmp_path.iterdir()), systemctl.enabled, systemctl.active) == ([], set(), set())
    assert systemctl.log[-1].startswith("reset-failed ")
    assert not clear([Units(paths, {})])


def test_a_failed_unit_is_named_and_reset(tmp_path: Path, systemctl: Systemctl) -> None:
    paths = Paths(units=tmp_path)
    bring([Units(paths, FILES)])
    systemctl.failed.add(RESTORE_UNIT)
    (change,) = Units(paths, FILES).difference()
    assert (str(change.key), change.before) == ("unit %s state" % RESTORE_UNIT, "failed")
    bring([Units(paths, FILES)])
    assert "reset-failed " + RESTORE_UNIT in systemctl.log
    (tmp_path / RESTORE_UNIT).chmod(0o666)
    assert [str(change.key) for change in bring([Units(paths, FILES)])] == ["unit " + RESTORE_UNIT]


def test_absent_after_a_reboot_leaves_nothing(tmp_path: Path, systemctl: Systemctl) -> None:
    """The restore unit is active since then, and a link is left of a unit whose file somebody removed."""
    paths = Paths(units=tmp_path)
    bring([Units(paths, FILES)])
    systemctl.active |= {RESTORE_UNIT}
    assert not Units(paths, FILES).difference(), "that is no drift"
    (tmp_path / KEEPALIVED_UNIT).unlink()
    systemctl.enabled.discard(KEEPALIVED_UNIT)
    wants = tmp_path / "multi-user.target.wants"
    wants.mkdir()
    (wants / KEEPALIVED_UNIT).symlink_to(tmp_path / KEEPALIVED_UNIT)
    assert clear([Units(paths, {})])
    assert (list(tmp_path.iterdir()), systemctl.enabled, systemctl.active) == ([], set(), set())
    assert not clear([Units(paths, {})])


def test_daemons_come_back_however_they_end() -> None:
    for text in (units.keepalived_unit(Paths()), units.conntrackd_unit(Paths())):
        assert "\nRestart=always\n" in text
        assert "\nStartLimitIntervalSec=0\n" in text.partition("[Service]")[0]


def test_a_gateway_that_becomes_a_worker_loses_one_unit(tmp_path: Path, systemctl: Systemctl) -> None:
    paths = Paths(units=tmp_path)
    bring([Units(paths, FILES)])
    worker = {name: text for name, text in FILES.items() if name not in ("keepalived.conf", "notify.sh")}
    assert [str(c.key) for c in Units(paths, worker).difference()] == [
        "unit " + KEEPALIVED_UNIT,
        "unit %s at boot" % KEEPALIVED_UNIT,
    ]
    bring([Units(paths, worker)])
    assert systemctl.enabled == {AGENT_UNIT, GUARD_UNIT, RESTORE_UNIT}


def test_what_is_loaded_at_boot_is_what_the_node_has() -> None:
    started = [line for line in units.restore_unit(Paths()).splitlines() if line.startswith("ExecStart=")]
    assert started == ["ExecStart=" + load_ruleset(Paths())] + [
        "ExecStart=/bin/sh -c '[ ! -e /etc/egress-gateway/%s ] || exec %s /etc/egress-gateway/%s'" % (name, tool, name)
        for name, tool in (
            ("vxlan.batch", "ip -batch"),
            ("fdb.batch", "bridge -batch"),
            ("sysctl.conf", "sysctl -p"),
            ("routes.batch", "ip -batch"),
            ("routes6.batch", "ip -6 -batch"),
        )
    ]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    for name, text in units.units(Paths(), FILES).items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", *map(str, sorted(tmp_path.iterdir()))],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    complaints = [line for line in done.stdout.decode().splitlines() if "egress-gateway" in line]
    assert not [line for line in complaints if "is not executable" not in line], "a missing keepalived is no fault"
