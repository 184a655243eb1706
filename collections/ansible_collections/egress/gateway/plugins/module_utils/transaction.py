# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""A node brought to its bundle, or to none: all checked, in an order that neither leaks nor cuts, or undone."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ansible_collections.egress.gateway.plugins.module_utils.bundle import (
    NodeBundle,
    foreign_files,
    installed,
    read_files,
)
from ansible_collections.egress.gateway.plugins.module_utils.checks import preflight
from ansible_collections.egress.gateway.plugins.module_utils.checks.following import ASK_SECONDS, known_to_api
from ansible_collections.egress.gateway.plugins.module_utils.connections import Ended, end_connections
from ansible_collections.egress.gateway.plugins.module_utils.contract.names import NFT_TABLE
from ansible_collections.egress.gateway.plugins.module_utils.contract.plan import FAMILIES
from ansible_collections.egress.gateway.plugins.module_utils.follow.errors import FollowError
from ansible_collections.egress.gateway.plugins.module_utils.kernel.command import NodeError
from ansible_collections.egress.gateway.plugins.module_utils.kernel.nft_generation import has_table
from ansible_collections.egress.gateway.plugins.module_utils.known import known_in_force
from ansible_collections.egress.gateway.plugins.module_utils.node import Paths
from ansible_collections.egress.gateway.plugins.module_utils.repair import lacking, repair, repairable
from ansible_collections.egress.gateway.plugins.module_utils.resources.drop_ins import networkd_warnings
from ansible_collections.egress.gateway.plugins.module_utils.resources.files import sweep
from ansible_collections.egress.gateway.plugins.module_utils.resources.gate import Gate
from ansible_collections.egress.gateway.plugins.module_utils.resources.originals import LOST, Originals
from ansible_collections.egress.gateway.plugins.module_utils.resources.resource import (
    Change,
    NotConverged,
    Resource,
    bring,
    clear,
    settle,
)
from ansible_collections.egress.gateway.plugins.module_utils.resources.sysctls import Sysctls
from ansible_collections.egress.gateway.plugins.module_utils.transition import (
    Transition,
    differences,
    record,
    resources,
)
from ansible_collections.egress.gateway.plugins.module_utils.undo import confirm, lock


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
        transition = _read(paths, service, wanted)
        outcome = _prepare(transition, confirm_seconds)
        _end_connections(outcome, transition, cut, check_only)
        if outcome.error is not None:
            _repair_at_least(outcome, transition, check_only)
        return outcome
    with lock.held(paths):
        sweep(paths)
        transition = _read(paths, service, wanted)
        outcome = _prepare(transition, confirm_seconds)
        if outcome.error is not None:
            _repair_at_least(outcome, transition, check_only)
        else:
            waiting = confirm.read(paths) if confirm_seconds else None
            if confirm_seconds and outcome.changes and waiting is None:
                before = transition.before.files if transition.before else None
                confirm.arm(paths, service, before, confirm_seconds)
            if outcome.changes:
                _carry_out(outcome, transition)
            _end_connections(outcome, transition, cut, check_only)
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


def _end_connections(outcome: Outcome, transition: Transition, cut: bool, check_only: bool) -> None:
    """After everything else: what ends now begins anew under what is in force."""
    if outcome.error is not None:
        return
    before, after = (one.plan if one else None for one in (transition.before, transition.wanted))
    try:
        outcome.ended = end_connections(before, after, cut, check_only)
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


def _read(paths: Paths, service: bool, wanted: NodeBundle | None) -> Transition:
    try:
        before, unreadable = installed(paths), None
    except NodeError as error:
        before, unreadable = None, error
    unknown = None
    try:
        wanted = wanted and _with_known(paths, wanted, before)
    except NodeError as error:
        unknown = error
    return Transition(paths, service, wanted, before, unreadable, unknown)


def _with_known(paths: Paths, wanted: NodeBundle, before: NodeBundle | None) -> NodeBundle:
    """With the pods that the node knows. One that begins to follow its pods asks for them, and does not lose any.

    Where there is nobody to ask, and nothing to lose, it begins without: the follower goes on asking.
    """
    if wanted.static.follow is None or paths.known.exists():
        return wanted.with_known(known_in_force(paths))
    try:
        return wanted.with_known(known_to_api(paths, wanted, ASK_SECONDS))
    except FollowError as error:
        if before is not None and any(before.plan.worker.pods.of(family) for family in FAMILIES):
            raise NodeError(
                "the node is to follow its pods, and its API server does not tell which it has: %s. Their egress IPs "
                "would be lost" % error
            ) from error
        return wanted


def _prepare(transition: Transition, confirm_seconds: int) -> Outcome:
    """The differences, checked as far as that goes without changing anything."""
    paths, wanted, before, unreadable = transition.paths, transition.wanted, transition.before, transition.unreadable
    outcome = Outcome(files_before=read_files(paths))
    if unreadable is not None:
        outcome.warnings.append("what %s held cannot be read, nor rolled back to: %s" % (paths.config, unreadable))
    strange = foreign_files(paths)
    if wanted is None and strange:
        outcome.warnings.append("%s stays, for it holds %s" % (paths.config, ", ".join(strange)))
    try:
        preflight.require_tools(wanted)
        if transition.unknown is not None:
            raise transition.unknown
        outcome.changes = differences(transition)
        if confirm_seconds and unreadable is not None:
            raise NodeError("with a time limit the node must be able to go back, and it cannot: %s" % unreadable)
        if wanted is not None and outcome.changes:
            plan = before.plan if before else None
            outcome.warnings += preflight.check(wanted, plan, transition.kernel, paths, outcome.changes)
            outcome.warnings += networkd_warnings(paths, transition.service)
            outcome.warnings += Gate(wanted.plan).warnings()
        if Originals(paths, wanted is not None and (before is not None or unreadable is not None)).lost():
            outcome.warnings.append(LOST % paths.originals)
        if not confirm_seconds:
            outcome.changes = (*outcome.changes, *confirm.Unconfirmed(paths).difference())
    except NodeError as error:
        outcome.error = error
    return outcome


def _carry_out(outcome: Outcome, transition: Transition) -> None:
    done: list[Change] = []
    outcome.error = attempt(transition, done)
    if outcome.error is None:
        predicted = {change.key for change in outcome.changes}
        outcome.changes += tuple(change for change in done if change.key not in predicted)
        return
    if transition.unreadable is not None:
        outcome.rollback_error = transition.unreadable
        return
    back = transition.back()
    outcome.rollback_error = attempt(back)
    outcome.rolled_back = outcome.rollback_error is None
    if (
        back.wanted is not None and not outcome.rolled_back
    ):  # neither goes as a whole: closed at least, and what else goes
        repair(repairable(back))


def _repair_at_least(outcome: Outcome, transition: Transition, check_only: bool) -> None:
    """A run that is refused, on a node that has a plan: what of it is broken is no better for waiting.

    Of a plan that cannot be read nothing is known, but that governed packets are to stay in.
    """
    if transition.wanted is None or (transition.before is None and transition.unreadable is None):
        return
    outcome.refused = True
    chosen: list[Resource] = []
    if transition.before is not None:
        chosen = repairable(transition.staying())
    elif has_table(NFT_TABLE) is False:
        chosen = repairable(transition, only_closing=True)
    if not check_only:
        done, outcome.unrepaired = repair(chosen)
        outcome.changes = tuple(done)
        return
    outcome.changes = ()
    for resource in chosen:
        with contextlib.suppress(NodeError):
            outcome.changes += lacking(resource)


def attempt(transition: Transition, done: list[Change] | None = None) -> NodeError | None:
    """Brings the node there and reads all of it once more; why not, if not, whatever it was. Adds to what is done."""
    try:
        changes = _converge(transition)
        if done is not None:
            done += changes
        if differences(transition):  # a script of keepalived's crossed our way: once more
            _converge(transition)
            _require_equal(differences(transition))
    except NodeError as error:
        return error
    except Exception as error:
        return NodeError("%s: %s" % (type(error).__name__, error))
    return None


def _require_equal(rest: Sequence[Change]) -> None:
    if rest:
        raise NotConverged(rest, None)


def _converge(transition: Transition) -> tuple[Change, ...]:
    everything = resources(transition)
    early: list[Change] = []
    if transition.wanted is None:
        done = clear(everything)
    else:
        for resource in everything:  # before anything is remembered in a file that is made anew
            if isinstance(resource, Originals):
                early += settle(resource, ("create", "modify"))
        for resource in everything:
            if isinstance(resource, Sysctls):
                resource.remember()
        done = early + bring(everything)
    return (*done, *settle(record(transition.paths, transition.wanted), ("create", "modify", "remove")))
