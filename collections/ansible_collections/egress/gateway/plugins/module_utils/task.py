# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""What every module of the collection does with Ansible: who it runs as, and how it ends."""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.egress.gateway.plugins.module_utils.kernel.command import limits

if TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

_HANDED_OVER = "payload"
"""The argument that would repeat the whole bundle in the result."""


def require_root(module: AnsibleModule) -> None:
    if os.geteuid() != 0:
        module.fail_json(msg="needs root on the node: set become to true", invocation=_invocation(module))


def limit_commands(module: AnsibleModule) -> None:
    """How long one command may take, as the task says."""
    seconds = module.params["command_timeout"]
    if seconds < 1:
        fail(module, msg="command_timeout must be at least 1")
    limits.seconds = seconds


def forgo_cycle_collection() -> None:
    """Python looks for cycles again and again while a large table is read, and this process ends soon."""
    gc.disable()


def has_systemd() -> bool:
    return Path("/run/systemd/system").is_dir()


def service(module: AnsibleModule) -> bool:
    """Whether systemd runs keepalived here."""
    manager = module.params["service_manager"]
    return has_systemd() if manager == "auto" else bool(manager == "systemd")


def succeed(module: AnsibleModule, **values: Any) -> None:
    module.exit_json(invocation=_invocation(module), **values)


def fail(module: AnsibleModule, **values: Any) -> None:
    module.fail_json(invocation=_invocation(module), **values)


def _invocation(module: AnsibleModule) -> dict[str, Any]:
    return {"module_args": {key: value for key, value in module.params.items() if key != _HANDED_OVER}}
