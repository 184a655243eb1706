# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""Whether a node that follows its pods does so: by what its follower says of itself, and by asking the API once.

The kernel is compared with what the follower holds elsewhere, as on every node.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ansible_collections.egress.gateway.plugins.module_utils.bundle import NodeBundle
from ansible_collections.egress.gateway.plugins.module_utils.contract.membership import BLOCKED, UNGOVERNED, Known
from ansible_collections.egress.gateway.plugins.module_utils.contract.plan import FAMILIES, Follow, NodePlan
from ansible_collections.egress.gateway.plugins.module_utils.contract.reading import DamagedPlan
from ansible_collections.egress.gateway.plugins.module_utils.follow.api import Api
from ansible_collections.egress.gateway.plugins.module_utils.follow.credentials import Credentials
from ansible_collections.egress.gateway.plugins.module_utils.follow.errors import FollowError
from ansible_collections.egress.gateway.plugins.module_utils.follow.pods import NAMESPACES, pods_of
from ansible_collections.egress.gateway.plugins.module_utils.follow.reflector import Reflector
from ansible_collections.egress.gateway.plugins.module_utils.follower.claims import Claims
from ansible_collections.egress.gateway.plugins.module_utils.follower.facts import Facts
from ansible_collections.egress.gateway.plugins.module_utils.follower.kubelet import kubeconfig_of
from ansible_collections.egress.gateway.plugins.module_utils.follower.status import Status
from ansible_collections.egress.gateway.plugins.module_utils.kernel.command import NodeError
from ansible_collections.egress.gateway.plugins.module_utils.node import Paths

SILENT_SECONDS = 60.0
"""After which a follower that says nothing does not run; the agent ends it sooner."""
ASK_SECONDS = 15.0
"""For both lists together."""
_PATIENCE = 5.0
"""Seconds for a follower that has just been started, or for what the API has just told."""
_PAUSE = 0.25
_NOTHING = "no policy"

Drift = dict[str, Any]


@dataclass
class Following:
    """``drift`` in the words of verify; ``status`` what the follower says, None where it says nothing."""

    status: Mapping[str, Any] | None = None
    drift: list[Drift] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def following(
    paths: Paths,
    read: Callable[[], NodeBundle | None],
    patience: float = _PATIENCE,
    ask_seconds: float = ASK_SECONDS,
) -> Following:
    """``read`` is what the node holds at that moment; nothing is said of one that does not follow its pods."""
    found = Following()
    held = read()
    if held is None or held.static.follow is None:
        return found
    status = _settled_status(paths, patience)
    found.status = asdict(status) if status is not None else None
    if status is None:
        found.drift.append(_drift("follower", "running", None))
    elif not status.synced:
        since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(status.since))
        found.warnings.append("what is in force may not be what the API says, since %s: %s" % (since, status.reason))
    try:
        found.drift += _settled_pods(paths, read, patience, ask_seconds)
    except FollowError as error:
        found.warnings.append("the pods in force could not be compared with the API: %s" % error)
    return found


def read_status(paths: Paths) -> Status | None:
    """None where no follower runs."""
    try:
        status = Status(**json.loads(paths.follow_status.read_text(encoding="utf-8")))
        return status if time.time() - status.heartbeat < SILENT_SECONDS else None
    except (OSError, ValueError, TypeError):
        return None


def _settled_status(paths: Paths, patience: float) -> Status | None:
    end = time.monotonic() + patience
    while True:
        status = read_status(paths)
        if (status is not None and status.synced) or time.monotonic() >= end:
            return status
        time.sleep(_PAUSE)


def _settled_pods(
    paths: Paths, read: Callable[[], NodeBundle | None], patience: float, ask_seconds: float
) -> Sequence[Drift]:
    """Without what the follower is about to hear. A bundle that is gone meanwhile lacks nothing."""
    end = time.monotonic() + patience
    while True:
        held = read()
        if held is None or held.static.follow is None:
            return []
        found = list(differences(held.plan, held.with_known(known_to_api(paths, held, ask_seconds)).plan))
        if not found or time.monotonic() >= end:
            return found
        time.sleep(_PAUSE)


def known_to_api(paths: Paths, bundle: NodeBundle, seconds: float) -> Known:
    """What the follower would hold if it had nothing but what the API says, and the gate. Raises FollowError."""
    follow = bundle.static.follow or Follow()
    facts = Facts(Known(), Claims.read(paths.gate))
    credentials = Credentials(kubeconfig_of(follow))
    with _limited(Api(credentials), seconds) as api:
        Reflector(api, NAMESPACES, facts.namespaces_changed).list_once()
        Reflector(api, pods_of(bundle.static.node), lambda changes: facts.pods_changed(changes, 0.0)).list_once()
    try:
        return facts.known(bundle.members(), bundle.known.kept)
    except DamagedPlan as error:
        raise NodeError(str(error)) from error


def differences(held: NodePlan, wanted: NodePlan) -> Iterator[Drift]:
    """By address: pods that are not in force, are without being there, or meet other policies than they should."""
    before, after = _met(held), _met(wanted)
    for address in sorted(before.keys() | after.keys()):
        one, other = before.get(address), after.get(address)
        if one != other:
            owner = (other or one or ("", ""))[0]
            expected, actual = (_text(met, owner) for met in (other, one))
            yield _drift("pod %s %s" % (owner, address), expected, actual)


def _met(plan: NodePlan) -> dict[str, tuple[str, str]]:
    """By address its pod, and the policies that it meets."""
    origins = {policy.name: policy.origin for policy in plan.worker.policies}
    origins.update({order.name: ", ".join(origins[n] for n in order.policies) for order in plan.worker.orders})
    origins.update({UNGOVERNED: _NOTHING, BLOCKED: "blocked"})
    pods = (pod for family in FAMILIES for pod in plan.worker.pods.of(family))
    return {pod.source: (pod.owner, origins[pod.chain]) for pod in pods}


def _text(met: tuple[str, str] | None, owner: str) -> str | None:
    if met is None:
        return None
    return met[1] if met[0] == owner else "%s, of %s" % (met[1], met[0])


def _drift(what: str, expected: str | None, actual: str | None) -> Drift:
    return {"object": what, "expected": expected, "actual": actual, "origin": "membership: followed"}


@contextlib.contextmanager
def _limited(api: Api, seconds: float) -> Iterator[Api]:
    timer = threading.Timer(seconds, api.interrupt)
    timer.daemon = True
    timer.start()
    try:
        yield api
    finally:
        timer.cancel()
