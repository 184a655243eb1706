# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""The controller's side of a bundle: which files a node gets, checked against the manifest."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail

from ansible_collections.egress.gateway.plugins.module_utils.bundle import digest
from ansible_collections.egress.gateway.plugins.module_utils.contract.members import MEMBERS

_VERSION = 1


def node_name(given: str | None, task_vars: Mapping[str, Any], templar: Any) -> str:
    """The option, else the variable egress_node_name, else the name in the inventory."""
    if given:
        return given
    name = templar.template(task_vars.get("egress_node_name")) if "egress_node_name" in task_vars else None
    return str(name or task_vars["inventory_hostname"])


def node_files(bundle: Path, node: str) -> tuple[dict[str, str], str]:
    """A node's files and their digest in the manifest; AnsibleActionFail when they are missing or not as written.

    What nodes have all alike stands at the bundle's top, once.
    """
    manifest = read_manifest(bundle)
    nodes = manifest["nodes"]
    if node not in nodes:
        raise AnsibleActionFail(
            "the bundle %s has no node %s, it has %s: set node or egress_node_name if it is called otherwise"
            % (bundle, node, ", ".join(sorted(nodes)) or "none")
        )
    files = {}
    for name, expected in nodes[node]["files"].items():
        path = (bundle if name == MEMBERS else bundle / "nodes" / node) / name
        try:
            files[name] = path.read_bytes().decode("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise AnsibleActionFail("%s: %s" % (path, error)) from error
        if digest(files[name]) != expected:
            raise AnsibleActionFail("%s is not as the compiler wrote it: compile again" % path)
    return files, str(nodes[node]["digest"])


def read_manifest(bundle: Path) -> dict[str, Any]:
    """The manifest of a bundle, or the one in the file that is given; AnsibleActionFail when it cannot be read."""
    path = bundle / "manifest.json" if bundle.is_dir() else bundle
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise AnsibleActionFail("%s: %s: compile first" % (path, error.strerror)) from error
    except ValueError as error:
        raise AnsibleActionFail("%s is damaged: %s" % (path, error)) from error
    if not isinstance(manifest, dict) or manifest.get("version") != _VERSION:
        raise AnsibleActionFail("%s: this collection reads bundles of version %d" % (path, _VERSION))
    return manifest
