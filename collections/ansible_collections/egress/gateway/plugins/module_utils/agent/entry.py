# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""What the agent's file runs: the agent, or with ``follow`` its follower, each with no more code than it needs."""

from __future__ import annotations

import sys

from ansible_collections.egress.gateway.plugins.module_utils.follower.pulse import FOLLOW

ENTRY = "agent.entry"


def main() -> None:
    if FOLLOW in sys.argv[1:]:
        from ansible_collections.egress.gateway.plugins.module_utils.follower.main import main as follow

        follow()
    else:
        from ansible_collections.egress.gateway.plugins.module_utils.agent.main import main as keep

        keep()
