# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""What a node that follows its pods keeps of them: what it knows, and what that makes of the bundle that it has.

The follower writes the same files after each change. A boot loads the ruleset's part behind nftables.nft, so that pods
that are known have their egress IPs before there is an API to ask.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ansible_collections.egress.gateway.plugins.module_utils.bundle import NodeBundle
from ansible_collections.egress.gateway.plugins.module_utils.in_force import InForce, codes, in_force_text
from ansible_collections.egress.gateway.plugins.module_utils.kernel.command import NodeError
from ansible_collections.egress.gateway.plugins.module_utils.known import known_text
from ansible_collections.egress.gateway.plugins.module_utils.node import Paths
from ansible_collections.egress.gateway.plugins.module_utils.resources.files import file_item, file_key, path_of, write
from ansible_collections.egress.gateway.plugins.module_utils.resources.resource import Change, Items, Resource

MODE = 0o600
"""Labels are nobody's business."""
_ORIGIN = "the pods that the node knows"


class Followed(Resource):
    """The files, for a bundle with pods; nothing of them for any other, nor of what the gate told the follower."""

    def __init__(self, paths: Paths, bundle: NodeBundle | None) -> None:
        self._paths = paths
        self._files = followed_files(paths, bundle) if bundle is not None else {}

    def desired(self) -> Items:
        return {file_key(path): file_item(text, MODE, origin=_ORIGIN) for path, text in self._files.items()}

    def actual(self) -> Items:
        found = {}
        for path in (*_all(self._paths), *(() if self._files else (self._paths.gate,))):
            if path.is_file():
                found[file_key(path)] = file_item(path.read_text(encoding="utf-8", errors="replace"), path=path)
        return found

    def fix(self, changes: Sequence[Change]) -> NodeError | None:
        try:
            for change in changes:
                path = path_of(change.key)
                if change.action == "remove":
                    path.unlink()
                else:
                    write(path, self._files[path], MODE)
        except OSError as error:
            return NodeError("%s: %s" % (error.filename, error.strerror))
        return None


def followed_files(paths: Paths, bundle: NodeBundle) -> Mapping[Path, str]:
    if bundle.static.follow is None:
        return {}
    found = InForce(bundle.plan, bundle.supplement)
    return texts_of(paths, codes(bundle.files), known_text(bundle.known), found)


def texts_of(paths: Paths, of_files: Sequence[int], known: str, found: InForce) -> Mapping[Path, str]:
    """In the order in which they are to be written: who reads them notices where they do not belong together."""
    return {
        paths.known: known,
        paths.members_ruleset: found.supplement,
        paths.followed: in_force_text(of_files, known, found),
    }


def _all(paths: Paths) -> tuple[Path, ...]:
    return (paths.known, paths.members_ruleset, paths.followed)
