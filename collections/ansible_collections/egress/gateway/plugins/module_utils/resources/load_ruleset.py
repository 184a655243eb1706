# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""How a node's ruleset is loaded from its files, by a shell alone: at boot, and by nftables.service."""

from __future__ import annotations

from ansible_collections.egress.gateway.plugins.module_utils.contract.names import RULESET
from ansible_collections.egress.gateway.plugins.module_utils.node import Paths


def load_ruleset(paths: Paths) -> str:
    """A command; it does nothing where there is no ruleset.

    With the pods that a node which follows them knows, in one transaction; without, where their part does not fit.
    """
    return (
        "/bin/sh -c '[ ! -e %(ruleset)s ] || { [ -s %(members)s ] && cat %(ruleset)s %(members)s | nft -f -; } "
        "|| exec nft -f %(ruleset)s'" % {"ruleset": paths.file(RULESET), "members": paths.members_ruleset}
    )
