# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""What is in force on a node that follows its pods, worked out once and kept beside what it knows of them.

The programs that only compare and repair read this, and need not read members.json, which a cluster's policies fill.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.egress.gateway.plugins.module_utils.contract.members import MEMBERS
from ansible_collections.egress.gateway.plugins.module_utils.contract.names import PLAN, RULESET
from ansible_collections.egress.gateway.plugins.module_utils.contract.plan import LastResort, NodePlan, WorkerRole
from ansible_collections.egress.gateway.plugins.module_utils.contract.pod_lines import pod_lines
from ansible_collections.egress.gateway.plugins.module_utils.contract.reading import reader_of

DEPENDS_ON = (PLAN, RULESET, MEMBERS)


@dataclass(frozen=True)
class InForce:
    """A plan with its pods, and what stands behind the ruleset for them."""

    plan: NodePlan
    supplement: str


def codes(files: Mapping[str, str]) -> tuple[int, ...]:
    """Of those of a bundle's files by which it is worked out."""
    return tuple(zlib.crc32(files.get(name, "").encode()) for name in DEPENDS_ON)


def in_force_text(of_files: Sequence[int], known: str, found: InForce) -> str:
    """For a bundle's files, by their codes, and the text of what is known."""
    worker = {**vars(found.plan.worker), "pods": pod_lines(found.plan.worker.pods)}
    kept = {
        "of": _of(of_files, known, found.supplement),
        "worker": worker,
        "last_resort": found.plan.last_resort,
        "cut": found.plan.cut,
    }
    # Of a dataclass as it is: asdict would copy all of it first.
    return json.dumps(kept, default=vars) + "\n"


def read_in_force(text: str, files: Mapping[str, str], known: str, static: NodePlan, supplement: str) -> InForce | None:
    """None where it was kept for other files, or is damaged: then it is to be worked out again."""
    try:
        kept: Any = json.loads(text)
        if kept["of"] != _of(codes(files), known, supplement):
            return None
        plan = replace(
            static,
            worker=reader_of(WorkerRole)(kept["worker"]),
            last_resort=reader_of(LastResort)(kept["last_resort"]),
            cut=tuple(map(str, kept["cut"])),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return InForce(plan, supplement)


def _of(of_files: Sequence[int], known: str, supplement: str) -> list[int]:
    return [*of_files, *(zlib.crc32(text.encode()) for text in (known, supplement))]
