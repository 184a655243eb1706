# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""The gate on a node: its program and its entry come, stay and go, and others' files are as they were."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from ansible_collections.egress.gateway.plugins.module_utils.agent import gate as agent_gate
from ansible_collections.egress.gateway.plugins.module_utils.agent.gate import CNI, KeepGate, Watch
from ansible_collections.egress.gateway.plugins.module_utils.bundle import NodeBundle
from ansible_collections.egress.gateway.plugins.module_utils.contract.plan import Follow, NodePlan
from ansible_collections.egress.gateway.plugins.module_utils.contract.plan import Gate as Wanted
from ansible_collections.egress.gateway.plugins.module_utils.gate import conflist
from ansible_collections.egress.gateway.plugins.module_utils.kernel.command import NodeError
from ansible_collections.egress.gateway.plugins.module_utils.node import Paths
from ansible_collections.egress.gateway.plugins.module_utils.resources import gate as gate_module
from ansible_collections.egress.gateway.plugins.module_utils.resources.gate import Gate
from ansible_collections.egress.gateway.plugins.module_utils.resources.resource import Change, bring, clear

CALICO = """{
  "name": "k8s-pod-network",
  "cniVersion": "0.3.1",
  "plugins": [
    {"type": "calico"},
    {"type": "portmap", "snat": true}
  ]
}
"""
MULTUS = '{"cniVersion": "0.3.1", "name": "multus-cni-network", "type": "multus", "delegates": []}'


class Node:
    """The directories of a node's runtime, and a plan that names them."""

    def __init__(self, directory: Path, plan: NodePlan) -> None:
        self.conf = directory / "net.d"
        self.bin = directory / "cni" / "bin"
        self.conf.mkdir()
        self.program = self.bin / "egress-gate"
        self._plan = replace(plan, follow=None)

    def plan(self, seconds: int = 10) -> NodePlan:
        wanted = Wanted(seconds, "fail", ("kube-system",), str(self.conf), str(self.bin))
        return replace(self._plan, follow=Follow(gate=wanted))

    def apply(self, seconds: int = 10) -> list[str]:
        return [str(change.key) for change in bring([Gate(self.plan(seconds))])]

    def remove(self) -> list[str]:
        """The same plan without the gate."""
        return [str(change.key) for change in bring([Gate(replace(self._plan, follow=Follow()), self.plan())])]

    def put(self, name: str, text: str) -> Path:
        path = self.conf / name
        path.write_text(text, encoding="utf-8")
        return path

    def active(self) -> dict:
        """As a runtime sees it."""
        paths = sorted(path for path in self.conf.iterdir() if path.suffix in (".conflist", ".conf", ".json"))
        return json.loads(paths[0].read_text(encoding="utf-8"))

    def drift(self) -> list[tuple[str, str]]:
        return [(change.action, change.key.parts[0]) for change in Gate(self.plan()).difference()]


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


@pytest.fixture
def node(tmp_path: Path, plan: NodePlan, monkeypatch: pytest.MonkeyPatch) -> Node:
    nothing = Wanted(0, "fail", (), str(tmp_path / "none"), str(tmp_path / "none"))
    monkeypatch.setattr(gate_module, "_DEFAULT", nothing)
    return Node(tmp_path, plan)


def test_it_comes_into_the_active_list_and_goes(node: Node) -> None:
    calico = node.put("10-calico.conflist", CALICO)
    other = node.put("20-other.conflist", CALICO)
    calico.chmod(0o600)

    assert node.apply() == ["program %s" % node.program, "pod start gate in %s" % calico]
    assert node.active()["plugins"][-1] == {
        "type": "egress-gate",
        "socket": "/run/egress-gateway/follow.sock",
        "timeoutSeconds": 10,
        "onTimeout": "fail",
        "exemptNamespaces": ["kube-system"],
    }
    assert calico.stat().st_mode & 0o777 == 0o600
    assert node.program.stat().st_mode & 0o777 == 0o755
    assert node.apply() == []

    assert node.remove() == ["pod start gate in %s" % calico, "program %s" % node.program]
    assert calico.read_text() == CALICO
    assert other.read_text() == CALICO
    assert not node.bin.exists()
    assert names(node.conf) == ["10-calico.conflist", "20-other.conflist"]
    assert node.remove() == []


def test_absent_takes_it_away(node: Node) -> None:
    calico = node.put("10-calico.conflist", CALICO)
    node.apply()

    clear([Gate(None, node.plan())])

    assert calico.read_text() == CALICO
    assert not node.program.exists()


def test_others_programs_stay(node: Node) -> None:
    node.bin.mkdir(parents=True)
    (node.bin / "ptp").touch()
    node.apply()
    node.remove()
    assert names(node.bin) == ["ptp"]


def test_the_program_runs(node: Node) -> None:
    node.apply()
    environment, asked = {"CNI_COMMAND": "VERSION"}, b'{"cniVersion":"1.1.0"}'
    done = subprocess.run([str(node.program)], input=asked, capture_output=True, env=environment, check=False)
    assert done.returncode == 0, done
    assert json.loads(done.stdout)["supportedVersions"][-1] == "1.1.0"


def test_other_settings_change_the_entry(node: Node) -> None:
    calico = node.put("10-calico.conflist", CALICO)
    node.apply(10)
    assert node.apply(30) == ["pod start gate in %s" % calico]
    assert node.active()["plugins"][-1]["timeoutSeconds"] == 30
    assert len(node.active()["plugins"]) == 3


def test_without_a_list_it_waits_and_says_so(node: Node) -> None:
    assert node.apply() == ["program %s" % node.program]
    assert Gate(node.plan()).warnings() == [
        "there is no CNI configuration in %s yet: the agent puts the gate into it when it comes" % node.conf
    ]
    node.conf.rmdir()
    assert node.apply() == []

    node.conf.mkdir()
    node.put("10-calico.conflist", CALICO)
    assert node.drift() == [("create", str(node.conf / "10-calico.conflist"))]
    assert Gate(node.plan()).warnings() == []


def test_a_list_that_cannot_chain_is_left_alone(node: Node) -> None:
    old = CALICO.replace("0.3.1", "0.2.0")
    calico = node.put("10-calico.conflist", old)
    node.apply()
    assert calico.read_text() == old
    assert "pods start without the gate: the cniVersion of %s" % calico in Gate(node.plan()).warnings()[0]


def test_a_single_plugin_gets_a_list_beside_it(node: Node) -> None:
    multus, calico = node.put("00-multus.conf", MULTUS), node.put("10-calico.conflist", CALICO)
    ours = node.conf / "00-multus-egress-gate.conflist"

    assert node.apply() == ["program %s" % node.program, "pod start gate in %s" % ours]
    assert [plugin["type"] for plugin in node.active()["plugins"]] == ["multus", "egress-gate"]
    assert node.active()["name"] == "multus-cni-network"
    assert (multus.read_text(), calico.read_text()) == (MULTUS, CALICO)
    assert node.apply() == []

    newer = MULTUS.replace("[]", '[{"type": "x"}]')
    node.put("00-multus.conf", newer)
    assert node.drift() == [("modify", str(ours))]
    node.apply()
    assert node.active()["plugins"][0] == json.loads(newer)

    multus.unlink()
    assert sorted(node.drift()) == [("create", str(calico)), ("remove", str(ours))]
    node.apply()
    assert [plugin["type"] for plugin in node.active()["plugins"]] == ["calico", "portmap", "egress-gate"]
    node.remove()
    assert names(node.conf) == ["10-calico.conflist"]


def test_it_moves_to_a_list_that_comes_before(node: Node) -> None:
    calico = node.put("10-calico.conflist", CALICO)
    node.apply()
    cilium = node.put("05-cilium.conflist", CALICO.replace("calico", "cilium-cni"))

    assert node.apply() == ["pod start gate in %s" % cilium, "pod start gate in %s" % calico]
    assert calico.read_text() == CALICO
    assert node.active()["plugins"][-1]["type"] == "egress-gate"


def test_it_follows_a_link(node: Node, tmp_path: Path) -> None:
    target = tmp_path / "elsewhere"
    target.write_text(CALICO)
    link = node.conf / "10-calico.conflist"
    link.symlink_to(target)
    node.apply()
    assert link.is_symlink()
    assert len(conflist.entries(target.read_text())) == 1


def test_odd_files_are_passed_over(node: Node) -> None:
    node.put("00-damaged.conflist", '{"plugins": [')
    (node.conf / "01-bytes.conflist").write_bytes(b"\xff\xfe")
    (node.conf / "02-directory.conflist").mkdir()
    (node.conf / "03-nowhere.conflist").symlink_to("nowhere")
    os.mkfifo(node.conf / "04-pipe.txt")
    calico = node.put("10-calico.conflist", CALICO)
    assert node.apply()[-1] == "pod start gate in %s" % calico


def test_what_somebody_did_to_it_is_drift(node: Node) -> None:
    calico = node.put("10-calico.conflist", CALICO)
    node.apply()
    node.program.write_text("#!/bin/sh\n")
    node.put("10-calico.conflist", CALICO)
    assert node.drift() == [("modify", str(node.program)), ("create", str(calico))]
    node.apply()
    node.program.chmod(0o666)
    assert node.drift() == [("modify", str(node.program))]
    node.program.unlink()
    assert node.drift() == [("create", str(node.program))]


def test_a_list_that_is_written_meanwhile_is_not_overwritten(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    calico = node.put("10-calico.conflist", CALICO)
    newer = CALICO.replace("true", "false")
    original = conflist.with_entry

    def slow(text: str, entry: object) -> str:
        node.put("10-calico.conflist", newer)
        return original(text, entry)

    gate = Gate(node.plan())
    changes = gate.difference()
    monkeypatch.setattr(gate_module.conflist, "with_entry", slow)
    error = gate.fix(changes)
    monkeypatch.undo()
    assert isinstance(error, NodeError)
    assert "was written meanwhile" in str(error)
    assert calico.read_text() == newer
    assert names(node.conf) == ["10-calico.conflist"]


def test_without_a_gate_nothing_is_wanted(node: Node) -> None:
    calico = node.put("10-calico.conflist", CALICO)
    changes: tuple[Change, ...] = Gate(replace(node.plan(), follow=Follow())).difference()
    assert changes == ()
    assert Gate(None).difference() == ()
    assert Gate(None).warnings() == []
    assert calico.read_text() == CALICO


@pytest.fixture
def keep(node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> KeepGate:
    paths = replace(Paths(), config=tmp_path / "config", runtime=tmp_path / "run", state=tmp_path / "state")
    paths.config.mkdir()
    monkeypatch.setattr(agent_gate, "installed", lambda _paths: NodeBundle({}, node.plan(), node.plan()))
    return KeepGate(paths, False)


def test_the_agent_puts_it_back(node: Node, keep: KeepGate) -> None:
    calico = node.put("10-calico.conflist", CALICO)
    node.apply()
    assert keep.run(frozenset([CNI])).repaired == ()
    node.put("10-calico.conflist", CALICO)

    report = keep.run(frozenset([CNI]))

    assert report.repaired == ["pod start gate in %s" % calico]
    assert report.directories == [str(node.conf)]
    assert node.drift() == []


def test_the_agent_puts_it_into_a_list_that_comes(node: Node, keep: KeepGate) -> None:
    node.apply()
    assert keep.run(frozenset([CNI])).directories == [str(node.conf)]
    node.put("00-multus.conf", MULTUS)
    keep.run(frozenset([CNI]))
    assert [plugin["type"] for plugin in node.active()["plugins"]] == ["multus", "egress-gate"]
    (node.conf / "00-multus.conf").unlink()
    keep.run(frozenset([CNI]))
    assert names(node.conf) == []  # a runtime must not take the node for ready


def test_the_watch_tells_of_changes_alone(node: Node, tmp_path: Path) -> None:
    paths = replace(Paths(), config=tmp_path / "config")
    watch, directories = Watch(paths), [str(node.conf), str(tmp_path / "not there")]
    assert watch.look([]) == {CNI}
    assert watch.look([]) == frozenset()
    assert watch.look(directories) == frozenset()
    calico = node.put("10-calico.conflist", CALICO)
    assert watch.look(directories) == {CNI}
    assert watch.look(directories) == frozenset()
    node.apply()
    assert watch.look(directories) == {CNI}
    calico.write_text(CALICO)
    assert watch.look(directories) == {CNI}
    calico.unlink()
    assert watch.look(directories) == {CNI}
    paths.config.mkdir()
    paths.file("plan.json").touch()
    assert watch.look(directories) == {CNI}
