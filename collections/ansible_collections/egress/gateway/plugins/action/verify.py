# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""Hands the node's part of a bundle to the module, where there is one to compare with."""

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
                "fail_on_drift": {"type": "bool", "default": True},
                "service_manager": {"type": "str", "choices": ["auto", "systemd", "direct"], "default": "auto"},
                "probe_owners": {"type": "bool", "default": True},
                "command_timeout": {"type": "int", "default": 60},
            },
        )
        wanted = {key: value for key, value in arguments.items() if value is not None}
        if arguments["bundle"]:
            name = node_name(arguments["node"], variables, self._templar)
            files, _digest = node_files(existing(arguments["bundle"]), name)
            wanted.update(node=name, payload=pack(files))
        result: dict[str, Any] = self._execute_module(
            module_name="egress.gateway.verify", module_args=wanted, task_vars=variables
        )
        return result
