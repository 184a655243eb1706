# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""Runs the compiler in Ansible's own Python, on the controller."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ansible_collections.egress.gateway.plugins.plugin_utils.paths import controller_path, existing

try:
    from egress_compiler import bundle as writer
    from egress_compiler.commit import heal
    from egress_compiler.diagnostics import InvalidInput, as_json, as_text
    from egress_compiler.exclusive import Busy, sole_writer
    from egress_compiler.pipeline import Inputs, compile_bundle

    MISSING = None
except ImportError as error:
    MISSING = error


class ActionModule(ActionBase):
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        _result, arguments = self.validate_argument_spec(
            argument_spec={
                "policies": {"type": "list", "elements": "str", "required": True},
                "cluster": {"type": "list", "elements": "str", "required": True},
                "inventory": {"type": "str"},
                "settings": {"type": "str"},
                "lock": {"type": "str"},
                "out": {"type": "str", "required": True},
            },
        )
        if MISSING is not None:
            raise AnsibleActionFail("the Python package egress-compiler is not where Ansible runs: %s" % MISSING)
        inputs, out = _inputs(arguments), controller_path(arguments["out"])
        healed = None
        try:
            if self._task.check_mode:
                compilation = compile_bundle(inputs)
                changes = writer.changes(compilation, out, thorough=True)
            else:
                with sole_writer(out, inputs.lock_path):
                    healed = heal(out)
                    compilation = compile_bundle(inputs)
                    changes = writer.write(compilation, out)
        except InvalidInput as error:
            return {
                "failed": True,
                "msg": "\n".join(as_text(diagnostic) for diagnostic in error.diagnostics),
                "diagnostics": [as_json(diagnostic) for diagnostic in error.diagnostics],
            }
        except OSError as error:
            raise AnsibleActionFail("%s: %s" % (error.filename or out, error.strerror)) from error
        except Busy as error:
            raise AnsibleActionFail(str(error)) from error
        result = {
            "changed": bool(changes),
            "files": [str(change.path) for change in changes],
            "nodes": _nodes(changes, out),
            "diagnostics": [as_json(diagnostic) for diagnostic in compilation.diagnostics],
            "warnings": [as_text(diagnostic) for diagnostic in compilation.diagnostics],
        }
        if healed is not None:
            result["warnings"].append("%s: an earlier run was cut off while it wrote; this one has put it right" % out)
        if self._task.diff:
            result["diff"] = [_diff(change) for change in changes]
        return result


def _inputs(arguments: dict[str, Any]) -> Inputs:
    lock = arguments["lock"]
    return Inputs(
        policies=tuple(existing(path) for path in arguments["policies"]),
        cluster=tuple(existing(path) for path in arguments["cluster"]),
        inventory=existing(arguments["inventory"]) if arguments["inventory"] else None,
        settings=existing(arguments["settings"]) if arguments["settings"] else None,
        lock=controller_path(lock) if lock else None,
    )


def _nodes(changes: Sequence[Any], out: Path) -> list[str]:
    nodes = out / "nodes"
    return sorted({change.path.relative_to(nodes).parts[0] for change in changes if change.path.is_relative_to(nodes)})


def _diff(change: Any) -> dict[str, str]:
    path = str(change.path)
    return {"before_header": path, "after_header": path, "before": change.before or "", "after": change.after or ""}
