# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""What others took away from the kernel or changed in it, put right object by object, without a whole run."""

from __future__ import annotations

from collections.abc import Sequence

from ansible_collections.egress.gateway.plugins.module_utils.firewall.host_firewall_accepts import HostFirewallAccepts
from ansible_collections.egress.gateway.plugins.module_utils.kernel.command import NodeError
from ansible_collections.egress.gateway.plugins.module_utils.resources.connected import Connected
from ansible_collections.egress.gateway.plugins.module_utils.resources.link import Addresses, Link
from ansible_collections.egress.gateway.plugins.module_utils.resources.nftables import Table
from ansible_collections.egress.gateway.plugins.module_utils.resources.peers import Forwarding, Neighbours
from ansible_collections.egress.gateway.plugins.module_utils.resources.resource import (
    Change,
    Resource,
    settle,
)
from ansible_collections.egress.gateway.plugins.module_utils.resources.steering import Routes, Rules
from ansible_collections.egress.gateway.plugins.module_utils.resources.sysctls import Sysctls
from ansible_collections.egress.gateway.plugins.module_utils.resources.veth_pair import VethPair
from ansible_collections.egress.gateway.plugins.module_utils.transition import Transition, resources

_OF_KERNEL = (
    *(HostFirewallAccepts, Addresses, Connected, Forwarding, Link, Neighbours),
    *(Routes, Rules, Sysctls, Table, VethPair),
)
"""Resources whose objects the kernel has, and others may take away."""


def repairable(transition: Transition, only_closing: bool = False) -> list[Resource]:
    """What of the kernel may be repaired on its own; what keeps governed packets in comes first."""
    chosen = [r for r in resources(transition) if isinstance(r, _OF_KERNEL) and (r.closes or not only_closing)]
    return sorted(chosen, key=lambda resource: not resource.closes)


def lacking(resource: Resource) -> tuple[Change, ...]:
    """What is not there or not as it should be; what somebody added is left to a whole run."""
    return tuple(change for change in resource.difference() if change.action != "remove")


def repair(chosen: Sequence[Resource]) -> tuple[list[Change], list[NodeError]]:
    """With the lock held: each as far as it goes, whatever becomes of the others. What was done, and what was not."""
    done: list[Change] = []
    problems: list[NodeError] = []
    for resource in chosen:
        try:
            resource.forget()
            if lacking(resource):
                done += settle(resource, ("create", "modify"))
        except NodeError as error:
            problems.append(error)
    return done, problems
