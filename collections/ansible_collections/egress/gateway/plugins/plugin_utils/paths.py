# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""Paths that a task gives: on the controller, and relative to where Ansible was started."""

from __future__ import annotations

from pathlib import Path

from ansible.errors import AnsibleActionFail


def controller_path(text: str) -> Path:
    return Path(text).expanduser().absolute()


def existing(text: str) -> Path:
    """AnsibleActionFail when there is nothing at the path."""
    path = controller_path(text)
    if not path.exists():
        raise AnsibleActionFail("%s does not exist (relative paths start from %s)" % (path, Path.cwd()))
    return path
