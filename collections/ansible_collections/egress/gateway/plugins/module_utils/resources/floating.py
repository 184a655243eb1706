# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""Addresses that follow the master of their slot: all of them here while that is this node, and none otherwise."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from ansible_collections.egress.gateway.plugins.module_utils.contract.plan import FloatingAddress, NodePlan
from ansible_collections.egress.gateway.plugins.module_utils.kernel.command import NodeError, batch
from ansible_collections.egress.gateway.plugins.module_utils.kernel.reading import Kernel
from ansible_collections.egress.gateway.plugins.module_utils.node import Paths
from ansible_collections.egress.gateway.plugins.module_utils.resources.key import Key
from ansible_collections.egress.gateway.plugins.module_utils.resources.resource import (
    Change,
    Item,
    Items,
    Resource,
    difference,
)

SETTLED = 2.0
"""Seconds, longer than a failover: keepalived's script tells of it some milliseconds after the addresses have moved."""
_PAUSE = 0.1


class Floating(Resource):
    """By the state that keepalived told its script last. A slot of which nothing is known is not judged.

    Nor is anything while keepalived is not as it should be, which ``keepalived_settled`` says: it moves the addresses.
    What differs has to do so for ``patience`` seconds.
    """

    def __init__(
        self,
        kernel: Kernel,
        paths: Paths,
        plan: NodePlan | None,
        keepalived_settled: Callable[[], bool],
        patience: float = SETTLED,
    ) -> None:
        self._kernel = kernel
        self._paths = paths
        announced = plan.gateway.announced() if plan and plan.gateway else ()
        self._floating = {
            instance.name: tuple(address for membership in memberships for address in membership.floating())
            for instance, memberships in announced
        }
        self._keepalived_settled = keepalived_settled
        self._patience = patience

    def forget(self) -> None:
        self._kernel.forget()

    def desired(self) -> Items:
        return {_key(a.address, _length(a), a.device): Item("present", a.origin) for a in self._of("MASTER")}

    def actual(self) -> Items:
        judged = {a.address: a.origin for a in self._of("MASTER", "BACKUP", "FAULT", "STOP")}
        return {
            _key(found["local"], found["prefixlen"], device): Item("present", judged[found["local"]])
            for device, link in self._kernel.links().items()
            for found in link.get("addr_info", ())
            if found.get("local") in judged
        }

    def difference(self) -> tuple[Change, ...]:
        if not self._floating or not self._keepalived_settled():
            return ()
        end = time.monotonic() + self._patience
        while True:
            found = difference(self.desired(), self.actual())
            if not found or time.monotonic() > end:
                return found
            time.sleep(_PAUSE)
            self.forget()

    def fix(self, changes: Sequence[Change]) -> NodeError | None:
        lines = []
        for change in changes:
            address, device = map(str, change.key.parts)
            verb = "delete" if change.action == "remove" else "replace"
            # As keepalived adds them: at once, and never the source of what the node itself sends.
            like = " preferred_lft 0 nodad" if ":" in address and change.action != "remove" else ""
            lines.append("address %s %s dev %s%s" % (verb, address, device, like))
        return batch(["ip"], lines)

    def _of(self, *states: str) -> list[FloatingAddress]:
        return [
            address
            for instance, addresses in self._floating.items()
            if state_of(self._paths, instance) in states
            for address in addresses
        ]


def state_of(paths: Paths, instance: str) -> str:
    """What keepalived said last of a VRRP instance, as notify.sh of the bundle writes it down; empty if unknown."""
    try:
        return (paths.runtime / (instance + ".state")).read_text(encoding="ascii").split(" ")[0]
    except (OSError, ValueError):
        return ""


def _length(address: FloatingAddress) -> int:
    return 128 if ":" in address.address else 32


def _key(address: str, length: int, device: str) -> Key:
    return Key.of("address", "%s/%d" % (address, length), device)
