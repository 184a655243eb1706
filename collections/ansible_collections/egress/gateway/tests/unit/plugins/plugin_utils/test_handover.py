# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
"""Which files a node gets from a bundle directory."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ansible.errors import AnsibleActionFail

from ansible_collections.egress.gateway.plugins.module_utils.bundle import digest
from ansible_collections.egress.gateway.plugins.plugin_utils.handover import node_files, node_name


class Templar:
    def template(self, value: str) -> str:
        return value.upper()


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    (tmp_path / "nodes" / "n1").mkdir(parents=True)
    (tmp_path / "nodes" / "n1" / "plan.json").write_text("{}", encoding="utf-8")
    nodes = {"n1": {"role": "worker", "digest": "sha256:n", "files": {"plan.json": digest("{}")}}}
    (tmp_path / "manifest.json").write_text(json.dumps({"version": 1, "digest": "", "nodes": nodes}), encoding="utf-8")
    return tmp_path


def test_the_files_that_the_manifest_names(bundle: Path) -> None:
    (bundle / "nodes" / "n1" / "editor.swp").write_text("", encoding="utf-8")
    assert node_files(bundle, "n1") == ({"plan.json": "{}"}, "sha256:n")


def test_a_node_that_is_not_there_is_told_with_those_that_are(bundle: Path) -> None:
    with pytest.raises(AnsibleActionFail, match="no node n2, it has n1"):
        node_files(bundle, "n2")


def test_a_file_that_was_edited_is_refused(bundle: Path) -> None:
    (bundle / "nodes" / "n1" / "plan.json").write_text("{ }", encoding="utf-8")
    with pytest.raises(AnsibleActionFail, match="not as the compiler wrote it"):
        node_files(bundle, "n1")


@pytest.mark.parametrize("manifest", ["{", "[]", '{"version": 2, "nodes": {}}'])
def test_a_manifest_that_is_none(bundle: Path, manifest: str) -> None:
    (bundle / "manifest.json").write_text(manifest, encoding="utf-8")
    with pytest.raises(AnsibleActionFail, match=r"manifest\.json"):
        node_files(bundle, "n1")


def test_no_bundle_at_all(tmp_path: Path) -> None:
    with pytest.raises(AnsibleActionFail, match="compile first"):
        node_files(tmp_path, "n1")


def test_the_option_wins_over_the_variable_over_the_name() -> None:
    assert node_name("a", {"egress_node_name": "b", "inventory_hostname": "c"}, Templar()) == "a"
    assert node_name(None, {"egress_node_name": "b", "inventory_hostname": "c"}, Templar()) == "B"
    assert node_name(None, {"inventory_hostname": "c"}, Templar()) == "c"
