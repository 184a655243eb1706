# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""A node brought to its bundle, or to none: all checked, in an order that neither leaks nor cuts, or undone."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ansible_collections.egress.gateway.plugins.module_utils.agent.service import Agent
from ansible_collections.egress.gateway.plugins.module_utils.bundle import (
    NodeBundle,
    foreign_files,
    installed,
    read_files,
)
from ansible_collections.egress.gateway.plugins.module_utils.checks import preflight
from ansible_collections.egress.gateway.plugins.module_utils.connections import Ended, end_connections
from ansible_collections.egress.gateway.plugins.module_utils.firewall.host_firewall_accepts import HostFirewallAccepts
from ansible_collections.egress.gateway.plugins.module_utils.kernel.command import NodeError
from ansible_collections.egress.gateway.plugins.module_utils.kernel.nft_generation import has_table
from ansible_collections.egress.gateway.plugins.module_utils.kernel.reading import Kernel
from ansible_collections.egress.gateway.plugins.module_utils.node import (
    DEVICE,
    NFT_TABLE,
    PLAN,
    RULESET,
    VETH_PAIR,
    Paths,
)
from ansible_collections.egress.gateway.plugins.module_utils.resources.connected import Connected
from ansible_collections.egress.gateway.plugins.module_utils.resources.conntrackd import Conntrackd
from ansible_collections.egress.gateway.plugins.module_utils.resources.drop_ins import DropIns, networkd_warnings
from ansible_collections.egress.gateway.plugins.module_utils.resources.files import Files, Record, sweep
from ansible_collections.egress.gateway.plugins.module_utils.resources.floating import Floating
from ansible_collections.egress.gateway.plugins.module_utils.resources.keepalived import Keepalived, Leftovers
from ansible_collections.egress.gateway.plugins.module_utils.resources.link import Addresses, Link
from ansible_collections.egress.gateway.plugins.module_utils.resources.nftables import Table
from ansible_collections.egress.gateway.plugins.module_utils.resources.originals import LOST, Originals
from ansible_collections.egress.gateway.plugins.module_utils.resources.peers import Forwarding, Neighbours
from ansible_collections.egress.gateway.plugins.module_utils.resources.places import Places
from ansible_collections.egress.gateway.plugins.module_utils.resources.resource import (
    Change,
    NotConverged,
    Resource,
    bring,
    clear,
    settle,
)
from ansible_collections.egress.gateway.plugins.module_utils.resources.steering import LastRoutes, Routes, Rules
from ansible_collections.egress.gateway.plugins.module_utils.resources.sysctls import Sysctls
from ansible_collections.egress.gateway.plugins.module_utils.resources.units import Units
from ansible_collections.egress.gateway.plugins.module_utils.resources.veth_pair import VethPair
from ansible_collections.egress.gateway.plugins.module_utils.undo import confirm, lock

_FAILOVER = 0.5
"""Seconds; keepalived's script has the routes of a slot that went elsewhere back in a tenth of that."""


_OF_KERNEL = (
    *(HostFirewallAccepts, Addresses, Connected, Forwarding, LastRoutes, Link, Neighbours),
    *(Routes, Rules, Sysctls, Table, VethPair),
)
"""Resources whose objects the kernel has, and others may take away."""


@dataclass
class Outcome:
    """What a run did or would do. With ``error`` the node is as before when ``rolled_back``, else as the text says."""

    changes: tuple[Change, ...] = ()
    files_before: Mapping[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    ended: Sequence[Ended] = ()
    refused: bool = False
    """Whether the run ended before it began; ``changes`` are then what of the node before had to be repaired."""
    unrepaired: Sequence[NodeError] = ()
    error: NodeError | None = None
    rolled_back: bool = False
    rollback_error: NodeError | None = None


def has_systemd() -> bool:
    return Path("/run/systemd/system").is_dir()


def resources(
    paths: Paths, service: bool, wanted: NodeBundle | None, before: NodeBundle | None, kernel: Kernel
) -> tuple[Resource, ...]:
    """Everything of ours on a node, in the order in which it comes to be; it goes in reverse.

    A packet is marked only after the marks have their rules and routes; a gateway owns an address only after its
    translation rules are there. Of two steps in reverse the same holds: addresses first, marks next, their rules last.
    """
    files = wanted.files if wanted else {}
    plan = wanted.plan if wanted else None
    sysctls = plan.sysctls if plan else ()
    link = Link(kernel, paths, plan)
    found: list[Resource] = [
        Places(paths, wanted is not None),
        Originals(paths, wanted is not None and before is not None),
    ]
    found += [DropIns(paths, wanted is not None)] if service else []
    found += [
        Sysctls(paths, sysctls, lambda key: not _of_device(key) and not _of_wire(key) and not _of_conntrack(key)),
        link,
        Sysctls(paths, sysctls, _of_device, remember=False),
        Addresses(kernel, plan),
        Connected(kernel, plan),
        VethPair(kernel, plan),
        Sysctls(paths, sysctls, _of_wire, remember=False),
        Neighbours(kernel, plan.peers if plan else ()),
        Forwarding(kernel, plan.peers if plan else ()),
        Routes(kernel, plan),
        Rules(kernel, plan),
        HostFirewallAccepts(plan),
        Table(kernel, files.get(RULESET), plan.origins if plan else {}),
        Sysctls(paths, sysctls, _of_conntrack),
        LastRoutes(kernel, plan),
        Rules(kernel, plan, last=True),
        Leftovers(kernel, plan, before.plan if before else None),
        Files(paths, files),
    ]
    if service:
        found.append(Units(paths, files))
    keepalived = Keepalived(paths, files, service, link.is_to_be_made)
    floating = Floating(kernel, paths, plan, lambda: not keepalived.difference())
    return (*found, Conntrackd(paths, files, service), keepalived, floating, Agent(paths, service, wanted is not None))


def record(paths: Paths, wanted: NodeBundle | None) -> Record:
    return Record(paths, wanted.files[PLAN] if wanted else None)


def differences(
    paths: Paths, service: bool, wanted: NodeBundle | None, before: NodeBundle | None
) -> tuple[Change, ...]:
    """How the node differs from the bundle, by object. Changes nothing."""
    everything = (*resources(paths, service, wanted, before, Kernel()), record(paths, wanted))
    return tuple(change for resource in everything for change in resource.difference())


def settled_differences(
    paths: Paths, service: bool, wanted: NodeBundle | None, before: NodeBundle | None
) -> tuple[Change, ...]:
    """The same, but for what a failover that is going on just now puts right by itself."""
    found = differences(paths, service, wanted, before)
    if found:
        time.sleep(_FAILOVER)
        found = differences(paths, service, wanted, before)
    return found


def apply(
    paths: Paths,
    service: bool,
    wanted: NodeBundle | None,
    check_only: bool = False,
    confirm_seconds: int = 0,
    cut: bool = False,
) -> Outcome:
    """Brings the node to ``wanted``; None means that nothing of ours remains. ``check_only`` touches nothing.

    ``cut`` ends every open connection that would leave otherwise if it began now.

    With ``confirm_seconds`` the node goes back by itself unless it is confirmed in time. Without, it is to stay, and so
    is whatever was not confirmed before.
    """
    if check_only:
        outcome, before = _prepare(paths, service, wanted, confirm_seconds)
        _end_connections(outcome, wanted, before, cut, check_only)
        if outcome.error is not None:
            _repair_at_least(outcome, paths, service, wanted, before, check_only)
        return outcome
    with lock.held(paths):
        sweep(paths)
        outcome, before = _prepare(paths, service, wanted, confirm_seconds)
        if outcome.error is not None:
            _repair_at_least(outcome, paths, service, wanted, before, check_only)
        else:
            waiting = confirm.read(paths) if confirm_seconds else None
            if confirm_seconds and outcome.changes and waiting is None:
                confirm.arm(paths, service, before.files if isinstance(before, NodeBundle) else None, confirm_seconds)
            if outcome.changes:
                _carry_out(outcome, paths, service, wanted, before)
            _end_connections(outcome, wanted, before, cut, check_only)
            _keep_promise(outcome, paths, confirm_seconds, waiting is None)
        lock.remove_traces(paths, everything=wanted is None and outcome.error is None)
    return outcome


def confirmed(paths: Paths, check_only: bool = False) -> Outcome:
    """Lets the node stay as it is, if it was about to go back."""
    outcome = Outcome(changes=confirm.Unconfirmed(paths).difference())
    if outcome.changes and not check_only:
        with lock.held(paths):
            settle(confirm.Unconfirmed(paths), ("remove",))
            lock.remove_traces(paths, everything=False)
    return outcome


def _end_connections(
    outcome: Outcome, wanted: NodeBundle | None, before: NodeBundle | NodeError | None, cut: bool, check_only: bool
) -> None:
    """After everything else: what ends now begins anew under what is in force."""
    if outcome.error is not None:
        return
    texts = [one.files[PLAN] if isinstance(one, NodeBundle) else "" for one in (before, wanted)]
    try:
        outcome.ended = end_connections(texts[0], texts[1], cut, check_only)
    except NodeError as error:
        outcome.warnings.append(str(error))


def _keep_promise(outcome: Outcome, paths: Paths, confirm_seconds: int, newly: bool) -> None:
    """What waits, after a run: its time counts from here; a run that failed leaves it as it found it."""
    try:
        if outcome.error is None and confirm_seconds:
            confirm.extend(paths, confirm_seconds)
        elif outcome.error is None or (outcome.rolled_back and confirm_seconds and newly):
            settle(confirm.Unconfirmed(paths), ("remove",))
    except NodeError as error:
        if outcome.error is None and not confirm_seconds:
            outcome.error = error
        outcome.warnings.append("what waits for a confirmation is as it was before: %s" % error)


def _prepare(
    paths: Paths, service: bool, wanted: NodeBundle | None, confirm_seconds: int
) -> tuple[Outcome, NodeBundle | NodeError | None]:
    """The differences, checked as far as that goes without changing anything, and what the node holds."""
    outcome = Outcome(files_before=read_files(paths))
    before = _installed(paths, outcome)
    strange = foreign_files(paths)
    if wanted is None and strange:
        outcome.warnings.append("%s stays, for it holds %s" % (paths.config, ", ".join(strange)))
    try:
        preflight.require_tools(wanted)
        outcome.changes = differences(paths, service, wanted, before if isinstance(before, NodeBundle) else None)
        if confirm_seconds and isinstance(before, NodeError):
            raise NodeError("with a time limit the node must be able to go back, and it cannot: %s" % before)
        if wanted is not None and outcome.changes:
            plan = before.plan if isinstance(before, NodeBundle) else None
            outcome.warnings += preflight.check(wanted, plan, Kernel(), paths, outcome.changes)
            outcome.warnings += networkd_warnings(paths, service)
        if Originals(paths, wanted is not None and before is not None).lost():
            outcome.warnings.append(LOST % paths.originals)
        if not confirm_seconds:
            outcome.changes = (*outcome.changes, *confirm.Unconfirmed(paths).difference())
    except NodeError as error:
        outcome.error = error
    return outcome, before


def _installed(paths: Paths, outcome: Outcome) -> NodeBundle | NodeError | None:
    try:
        return installed(paths)
    except NodeError as error:
        outcome.warnings.append("what %s held cannot be read, nor rolled back to: %s" % (paths.config, error))
        return error


def _carry_out(
    outcome: Outcome, paths: Paths, service: bool, wanted: NodeBundle | None, before: NodeBundle | NodeError | None
) -> None:
    known = before if isinstance(before, NodeBundle) else None
    done: list[Change] = []
    outcome.error = attempt(paths, service, wanted, known, done)
    if outcome.error is None:
        predicted = {change.key for change in outcome.changes}
        outcome.changes += tuple(change for change in done if change.key not in predicted)
        return
    if isinstance(before, NodeError):
        outcome.rollback_error = before
        return
    outcome.rollback_error = attempt(paths, service, wanted=before, before=wanted)
    outcome.rolled_back = outcome.rollback_error is None
    if before is not None and not outcome.rolled_back:  # neither goes as a whole: closed at least, and what else goes
        repair(repairable(paths, service, before, wanted))


def repairable(
    paths: Paths, service: bool, wanted: NodeBundle, before: NodeBundle | None, only_closing: bool = False
) -> list[Resource]:
    """What of the kernel may be repaired on its own; what keeps governed packets in comes first."""
    everything = resources(paths, service, wanted, before, Kernel())
    chosen = [r for r in everything if isinstance(r, _OF_KERNEL) and (r.closes or not only_closing)]
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


def _repair_at_least(
    outcome: Outcome,
    paths: Paths,
    service: bool,
    wanted: NodeBundle | None,
    before: NodeBundle | NodeError | None,
    check_only: bool,
) -> None:
    """A run that is refused, on a node that has a plan: what of it is broken is no better for waiting.

    Of a plan that cannot be read nothing is known, but that governed packets are to stay in.
    """
    if wanted is None or before is None:
        return
    outcome.refused = True
    chosen: list[Resource] = []
    if isinstance(before, NodeBundle):
        chosen = repairable(paths, service, before, before)
    elif has_table(NFT_TABLE) is False:
        chosen = repairable(paths, service, wanted, None, only_closing=True)
    if not check_only:
        done, outcome.unrepaired = repair(chosen)
        outcome.changes = tuple(done)
        return
    outcome.changes = ()
    for resource in chosen:
        with contextlib.suppress(NodeError):
            outcome.changes += lacking(resource)


def attempt(
    paths: Paths,
    service: bool,
    wanted: NodeBundle | None,
    before: NodeBundle | None,
    done: list[Change] | None = None,
) -> NodeError | None:
    """Brings the node there and reads all of it once more; why not, if not, whatever it was. Adds to what is done."""
    try:
        changes = _converge(paths, service, wanted, before)
        if done is not None:
            done += changes
        if differences(paths, service, wanted, before):  # a script of keepalived's crossed our way: once more
            _converge(paths, service, wanted, before)
            _require_equal(differences(paths, service, wanted, before))
    except NodeError as error:
        return error
    except Exception as error:
        return NodeError("%s: %s" % (type(error).__name__, error))
    return None


def _require_equal(rest: Sequence[Change]) -> None:
    if rest:
        raise NotConverged(rest, None)


def _converge(paths: Paths, service: bool, wanted: NodeBundle | None, before: NodeBundle | None) -> tuple[Change, ...]:
    everything = resources(paths, service, wanted, before, Kernel())
    early: list[Change] = []
    if wanted is None:
        done = clear(everything)
    else:
        for resource in everything:  # before anything is remembered in a file that is made anew
            if isinstance(resource, Originals):
                early += settle(resource, ("create", "modify"))
        for resource in everything:
            if isinstance(resource, Sysctls):
                resource.remember()
        done = early + bring(everything)
    return (*done, *settle(record(paths, wanted), ("create", "modify", "remove")))


def _of_conntrack(key: str) -> bool:
    """Settings that exist only once something has connections tracked, as our table does."""
    return key.startswith("net/netfilter/")


def _of_device(key: str) -> bool:
    return "/%s/" % DEVICE in key


def _of_wire(key: str) -> bool:
    return any("/%s/" % device in key for device in VETH_PAIR)
