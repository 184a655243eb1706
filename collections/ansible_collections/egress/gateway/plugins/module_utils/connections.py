# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""Open connections after a change: those of a pod whose address another one has now, and those that are to be cut.

An entry of connection tracking tells what its connection leaves with: the answer number, in the worker role, and the
address, in the gateway role.  What a new connection would leave with, the plan tells.  Only where the two differ is
there anything to end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ansible_collections.egress.gateway.plugins.module_utils.classify import Classifier, Win
from ansible_collections.egress.gateway.plugins.module_utils.contract.numbers import (
    GATEWAY_MARK_PREFIX,
    GATEWAY_PREFIX_MASK,
    GATEWAY_ZONE,
    MARK_PREFIX,
    NUMBER_MASK,
    PREFIX_MASK,
)
from ansible_collections.egress.gateway.plugins.module_utils.contract.plan import (
    FAMILIES,
    Answer,
    Family,
    NodePlan,
    Translation,
)
from ansible_collections.egress.gateway.plugins.module_utils.kernel.conntrack import (
    Connection,
    connections,
    end,
    require_conntrack,
)
from ansible_collections.egress.gateway.plugins.module_utils.kernel.reading import Kernel

_BLOCKED = "nothing"
_UNKNOWN = "what an answer that nobody knows any more gave"


@dataclass(frozen=True)
class Ended:
    """Connections of one source that end, or would in check mode, and why."""

    source: str
    connections: int
    reason: str


class _Worker:
    """The worker role's connections: their mark has the number of the answer that they began with, if they have one."""

    def __init__(self, was: Classifier, will: Classifier, before: NodePlan | None, after: NodePlan | None) -> None:
        self._was, self._will = was, will
        self._new = _answers(after)
        self._begun = {**self._new, **_answers(before)}

    def leaves_otherwise(self, connection: Connection) -> frozenset[str] | None:
        """Than it does if it began now; then the policies that have had, or now have, a say."""
        family = _family(connection)
        answer, now = None, None
        if connection.mark & PREFIX_MASK == MARK_PREFIX:
            number = connection.mark & NUMBER_MASK
            answer = self._begun.get(number)
            now = _leaves_with(answer, family) if answer is not None else _UNKNOWN
        win = self._will.win(connection.source, connection.server)
        if self._given(win, family) == now:
            return None
        before = self._was.win(connection.source, connection.server) if answer is None else None
        origins = (answer, before.policy if before else None, win.policy if win else None)
        return frozenset(one.origin for one in origins if one is not None)

    def _given(self, win: Win | None, family: Family) -> str | None:
        if win is None or win.answer.direct:
            return None
        return _BLOCKED if win.answer.number is None else _leaves_with(self._new[win.answer.number], family)


class _Gateway:
    """The gateway role's connections: which pods give a number now is not known here, only what it stands for."""

    def __init__(self, before: NodePlan | None, after: NodePlan | None) -> None:
        self._old, self._new = _translations(before), _translations(after)

    def leaves_otherwise(self, connection: Connection) -> frozenset[str] | None:
        """As nobody begins with its answer any more; then the policy that gave it."""
        number = connection.mark & NUMBER_MASK
        known = self._new.get(number)
        if known is not None and not known.gone:
            return None
        origins = (known, self._old.get(number))
        return frozenset(one.origin for one in origins if one is not None)

    def began_anew(self, connection: Connection) -> bool:
        """Whether its packets have a number now that gives another address: to its pod's node it is a new one."""
        known = self._new.get(connection.mark & NUMBER_MASK)
        return known is not None and known.addresses.of(_family(connection)) != connection.translated


def to_end(
    before: NodePlan | None,
    after: NodePlan | None,
    tracked: Iterable[Connection],
    everything: bool,
    local: Iterable[str] = (),
) -> Iterator[tuple[Connection, str]]:
    """Of ``tracked`` those that end when the plan ``before`` becomes ``after``, and why.

    With ``everything`` all that would leave otherwise if they began now; else those whose address has changed hands,
    those that began anew on their pod's node, and those of policies that ask for it.  ``local`` are the node's own
    addresses.
    """
    addresses = frozenset(local)
    was, will = Classifier(before, addresses), Classifier(after, addresses)
    worker, gateway = _Worker(was, will, before, after), _Gateway(before, after)
    cutting = frozenset(name for plan in (before, after) if plan is not None for name in plan.cut)
    for connection in tracked:
        at_gateway = _at_gateway(connection)
        if connection.zone != 0 and not at_gateway:
            continue
        owners = was.pod(connection.source), will.pod(connection.source)
        if None not in owners and owners[0] != owners[1]:
            yield connection, "%s has the address of %s now" % (owners[1], owners[0])
        elif at_gateway and gateway.began_anew(connection):
            yield connection, "begun anew with another answer"
        else:
            policies = (gateway if at_gateway else worker).leaves_otherwise(connection)
            named = sorted(cutting & policies) if policies is not None else []
            if policies is not None and (everything or named):
                yield connection, "cut, as %s" % (", ".join(named) + " says" if named else "this run says")


def may_end(before: NodePlan | None, after: NodePlan | None, everything: bool) -> bool:
    """Whether it is worth reading all connections of the node."""
    if everything:
        return True
    if after is not None and after.gateway is not None and (after.cut or any(_gone(after))):
        return True
    if before is None or before == after:
        return False
    if before.cut or (after is not None and after.cut):
        return True
    return after is not None and _changed_hands(before, after)


def end_connections(before: NodePlan | None, after: NodePlan | None, everything: bool, check_only: bool) -> list[Ended]:
    """Ends them, unless ``check_only``; what that is, by source. NodeError when conntrack is missing or fails."""
    if not may_end(before, after, everything):
        return []
    require_conntrack()
    told: dict[tuple[str, str], int] = {}
    ending = list(to_end(before, after, connections(), everything, Kernel().addresses()))
    # The worker role's first, so that the next packets of these connections come to the gateway role with new answers.
    for connection, why in sorted(ending, key=lambda one: _at_gateway(one[0])):
        told[connection.source, why] = told.get((connection.source, why), 0) + 1
        if not check_only:
            end(connection)
    return [Ended(source, count, why) for (source, why), count in sorted(told.items())]


def _at_gateway(connection: Connection) -> bool:
    return connection.zone == GATEWAY_ZONE and connection.mark & GATEWAY_PREFIX_MASK == GATEWAY_MARK_PREFIX


def _changed_hands(before: NodePlan, after: NodePlan) -> bool:
    for family in FAMILIES:
        owners = {pod.source: pod.owner for pod in before.worker.pods.of(family)}
        if any(owners.get(pod.source, pod.owner) != pod.owner for pod in after.worker.pods.of(family)):
            return True
    return False


def _gone(plan: NodePlan) -> Iterator[Translation]:
    return (translation for translation in _translations(plan).values() if translation.gone)


def _translations(plan: NodePlan | None) -> dict[int, Translation]:
    gateway = plan.gateway if plan is not None else None
    return {translation.number: translation for translation in gateway.translations} if gateway is not None else {}


def _answers(plan: NodePlan | None) -> dict[int, Answer]:
    return {answer.number: answer for answer in plan.worker.answers} if plan is not None else {}


def _leaves_with(answer: Answer, family: Family) -> str:
    """An EIP is the same in each slot; without one it is the address of the node that has the slot."""
    return answer.addresses.of(family) or "slot %d" % answer.slot


def _family(connection: Connection) -> Family:
    return 6 if ":" in connection.source else 4
