# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""The part of the node's bundle that a follower needs, read anew when somebody has changed it."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import BinaryIO

from ansible_collections.egress.gateway.plugins.module_utils.contract.members import MEMBERS
from ansible_collections.egress.gateway.plugins.module_utils.contract.members_file import MembersFile
from ansible_collections.egress.gateway.plugins.module_utils.contract.names import PLAN, RULESET
from ansible_collections.egress.gateway.plugins.module_utils.contract.plan import Follow, NodePlan
from ansible_collections.egress.gateway.plugins.module_utils.contract.reading import (
    DamagedPlan,
    read_plan,
    with_ruleset,
)
from ansible_collections.egress.gateway.plugins.module_utils.in_force import DEPENDS_ON
from ansible_collections.egress.gateway.plugins.module_utils.kernel.command import NodeError
from ansible_collections.egress.gateway.plugins.module_utils.node import Paths

Signature = tuple[object, ...]


class NotFollowed(Exception):
    """The node has no plan, or one by which it does not follow its pods."""


class Standing:
    """The plan without pods, and members.json. Raises NotFollowed, or NodeError where they cannot be read."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self.signature = signature(paths)
        try:
            text = paths.file(PLAN).read_text(encoding="utf-8")
            self.plan: NodePlan = read_plan(text, None)
            if self.plan.follow is None:
                raise NotFollowed
            self.follow: Follow = self.plan.follow
            self._file: BinaryIO = paths.file(MEMBERS).open("rb")
            try:
                self.members = MembersFile(self._file)
            except BaseException:
                self._file.close()
                raise
            self.codes = tuple(_code(paths.file(name)) for name in DEPENDS_ON)
        except FileNotFoundError as error:
            if error.filename == str(paths.file(PLAN)):
                raise NotFollowed from error
            raise NodeError("%s: %s" % (error.filename, error.strerror)) from error
        except OSError as error:
            raise NodeError("%s: %s" % (error.filename, error.strerror)) from error
        except (DamagedPlan, ValueError) as error:
            raise NodeError(str(error)) from error

    def close(self) -> None:
        self._file.close()

    def ruleset(self) -> str:
        """The table without pods, as nft reads it."""
        try:
            return self._paths.file(RULESET).read_text(encoding="utf-8")
        except OSError as error:
            raise NodeError("%s: %s" % (error.filename, error.strerror)) from error

    def with_inside(self, plan: NodePlan) -> NodePlan:
        """With what stands in the ruleset alone, and is too large to be kept."""
        try:
            return with_ruleset(plan, self.ruleset())
        except DamagedPlan as error:
            raise NodeError(str(error)) from error


def _code(path: Path) -> int:
    code = 0
    with path.open("rb") as file:
        for part in iter(lambda: file.read(1 << 20), b""):
            code = zlib.crc32(part, code)
    return code


def signature(paths: Paths) -> Signature:
    """Another one where somebody has changed the plan or members.json."""
    return (*_stat(paths.file(PLAN)), *_stat(paths.file(MEMBERS)))


def _stat(path: Path) -> Signature:
    try:
        found = path.stat()
    except OSError:
        return (None,)
    return found.st_ino, found.st_mtime_ns, found.st_size
