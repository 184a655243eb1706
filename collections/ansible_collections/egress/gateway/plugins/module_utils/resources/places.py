# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""Our directories: root runs what is in them, so nobody else may put anything there."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ansible_collections.egress.gateway.plugins.module_utils.kernel.command import NodeError
from ansible_collections.egress.gateway.plugins.module_utils.node import Paths
from ansible_collections.egress.gateway.plugins.module_utils.resources.files import (
    OTHERS_WRITE,
    directory_key,
    irregular,
    path_of,
)
from ansible_collections.egress.gateway.plugins.module_utils.resources.resource import Change, Item, Items, Resource

_CLOSED = "changed by root alone"


class Places(Resource):
    """Owner and mode of those that are there, on a node that has or gets a plan; who needs one makes it."""

    def __init__(self, paths: Paths, wanted: bool) -> None:
        self._places = (paths.config, paths.state, paths.runtime) if wanted else ()

    def desired(self) -> Items:
        return {directory_key(place): Item(_CLOSED, "what root runs") for place in self._there()}

    def actual(self) -> Items:
        return {directory_key(place): Item(irregular(place).lstrip() or _CLOSED) for place in self._there()}

    def fix(self, changes: Sequence[Change]) -> NodeError | None:
        try:
            for change in changes:
                place = path_of(change.key)
                os.chown(place, os.geteuid(), os.getegid())
                place.chmod(place.stat().st_mode & ~OTHERS_WRITE & 0o7777)
        except OSError as error:
            return NodeError("%s: %s" % (error.filename, error.strerror))
        return None

    def _there(self) -> list[Path]:
        return [place for place in self._places if place.is_dir()]
