# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""A node on its way from one bundle to another: all that it is made of, in order, and how it differs."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from ansible_collections.egress.gateway.plugins.module_utils.agent.service import Agent
from ansible_collections.egress.gateway.plugins.module_utils.bundle import (
    NodeBundle,
)
from ansible_collections.egress.gateway.plugins.module_utils.contract.names import PLAN
from ansible_collections.egress.gateway.plugins.module_utils.firewall.host_firewall_accepts import HostFirewallAccepts
from ansible_collections.egress.gateway.plugins.module_utils.kernel.command import NodeError
from ansible_collections.egress.gateway.plugins.module_utils.kernel.reading import Kernel
from ansible_collections.egress.gateway.plugins.module_utils.node import Paths
from ansible_collections.egress.gateway.plugins.module_utils.resources.connected import Connected
from ansible_collections.egress.gateway.plugins.module_utils.resources.conntrackd import Conntrackd
from ansible_collections.egress.gateway.plugins.module_utils.resources.drop_ins import DropIns
from ansible_collections.egress.gateway.plugins.module_utils.resources.files import Files, Record
from ansible_collections.egress.gateway.plugins.module_utils.resources.floating import Floating
from ansible_collections.egress.gateway.plugins.module_utils.resources.followed import Followed
from ansible_collections.egress.gateway.plugins.module_utils.resources.gate import Gate
from ansible_collections.egress.gateway.plugins.module_utils.resources.keepalived import Keepalived, Leftovers
from ansible_collections.egress.gateway.plugins.module_utils.resources.link import Addresses, Link
from ansible_collections.egress.gateway.plugins.module_utils.resources.nftables import Table
from ansible_collections.egress.gateway.plugins.module_utils.resources.nftables_origins import origins
from ansible_collections.egress.gateway.plugins.module_utils.resources.originals import Originals
from ansible_collections.egress.gateway.plugins.module_utils.resources.peers import Forwarding, Neighbours
from ansible_collections.egress.gateway.plugins.module_utils.resources.places import Places
from ansible_collections.egress.gateway.plugins.module_utils.resources.resource import (
    Change,
    Resource,
)
from ansible_collections.egress.gateway.plugins.module_utils.resources.steering import Routes, Rules
from ansible_collections.egress.gateway.plugins.module_utils.resources.sysctls import Sysctls
from ansible_collections.egress.gateway.plugins.module_utils.resources.units import Units
from ansible_collections.egress.gateway.plugins.module_utils.resources.veth_pair import VethPair

_FAILOVER = 0.5
"""Seconds; keepalived's script has the routes of a slot that went elsewhere back in a tenth of that."""


@dataclass(frozen=True)
class Transition:
    """What the node is to hold, ``wanted``, and what it holds, ``before``; None means nothing of ours.

    Where what it holds cannot be read, ``before`` is None and ``unreadable`` says why. ``unknown`` says why nobody can
    tell which pods it has. ``service`` says whether systemd
    runs the daemons.
    """

    paths: Paths
    service: bool
    wanted: NodeBundle | None
    before: NodeBundle | None
    unreadable: NodeError | None = None
    unknown: NodeError | None = None
    kernel: Kernel = field(default_factory=Kernel)

    def back(self) -> Transition:
        return replace(self, wanted=self.before, before=self.wanted)

    def staying(self) -> Transition:
        """What the node holds, as it should be."""
        return replace(self, wanted=self.before)


def resources(transition: Transition) -> tuple[Resource, ...]:
    """Everything of ours on a node, in the order in which it comes to be; it goes in reverse. The kernel is read anew.

    A packet is marked only after the marks have their rules and routes; a gateway owns an address only after its
    translation rules are there; pods wait for the follower only after it runs. Of two steps in reverse the same holds:
    addresses first, marks next, their rules last.
    """
    paths, service, kernel = transition.paths, transition.service, transition.kernel
    wanted, before = transition.wanted, transition.before
    kernel.forget()
    files = wanted.files if wanted else {}
    plan = wanted.plan if wanted else None
    sysctls = plan.kernel.sysctls if plan else ()
    link = Link(kernel, paths, plan)
    found: list[Resource] = [
        Places(paths, wanted is not None),
        Originals(paths, wanted is not None and before is not None),
    ]
    found += [DropIns(paths, wanted is not None)] if service else []
    found += [
        Sysctls(paths, sysctls, "node"),
        link,
        Sysctls(paths, sysctls, "tunnel", remember=False),
        Addresses(kernel, plan),
        Connected(kernel, plan),
        VethPair(kernel, plan),
        Sysctls(paths, sysctls, "veth", remember=False),
        Neighbours(kernel, plan.kernel.peers if plan else ()),
        Forwarding(kernel, plan.kernel.peers if plan else ()),
        Routes(kernel, plan),
        Rules(kernel, plan),
        HostFirewallAccepts(plan),
        Table(kernel, wanted.ruleset if wanted else None, origins(plan) if plan else {}),
        Sysctls(paths, sysctls, "conntrack"),
        Routes(kernel, plan, last=True),
        Rules(kernel, plan, last=True),
        Leftovers(kernel, plan, before.plan if before else None),
        Followed(paths, wanted),
        Files(paths, files),
    ]
    if service:
        found.append(Units(paths, files))
    keepalived = Keepalived(paths, files, service, link.is_to_be_made)
    floating = Floating(kernel, paths, plan, lambda: not keepalived.difference())
    found += [Conntrackd(paths, files, service), keepalived, floating, Agent(paths, service, wanted is not None)]
    return (*found, Gate(plan, before.plan if before else None))


def record(paths: Paths, wanted: NodeBundle | None) -> Record:
    return Record(paths, wanted.files[PLAN] if wanted else None)


def differences(transition: Transition) -> tuple[Change, ...]:
    """How the node differs from the bundle, by object. Changes nothing."""
    everything = (*resources(transition), record(transition.paths, transition.wanted))
    return tuple(change for resource in everything for change in resource.difference())


def settled_differences(read: Callable[[], Transition]) -> tuple[Change, ...]:
    """The same, but for what a failover that is going on just now, or the follower, puts right by itself.

    What the node is to hold is read anew, for the follower changes that.
    """
    found = differences(read())
    if found:
        time.sleep(_FAILOVER)
        found = differences(read())
    return found
