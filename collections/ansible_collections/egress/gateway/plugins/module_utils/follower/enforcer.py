# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""Makes the kernel hold what the node knows: rules and routes, one transaction of nft, connections, and the file.

Each step starts from what was in force before and changes only what differs. Where the kernel does not take it, since
somebody has changed the table, the table is loaded as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from ansible_collections.egress.gateway.plugins.module_utils.connections import to_end
from ansible_collections.egress.gateway.plugins.module_utils.contract.membership import (
    Known,
    Members,
    Selection,
    with_pods,
)
from ansible_collections.egress.gateway.plugins.module_utils.contract.membership_ruleset import script
from ansible_collections.egress.gateway.plugins.module_utils.contract.plan import FAMILIES, NodePlan
from ansible_collections.egress.gateway.plugins.module_utils.contract.reading import DamagedPlan
from ansible_collections.egress.gateway.plugins.module_utils.follower import steering
from ansible_collections.egress.gateway.plugins.module_utils.follower.pulse import Pulse
from ansible_collections.egress.gateway.plugins.module_utils.follower.standing import Standing, signature
from ansible_collections.egress.gateway.plugins.module_utils.follower.steering import Steering, put_right
from ansible_collections.egress.gateway.plugins.module_utils.in_force import InForce
from ansible_collections.egress.gateway.plugins.module_utils.kernel.command import CommandFailed, NodeError, run
from ansible_collections.egress.gateway.plugins.module_utils.kernel.conntrack import connections, end, end_all_from
from ansible_collections.egress.gateway.plugins.module_utils.kernel.reading import Kernel
from ansible_collections.egress.gateway.plugins.module_utils.known import known_text, read_known
from ansible_collections.egress.gateway.plugins.module_utils.node import Paths
from ansible_collections.egress.gateway.plugins.module_utils.resources.files import write
from ansible_collections.egress.gateway.plugins.module_utils.resources.followed import MODE, texts_of
from ansible_collections.egress.gateway.plugins.module_utils.undo import lock

LOCK_SECONDS = 1.0
"""For which somebody else's run is waited for before the follower looks after everything else again."""

Ask = Callable[[Members, "frozenset[str]"], Known]
"""What the node knows, by these policies and with the answers of those that were used."""


class Enforcer:
    """``known`` is in force."""

    def __init__(self, paths: Paths, pulse: Pulse) -> None:
        self._paths = paths
        self._pulse = pulse
        self.known = read_known(paths)
        self.standing = Standing(paths)
        self._remember_bundle()
        self._whole = paths.follow_changing.exists()
        """An earlier run was ended between the kernel and the file."""

    def close(self) -> None:
        self.standing.close()

    @property
    def outdated(self) -> bool:
        """Whether somebody has changed the bundle since."""
        return self._whole or signature(self._paths) != self.standing.signature

    def enforce(self, ask: Ask, in_force: Callable[[], None]) -> bool:
        """Whether anything changed. Calls ``in_force`` when the kernel has it, which is before the file has it.

        Raises NodeError, lock.Busy among them, and NotFollowed.
        """
        with lock.held(self._paths, LOCK_SECONDS):
            if signature(self._paths) != self.standing.signature:
                self._reload()
            try:
                asked = ask(self.standing.members, self.known.kept)
                if asked == self.known and not self._whole:
                    in_force()
                    return False
                wanted, plan = self._kept(asked)
                self._paths.follow_changing.touch(0o600)
                self._pulse.change()
                self._change(wanted, plan)
            except DamagedPlan as error:
                raise NodeError(str(error)) from error
            in_force()
            self._write(wanted, plan)
            self._paths.follow_changing.unlink()
            return True

    def _write(self, known: Known, plan: NodePlan) -> None:
        supplement = script(self.standing.plan, plan, self._lines)
        texts = texts_of(self._paths, self.standing.codes, known_text(known), InForce(plan, supplement))
        for path, text in texts.items():
            write(path, text, MODE)

    def _reload(self) -> None:
        """Whoever changed the bundle has brought the kernel there, with the pods that the file has."""
        old, self.standing = self.standing, Standing(self._paths)
        old.close()
        self.known = read_known(self._paths)
        self._remember_bundle()

    def _remember_bundle(self) -> None:
        """What is read of it once, and what follows from it."""
        self._selection = Selection()
        self._chains: dict[str, Sequence[str]] = {}
        self._names: set[str] = set()
        """Of policies that are there."""
        self.plan = self._effective(self.known)
        self._steering = Steering.of(self.plan)

    def _lines(self, chain: str) -> Sequence[str]:
        found = self._chains.get(chain)
        if found is None:
            found = self._chains[chain] = self.standing.members.lines(chain)
        return found

    def _is_there(self, policy: str) -> bool:
        if policy not in self._names and self.standing.members.named(policy) is not None:
            self._names.add(policy)
        return policy in self._names

    def _effective(self, known: Known) -> NodePlan:
        return with_pods(self.standing.plan, self.standing.members, known, self._selection)

    def _kept(self, known: Known) -> tuple[Known, NodePlan]:
        """With the answers of all policies that its pods use, or have used while the policy is there; and its plan."""
        kept = frozenset(filter(self._is_there, known.kept))
        plan = self._effective(replace(known, kept=kept))
        own = {policy.name for policy in self.standing.plan.worker.policies}
        # What a pod uses has its answer there anyhow, so that the plan is the same with these names.
        return replace(known, kept=kept | ({policy.name for policy in plan.worker.policies} - own)), plan

    def _change(self, known: Known, after: NodePlan) -> None:
        before = self.plan
        wanted = Steering.of(after)
        if not steering.run(wanted.new_lines(self._steering)):
            put_right(after)
        self._load(before, after)
        steering.run(self._steering.gone_lines(wanted))
        self._end_connections(known, after)
        self.known, self.plan, self._steering, self._whole = known, after, wanted, False
        self._selection.forget_others(known.pods)

    def _load(self, before: NodePlan, after: NodePlan) -> None:
        lines = self._lines
        if not self._whole:
            commands = script(before, after, lines)
            if not commands:
                return
            try:
                run(["nft", "-f", "-"], commands)
                return
            except CommandFailed:
                self._whole = True
        self._pulse.busy()
        run(["nft", "-f", "-"], self.standing.ruleset() + script(self.standing.plan, after, lines))

    def _end_connections(self, known: Known, after: NodePlan) -> None:
        """Of addresses that went or have another pod now, all; and where policies cut them, those that leave otherwise.

        Who has no conntrack keeps them, as apply says.
        """
        for address in _left(self.known, known):
            self._pulse.busy()
            end_all_from(address)
        if (after.cut or self.plan.cut) and _moved(self.plan, after):
            self._pulse.busy()
            before, after = self.standing.with_inside(self.plan), self.standing.with_inside(after)
            for connection, _why in list(to_end(before, after, connections(), False, Kernel().addresses())):
                end(connection)


def _left(before: Known, after: Known) -> Iterator[str]:
    there = _owners(after)
    return (address for address, uid in _owners(before).items() if there.get(address) != uid)


def _owners(known: Known) -> Mapping[str, str]:
    return {address: pod.uid for pod in known.pods for address in pod.addresses}


def _moved(before: NodePlan, after: NodePlan) -> bool:
    """Whether a source has other policies than it had."""
    for family in FAMILIES:
        chains = {source.source: source.chain for source in before.worker.pods.of(family)}
        if any(chains.get(source.source) != source.chain for source in after.worker.pods.of(family)):
            return True
    return False
