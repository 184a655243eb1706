# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""Whether a node that follows its pods really does: the follower is well, and knows what the API says."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from ansible_collections.egress.gateway.plugins.module_utils.bundle import NodeBundle
from ansible_collections.egress.gateway.plugins.module_utils.contract.membership import Known
from ansible_collections.egress.gateway.plugins.module_utils.follow.errors import FollowError
from ansible_collections.egress.gateway.plugins.module_utils.follower.asking import ask
from ansible_collections.egress.gateway.plugins.module_utils.node import Paths
from ansible_collections.egress.gateway.plugins.module_utils.resources.key import Key
from ansible_collections.egress.gateway.plugins.module_utils.resources.resource import Change

_DEAF = 15.0
"""Seconds without a heartbeat, which comes every other second."""
_BEHIND = 2.0
"""Seconds that a follower may be behind the API, many times what it takes."""
_API = "the cluster's API"


@dataclass(frozen=True)
class Followed:
    """What differs as changes from what is known to what should be, and what an operator should hear."""

    differences: tuple[Change, ...] = ()
    warnings: tuple[str, ...] = ()


def followed(
    paths: Paths,
    read: Callable[[], NodeBundle],
    asked: Callable[[Paths, NodeBundle], Known] = ask,
    sleep: Callable[[float], None] = time.sleep,
    wall: Callable[[], float] = time.time,
) -> Followed:
    """Of the node's bundle, as ``read`` gives it each time anew."""
    bundle = read()
    if bundle.static.follow is None:
        return Followed()
    differences = [*_unwell(paths, wall())]
    warnings = [*_behind(paths)]
    try:
        if list(_apart(asked(paths, bundle), bundle.known)):
            sleep(_BEHIND)
            bundle = read()
            differences += _apart(asked(paths, bundle), bundle.known)
    except FollowError as error:
        warnings.append("%s cannot be asked which pods the node has: %s" % (_API, error))
    return Followed(tuple(differences), tuple(warnings))


def _status(paths: Paths) -> Mapping[str, object]:
    """What the follower says of itself; nothing where it says nothing."""
    try:
        found = json.loads(paths.follow_status.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _unwell(paths: Paths, now: float) -> Iterator[Change]:
    heartbeat = _status(paths).get("heartbeat")
    if not isinstance(heartbeat, (int, float)):
        yield Change(Key.of("follower"), "create", None, "running", _API)
    elif now - heartbeat > _DEAF:
        yield Change(Key.of("follower"), "modify", "silent for %d s" % (now - heartbeat), "running", _API)


def _behind(paths: Paths) -> Iterator[str]:
    status = _status(paths)
    if status.get("synced") is False:
        since = status.get("since")
        when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(since)) if isinstance(since, (int, float)) else "?"
        yield "the follower does not hear from %s since %s: %s" % (_API, when, status.get("reason"))


def _apart(wanted: Known, found: Known) -> Iterator[Change]:
    ours, theirs = _addresses(found), _addresses(wanted)
    for address in sorted({*ours, *theirs}):
        have, want = ours.get(address), theirs.get(address)
        if have != want:
            action = "create" if have is None else "remove" if want is None else "modify"
            yield Change(Key.of("pod address", address), action, have, want, _API)


def _addresses(known: Known) -> Mapping[str, str]:
    return {address: pod.owner for pod in known.pods for address in pod.addresses}
