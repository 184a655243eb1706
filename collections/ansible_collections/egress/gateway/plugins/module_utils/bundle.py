# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""A node's part of the bundle: its files, handed over by the controller or found on the node."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

from ansible_collections.egress.gateway.plugins.module_utils.contract.names import PLAN, RULESET
from ansible_collections.egress.gateway.plugins.module_utils.contract.plan import NodePlan
from ansible_collections.egress.gateway.plugins.module_utils.contract.reading import DamagedPlan, read_plan
from ansible_collections.egress.gateway.plugins.module_utils.kernel.command import NodeError
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
    """Files by name, all text, and the plan that is one of them."""

    files: Mapping[str, str]
    plan: NodePlan


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
    """The inverse of ``pack``, checked; NodeError when it is damaged."""
    try:
        files = json.loads(zlib.decompress(base64.b64decode(payload, validate=True)))
    except (binascii.Error, zlib.error, ValueError) as error:
        raise NodeError("the bundle arrived damaged: %s" % error) from error
    return from_files(files)


def from_files(files: Mapping[str, str]) -> NodeBundle:
    """A bundle of these files; NodeError when it holds no usable plan, or a name that leaves the directory."""
    for name, text in files.items():
        if not _NAME.fullmatch(name) or not isinstance(text, str):
            raise NodeError("%r is no file of a bundle" % (name,))
    if PLAN not in files:
        raise NodeError("the bundle has no %s" % PLAN)
    try:
        return NodeBundle(dict(files), read_plan(files[PLAN], files.get(RULESET)))
    except DamagedPlan as error:
        raise NodeError(str(error)) from error


def installed(paths: Paths) -> NodeBundle | None:
    """The bundle that the node holds; None when there is none. NodeError when its plan cannot be read.

    What an editor or a package manager has left there is none of it: the next apply removes it.
    """
    if not paths.file(PLAN).exists():
        return None
    files = {name: text for name, text in read_files(paths).items() if _may_be_ours(name)}
    try:
        return from_files(files)
    except NodeError:  # of the ruleset, which somebody has edited: it says nothing then
        plan = from_files({name: text for name, text in files.items() if name != RULESET}).plan
        return NodeBundle(files, plan)


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
