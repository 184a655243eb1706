# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""A node's part of the bundle: its files, handed over by the controller or found on the node, and what they make of it.

Where the node follows its pods by itself the files say nothing of them, and what is in force is more than they say.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ansible_collections.egress.gateway.plugins.module_utils.contract.members import MEMBERS
from ansible_collections.egress.gateway.plugins.module_utils.contract.members_file import MembersFile
from ansible_collections.egress.gateway.plugins.module_utils.contract.membership import Known, with_pods
from ansible_collections.egress.gateway.plugins.module_utils.contract.membership_ruleset import script
from ansible_collections.egress.gateway.plugins.module_utils.contract.names import PLAN, RULESET
from ansible_collections.egress.gateway.plugins.module_utils.contract.plan import NodePlan
from ansible_collections.egress.gateway.plugins.module_utils.contract.reading import DamagedPlan, read_plan
from ansible_collections.egress.gateway.plugins.module_utils.in_force import InForce, read_in_force
from ansible_collections.egress.gateway.plugins.module_utils.kernel.command import NodeError
from ansible_collections.egress.gateway.plugins.module_utils.known import NOTHING_KNOWN, known_in_force, read_known
from ansible_collections.egress.gateway.plugins.module_utils.node import Paths

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,100}")

_LEFTOVERS = (
    ".bak",
    ".dpkg-bak",
    ".dpkg-dist",
    ".dpkg-new",
    ".dpkg-old",
    ".dpkg-tmp",
    ".orig",
    ".rej",
    ".rpmnew",
    ".rpmorig",
    ".rpmsave",
    ".save",
    ".swo",
    ".swp",
    ".tmp",
    ".ucf-dist",
    ".ucf-old",
)
"""Endings of what editors and package managers leave beside a file."""


@dataclass(frozen=True)
class NodeBundle:
    """Files by name, all text; the plan that is one of them, ``static``; and what is in force.

    ``plan`` is the static one with the pods that are ``known``, where the node follows them, and ``supplement`` what
    stands behind the ruleset for them.
    """

    files: Mapping[str, str]
    plan: NodePlan
    static: NodePlan
    supplement: str = ""
    known: Known = NOTHING_KNOWN

    @property
    def ruleset(self) -> str | None:
        """All that the kernel is to have of our table."""
        text = self.files.get(RULESET)
        return None if text is None else text + self.supplement

    def members(self) -> MembersFile:
        """Of a node that follows its pods.  NodeError."""
        try:
            return MembersFile(io.BytesIO(self.files[MEMBERS].encode()))
        except KeyError:
            raise NodeError("the bundle has no %s, though the node is to follow its pods" % MEMBERS) from None
        except DamagedPlan as error:
            raise NodeError(str(error)) from error

    def with_known(self, known: Known) -> NodeBundle:
        """The same node where other pods are known.  NodeError when members.json is damaged."""
        if self.static.follow is None:
            return self
        found = in_force(self.static, self.members(), known)
        return replace(self, plan=found.plan, supplement=found.supplement, known=known)


def in_force(static: NodePlan, members: MembersFile, known: Known) -> InForce:
    """NodeError when members.json is damaged."""
    try:
        plan = with_pods(static, members, known)
        return InForce(plan, script(static, plan, members.lines))
    except DamagedPlan as error:
        raise NodeError(str(error)) from error


def digest(text: str) -> str:
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def mode(text: str) -> int:
    """A script may be executed, all else is only read."""
    return 0o755 if text.startswith("#!") else 0o644


def pack(files: Mapping[str, str]) -> str:
    """Files as one short word, so that a large bundle neither fills the module's arguments nor the node's log."""
    text = json.dumps(dict(sorted(files.items())), ensure_ascii=False)
    return base64.b64encode(zlib.compress(text.encode(), 6)).decode()


def unpack(payload: str) -> NodeBundle:
    """The inverse of ``pack``, checked, with no pods known; NodeError when it is damaged."""
    try:
        files = json.loads(zlib.decompress(base64.b64decode(payload, validate=True)))
    except (binascii.Error, zlib.error, ValueError) as error:
        raise NodeError("the bundle arrived damaged: %s" % error) from error
    return from_files(files)


def from_files(files: Mapping[str, str]) -> NodeBundle:
    """A bundle of these files, with no pods known.

    NodeError when it holds no usable plan, or a name that leaves the directory.
    """
    for name, text in files.items():
        if not _NAME.fullmatch(name) or not isinstance(text, str):
            raise NodeError("%r is no file of a bundle" % (name,))
    if PLAN not in files:
        raise NodeError("the bundle has no %s" % PLAN)
    try:
        plan = read_plan(files[PLAN], files.get(RULESET))
    except DamagedPlan as error:
        raise NodeError(str(error)) from error
    return NodeBundle(dict(files), plan, plan)


def installed(paths: Paths) -> NodeBundle | None:
    """The bundle that the node holds, with the pods that it knows; None when there is none.

    NodeError when its plan cannot be read. What an editor or a package manager has left there is none of it: the next
    apply removes it.
    """
    if not paths.file(PLAN).exists():
        return None
    files = {name: text for name, text in read_files(paths).items() if _may_be_ours(name)}
    try:
        bundle = from_files(files)
    except NodeError:  # of the ruleset, which somebody has edited: it says nothing then
        plan = from_files({name: text for name, text in files.items() if name != RULESET}).plan
        bundle = NodeBundle(files, plan, plan)
    return bundle if bundle.static.follow is None else _with_pods(bundle, paths)


def _with_pods(bundle: NodeBundle, paths: Paths) -> NodeBundle:
    kept, known, supplement = map(_text_of, (paths.followed, paths.known, paths.members_ruleset))
    now = known_in_force(paths)
    found = read_in_force(kept, bundle.files, known, bundle.static, supplement) if now == read_known(paths) else None
    if found is None:
        return bundle.with_known(now)
    return replace(bundle, plan=found.plan, supplement=found.supplement, known=now)


def _text_of(path: Path) -> str:
    """Empty where there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _may_be_ours(name: str) -> bool:
    return _NAME.fullmatch(name) is not None and not name.endswith(_LEFTOVERS)


def foreign_files(paths: Paths) -> list[str]:
    """What is in the configuration directory and cannot be ours: directories, links and the like."""
    if not paths.config.is_dir():
        return []
    return sorted(path.name for path in paths.config.iterdir() if path.is_symlink() or not path.is_file())


def read_files(paths: Paths) -> dict[str, str]:
    """Every file of the configuration directory but the node's own state; nothing when there is no directory."""
    found = {}
    try:
        entries = sorted(paths.config.iterdir())
    except FileNotFoundError:
        return {}
    for path in entries:
        if path not in (paths.originals, paths.drained) and path.is_file() and not path.is_symlink():
            found[path.name] = path.read_text(encoding="utf-8", errors="replace")
    return found
