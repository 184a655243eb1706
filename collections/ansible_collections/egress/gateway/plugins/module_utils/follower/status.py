# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""How it stands with following, for verify and info in a file, and for people in the system log."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ansible_collections.egress.gateway.plugins.module_utils.follow.reflector import State
from ansible_collections.egress.gateway.plugins.module_utils.kernel.log import INFO, WARNING, log


@dataclass(frozen=True)
class Status:
    """Times are seconds since 1970."""

    synced: bool
    """Whether what is in force is what the API says."""
    since: float
    """When not synced: the last moment at which it surely was so."""
    reason: str
    """Why it is not."""
    pods: int
    governed: int
    changed: float
    """The last change of what is in force; 0 where there was none since the follower's start."""
    heartbeat: float


class Teller:
    """Writes the file whenever something differs, and each time that ``beat`` is called."""

    def __init__(
        self,
        path: Path,
        wall: Callable[[], float] = time.time,
        tell: Callable[[int, str], None] = log,
    ) -> None:
        self._path = path
        self._wall = wall
        self._tell = tell
        self._states: dict[str, State] = {}
        self._problem = ""
        self._told: tuple[bool, str] | None = None
        self._status = Status(False, wall(), _NOT_YET.reason, 0, 0, 0.0, wall())

    @property
    def synced(self) -> bool:
        return len(self._states) == len(_KINDS) and all(state.synced for state in self._states.values())

    @property
    def reason(self) -> str:
        """Why what is in force may not be what the API says; empty when it is."""
        if self._problem:
            return self._problem
        behind = [self._states.get(kind, _NOT_YET) for kind in _KINDS]
        return next((state.reason or _NOT_YET.reason for state in behind if not state.synced), "")

    def state(self, kind: str, state: State) -> None:
        self._states[kind] = state
        self._update()

    def problem(self, text: str) -> None:
        """Why the kernel does not get what is known; empty when it does."""
        if text != self._problem:
            self._problem = text
            self._update()

    def in_force(self, pods: int, governed: int, changed: bool) -> None:
        old = self._status
        now = self._wall() if changed else old.changed
        if (pods, governed, now) != (old.pods, old.governed, old.changed):
            self._set(pods=pods, governed=governed, changed=now)

    def beat(self) -> None:
        self._set(heartbeat=self._wall())

    def _update(self) -> None:
        reason = self.reason
        synced = not reason
        times = [state.since for state in self._states.values() if state.synced == synced] or [self._wall()]
        self._set(synced=synced, since=max(times) if synced else min(times), reason=reason)
        if (synced, reason) != self._told and reason != _NOT_YET.reason:
            self._told = (synced, reason)
            if synced:
                self._tell(INFO, "follower: pods and namespaces are followed")
            else:
                self._tell(WARNING, "follower: %s; what is known stays in force" % reason)

    def _set(self, **values: Any) -> None:
        fields: Mapping[str, Any] = {**asdict(self._status), "heartbeat": self._wall(), **values}
        self._status = Status(**fields)
        unfinished = self._path.with_name(".%s.new" % self._path.name)
        try:
            unfinished.write_text(json.dumps(asdict(self._status)) + "\n", encoding="utf-8")
            unfinished.replace(self._path)
        except OSError:  # whoever reads it sees that its heart does not beat
            return


_KINDS = ("namespaces", "pods")
_NOT_YET = State(False, 0.0, "not listed yet")
