# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
"""keepalived under a service manager that keeps state, and what its digest file looks like."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.egress.gateway.plugins.module_utils.contract.plan import NodePlan
from ansible_collections.egress.gateway.plugins.module_utils.kernel.command import Finished
from ansible_collections.egress.gateway.plugins.module_utils.node import Paths
from ansible_collections.egress.gateway.plugins.module_utils.resources import keepalived
from ansible_collections.egress.gateway.plugins.module_utils.resources.keepalived import (
    Keepalived,
    Leftovers,
    loaded_text,
)
from ansible_collections.egress.gateway.plugins.module_utils.resources.resource import bring, clear

FILES = {"keepalived.conf": "vrrp_instance x {}\n", "notify.sh": "#!/bin/sh\n", "plan.json": "{}"}


class Systemctl:
    """Runs one service; starting and reloading writes down what is loaded, as the unit does."""

    def __init__(self, paths: Paths) -> None:
        self.paths, self.active, self.log, self.files = paths, False, [], FILES

    def run(self, argv: Any, stdin: str = "", check: bool = True) -> Finished:
        verb = argv[1]
        if verb == "is-active":
            return Finished(0 if self.active else 3, "", "")
        self.log.append(verb)
        self.active = verb != "stop"
        self.paths.runtime.mkdir(exist_ok=True)
        self.paths.keepalived_loaded.write_text(loaded_text(self.files), encoding="utf-8")
        return Finished(0, "", "")


@pytest.fixture
def systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Systemctl:
    fake = Systemctl(Paths(config=tmp_path / "etc", runtime=tmp_path / "run"))
    monkeypatch.setattr(keepalived, "run", fake.run)
    monkeypatch.setattr(keepalived.processes, "find", lambda word: [])
    return fake


def test_the_digest_is_what_sha256sum_prints(tmp_path: Path) -> None:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    printed = subprocess.check_output(["sha256sum", "keepalived.conf", "notify.sh"], cwd=tmp_path).decode()
    assert loaded_text(FILES) == printed
    assert loaded_text({"plan.json": "{}"}) == ""


def test_started_reloaded_and_stopped_only_when_due(systemctl: Systemctl) -> None:
    assert bring([Keepalived(systemctl.paths, FILES, service=True)])
    assert not bring([Keepalived(systemctl.paths, FILES, service=True)])
    systemctl.files = {**FILES, "notify.sh": "#!/bin/sh\nexit 0\n"}
    assert bring([Keepalived(systemctl.paths, systemctl.files, service=True)])
    assert clear([Keepalived(systemctl.paths, {}, service=True)])
    assert not clear([Keepalived(systemctl.paths, {}, service=True)])
    assert systemctl.log == ["start", "reload", "stop"]
    assert list(systemctl.paths.runtime.iterdir()) == []


def test_what_was_loaded_by_somebody_else_is_read_again(systemctl: Systemctl) -> None:
    bring([Keepalived(systemctl.paths, FILES, service=True)])
    systemctl.paths.keepalived_loaded.unlink()
    changes = Keepalived(systemctl.paths, FILES, service=True).difference()
    assert [(c.action, c.before) for c in changes] == [("modify", "running with another configuration")]


def test_what_watches_a_keepalived_that_is_gone_goes_too(systemctl: Systemctl, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would start keepalived again, for the addresses that were left behind."""
    watch, alive = str(systemctl.paths.watch), {4711, 4712}
    monkeypatch.setattr(keepalived.processes, "find", lambda word: sorted(alive) if word == watch else [])
    monkeypatch.setattr(keepalived.processes, "send", lambda pid, number: alive.discard(pid))
    assert [c.action for c in Keepalived(systemctl.paths, {}, service=False).difference()] == ["remove"]
    assert clear([Keepalived(systemctl.paths, {}, service=False)])
    assert not alive


class FakeKernel:
    def links(self) -> Any:
        addresses = [{"local": "192.0.2.68", "prefixlen": 32}, {"local": "172.31.255.254", "prefixlen": 32}]
        return {"eth0": {"addr_info": [*addresses, {"local": "192.0.2.1", "prefixlen": 24}]}}


def test_only_addresses_of_the_plan_before_can_be_left_over(plan: NodePlan) -> None:
    worker = replace(plan, role="worker", gateway=None)
    assert [(str(c.key), c.origin) for c in Leftovers(FakeKernel(), worker, plan).difference()] == [
        ("address 192.0.2.68/32 on eth0", "EgressPolicy shop/web")
    ]
    assert Leftovers(FakeKernel(), plan, plan).difference() == ()
    assert Leftovers(FakeKernel(), worker, None).difference() == ()
