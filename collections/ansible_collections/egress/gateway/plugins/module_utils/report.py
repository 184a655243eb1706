# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""Changes as Ansible shows them: by object with their origin, and file by file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ansible_collections.egress.gateway.plugins.module_utils.contract.names import PLAN
from ansible_collections.egress.gateway.plugins.module_utils.node import Paths
from ansible_collections.egress.gateway.plugins.module_utils.resources.key import Key
from ansible_collections.egress.gateway.plugins.module_utils.resources.resource import Change, listed, shortened
from ansible_collections.egress.gateway.plugins.module_utils.transaction import Outcome


def result(outcome: Outcome, paths: Paths, files: Mapping[str, str], diff: bool) -> dict[str, Any]:
    """The module's return values; ``msg`` and ``failed_command`` when it failed."""
    values: dict[str, Any] = {
        "changed": bool(outcome.changes) and outcome.error is None,
        "changes": [shortened(change).as_dict() for change in outcome.changes],
        "ended": [asdict(ended) for ended in outcome.ended],
        "rolled_back": outcome.rolled_back,
    }
    if diff:
        values["diff"] = diffs(outcome.changes, outcome.files_before, files, paths)
    if outcome.error is not None:
        values["msg"] = _story(outcome)
        values["failed_command"] = outcome.error.failed_command
        values["changed"] = bool(outcome.rollback_error) or (outcome.refused and bool(outcome.changes))
    return values


def diffs(
    changes: Sequence[Change], before: Mapping[str, str], after: Mapping[str, str], paths: Paths
) -> list[dict[str, str]]:
    """One entry for all objects of the kernel, and one for each file; the plan is left out, for it says the same."""
    objects = [change for change in changes if change.key.kind != "file"]
    found = []
    if objects:
        found.append(
            {
                "before_header": "kernel",
                "after_header": "plan",
                "before": "".join(_line(c.key, c.before, c.origin) for c in objects),
                "after": "".join(_line(c.key, c.after, c.origin) for c in objects),
            }
        )
    for name in sorted(set(before) | set(after)):
        old, new = before.get(name, ""), after.get(name, "")
        if old != new and name != PLAN:
            path = str(paths.file(name))
            found.append({"before_header": path, "after_header": path, "before": old, "after": new})
    return found


def drift(changes: Sequence[Change]) -> list[dict[str, Any]]:
    """The same differences in the words of verify."""
    short = [shortened(change) for change in changes]
    return [{"object": str(c.key), "expected": c.after, "actual": c.before, "origin": c.origin} for c in short]


def _line(key: Key, value: str | None, origin: str) -> str:
    if value is None:
        return ""
    return "%s: %s%s\n" % (key, value, "  # " + origin if origin else "")


def _story(outcome: Outcome) -> str:
    text = str(outcome.error)
    if outcome.rolled_back:
        return text + ". The node was rolled back to what it had before."
    if outcome.rollback_error is not None:
        return "%s. The node could not be rolled back: %s" % (text, outcome.rollback_error)
    if not outcome.refused or not (outcome.changes or outcome.unrepaired):
        return text + ". Nothing was changed."
    text += ". Nothing was changed but what the node had before and was broken: %s" % (
        listed([change.key for change in outcome.changes]) or "nothing"
    )
    if outcome.unrepaired:
        text += ". Still broken: %s" % "; ".join(map(str, outcome.unrepaired))
    return text + "."
