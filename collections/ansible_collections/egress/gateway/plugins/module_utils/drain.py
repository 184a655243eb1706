# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""A gateway emptied before maintenance: the file that keepalived watches, and where the addresses are then."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from ansible_collections.egress.gateway.plugins.module_utils.bundle import installed
from ansible_collections.egress.gateway.plugins.module_utils.contract.plan import NodePlan
from ansible_collections.egress.gateway.plugins.module_utils.contract.routing import slot_origin
from ansible_collections.egress.gateway.plugins.module_utils.kernel import processes
from ansible_collections.egress.gateway.plugins.module_utils.kernel.command import NodeError
from ansible_collections.egress.gateway.plugins.module_utils.kernel.reading import Kernel
from ansible_collections.egress.gateway.plugins.module_utils.node import Paths
from ansible_collections.egress.gateway.plugins.module_utils.resources.files import write
from ansible_collections.egress.gateway.plugins.module_utils.resources.keepalived import held

_YES = "1\n"


@dataclass(frozen=True)
class Drain:
    """Whether the file changed, and the floating addresses that the node has in the end."""

    changed: bool
    held: tuple[str, ...]


def is_drained(paths: Paths) -> bool:
    """As keepalived sees it: any number but 0."""
    try:
        return int(paths.drained.read_text(encoding="ascii").strip() or "0") != 0
    except (OSError, ValueError):
        return False


def drain(paths: Paths, wanted: bool, wait: float, check_only: bool) -> Drain:
    """Drains the node, and waits ``wait`` seconds for its addresses to go; or takes it back without waiting.

    NodeError when the node is no gateway, when nobody else could take its addresses, and when nobody did: then it is
    taken back.
    """
    plan = _gateway_plan(paths)
    changed = is_drained(paths) != wanted
    if wanted:
        _require_others(plan)
    if changed and not check_only:
        _mark(paths, wanted)
    if wanted and not check_only and not processes.until(lambda: not held(Kernel(), plan), wait):
        still = ", ".join(held(Kernel(), plan))
        if changed:
            _mark(paths, False)
        raise NodeError(
            "no other gateway took %s within %g seconds: is one up, and not drained itself? %s"
            % (still, wait, "The drain was undone." if changed else "The node stays drained.")
        )
    return Drain(changed, tuple(held(Kernel(), plan)))


def _gateway_plan(paths: Paths) -> NodePlan:
    bundle = installed(paths)
    if bundle is None:
        raise NodeError("there is no plan in %s: apply the bundle first" % paths.config)
    if bundle.plan.role != "gateway":
        raise NodeError("%s is a %s: only gateways hold addresses that could go" % (bundle.plan.node, bundle.plan.role))
    return bundle.plan


def _require_others(plan: NodePlan) -> None:
    memberships = plan.gateway.memberships if plan.gateway else ()
    alone = [slot_origin(membership) for membership in memberships if len(membership.members) == 1]
    if alone:
        raise NodeError("%s is the only gateway of %s: nobody could take over" % (plan.node, "; ".join(alone)))


def _mark(paths: Paths, drained: bool) -> None:
    if drained:
        write(paths.drained, _YES, 0o644)
        return
    with contextlib.suppress(FileNotFoundError):
        paths.drained.unlink()
