# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""Reads a node's part of the bundle and hands all of it to the module, in one round trip."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase

from ansible_collections.egress.gateway.plugins.module_utils.bundle import pack
from ansible_collections.egress.gateway.plugins.plugin_utils.handover import node_files, node_name
from ansible_collections.egress.gateway.plugins.plugin_utils.paths import existing


class ActionModule(ActionBase):
    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        variables = task_vars or {}
        _result, arguments = self.validate_argument_spec(
            argument_spec={
                "bundle": {"type": "str"},
                "node": {"type": "str"},
                "state": {"type": "str", "choices": ["present", "absent", "confirmed"], "default": "present"},
                "service_manager": {"type": "str", "choices": ["auto", "systemd", "direct"], "default": "auto"},
                "command_timeout": {"type": "int", "default": 60},
                "confirm_timeout": {"type": "int", "default": 0},
                "connections": {"type": "str", "choices": ["keep", "cut"], "default": "keep"},
            },
            required_if=[("state", "present", ["bundle"])],
        )
        wanted = {key: value for key, value in arguments.items() if value is not None}
        digest = None
        if arguments["state"] == "present":
            name = node_name(arguments["node"], variables, self._templar)
            files, digest = node_files(existing(arguments["bundle"]), name)
            wanted.update(node=name, payload=pack(files))
        result: dict[str, Any] = self._execute_module(
            module_name="egress.gateway.apply", module_args=wanted, task_vars=variables
        )
        if digest is not None:
            result["digest"] = digest
        return result
