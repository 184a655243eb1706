# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
"""Configuration of ours for others' services: there, gone again, and whether it is heeded."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.egress.gateway.plugins.module_utils.kernel.command import Finished
from ansible_collections.egress.gateway.plugins.module_utils.node import Paths
from ansible_collections.egress.gateway.plugins.module_utils.resources import drop_ins
from ansible_collections.egress.gateway.plugins.module_utils.resources.drop_ins import (
    DropIns,
    effective,
    networkd_warnings,
)
from ansible_collections.egress.gateway.plugins.module_utils.resources.resource import bring, clear

RULES, ROUTES = "ManageForeignRoutingPolicyRules", "ManageForeignRoutes"


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    """A host with a networkd that runs."""
    program, runs = tmp_path / "systemd-networkd", tmp_path / "state"
    program.touch()
    runs.touch()
    monkeypatch.setattr(drop_ins, "_NETWORKD", (str(program),))
    etc = tmp_path / "etc/systemd"
    return Paths(units=etc / "system", networkd=etc / "networkd.conf.d/90-egress-gateway.conf", networkd_runs=runs)


class Systemctl:
    """Answers when networkd was started, and remembers what else it was told."""

    def __init__(self, state: str = "inactive", started: int = 0) -> None:
        self.answer = "ActiveState=%s\nExecMainStartTimestampMonotonic=%d\n" % (state, started)
        self.log: list[str] = []

    def run(self, argv: list[str], check: bool = True) -> Finished:
        if argv[1] != "show":
            self.log.append(" ".join(argv))
        return Finished(0, self.answer, "")


def test_they_come_and_go_without_a_trace(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    systemctl = Systemctl()
    monkeypatch.setattr(drop_ins, "run", systemctl.run)
    other = paths.nftables.with_name("mine.conf")
    assert [c.action for c in bring([DropIns(paths, wanted=True)])] == ["create", "create"]
    assert not bring([DropIns(paths, wanted=True)])
    assert RULES + "=no" in paths.networkd.read_text(encoding="utf-8")
    other.touch()
    assert [c.action for c in clear([DropIns(paths, wanted=False)])] == ["remove", "remove"]
    assert not paths.networkd.parent.exists()
    assert list(paths.nftables.parent.iterdir()) == [other]
    assert systemctl.log == ["systemctl daemon-reload"] * 2


def test_no_networkd_no_drop_in(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drop_ins, "_NETWORKD", ())
    assert list(drop_ins.drop_ins(paths)) == [paths.nftables]


def write(paths: Paths, name: str, text: str) -> None:
    path = paths.networkd.parent.parent / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def test_the_last_file_by_name_counts(paths: Paths) -> None:
    assert effective(paths, service=False) == {RULES: "yes", ROUTES: "yes"}
    write(paths, "networkd.conf", "[Network]\n#%s=no\n%s = no\n" % (RULES, ROUTES))
    assert effective(paths, service=False) == {RULES: "yes", ROUTES: "no"}
    write(paths, "networkd.conf.d/10-first.conf", "[Network]\n%s=yes\n" % RULES)
    assert effective(paths, service=True) == {RULES: "no", ROUTES: "no"}
    write(paths, "networkd.conf.d/99-last.conf", "[Network]\n%s=true\n" % RULES)
    assert effective(paths, service=True) == {RULES: "true", ROUTES: "no"}


def test_warnings_of_what_may_take_our_rules(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    systemctl = Systemctl()
    monkeypatch.setattr(drop_ins, "run", systemctl.run)
    assert networkd_warnings(paths, service=True) == []
    (warning,) = networkd_warnings(paths, service=False)
    assert warning.endswith("set %s=no and %s=no in networkd.conf" % (RULES, ROUTES))

    monkeypatch.setattr(drop_ins, "run", Systemctl("active").run)
    (warning,) = networkd_warnings(paths, service=True)
    assert "runs since before it was told" in warning
    bring([DropIns(paths, wanted=True)])
    assert len(networkd_warnings(paths, service=True)) == 1
    monkeypatch.setattr(drop_ins, "run", Systemctl("active", 1 << 60).run)
    assert networkd_warnings(paths, service=True) == []

    write(paths, "networkd.conf.d/99-last.conf", "[Network]\n%s=yes\n" % ROUTES)
    (warning,) = networkd_warnings(paths, service=True)
    assert "set %s=no in the file that sets it after" % ROUTES in warning
    paths.networkd_runs.unlink()
    assert networkd_warnings(paths, service=True) == []
