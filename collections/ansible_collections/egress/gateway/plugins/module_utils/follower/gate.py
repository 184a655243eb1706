# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""What the gate at pod start asks for: answers as soon as it is in force, or when its time is over.

One line of JSON is a request, one is the reply; the plugin, gate/plugin.py, is the other end.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.egress.gateway.plugins.module_utils.contract.membership import Known
from ansible_collections.egress.gateway.plugins.module_utils.contract.plan import Follow, Gate
from ansible_collections.egress.gateway.plugins.module_utils.follow.pods import address_of
from ansible_collections.egress.gateway.plugins.module_utils.follower.claims import Container
from ansible_collections.egress.gateway.plugins.module_utils.follower.facts import Facts
from ansible_collections.egress.gateway.plugins.module_utils.kernel.log import WARNING, log

Reply = Mapping[str, Any]
Answer = Callable[[Reply], None]

_OK: Reply = {"ok": True}
_NO_GATE = Gate(10, "fail", ("kube-system",))
"""For a plugin that is still there when the settings have none."""
_LATE = 2.0
"""Seconds; nobody waits that much longer than a plugin's own time."""


class BadRequest(Exception):
    """What was asked is none of the protocol."""


@dataclass
class _Waiting:
    """``revision`` is that of the facts with which the request is done; an ADD wants its pod known besides."""

    answer: Answer
    revision: int
    until: float
    container: str = ""
    blocks: bool = False


class GateKeeper:
    """Takes requests, and answers what is done after ``settle``. ``changed`` is called where facts have changed."""

    def __init__(
        self,
        facts: Facts,
        spool: Path,
        changed: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._facts = facts
        self._spool = spool
        self._changed = changed
        self._clock = clock
        self._wall = wall
        self._waiting: list[_Waiting] = []
        self.revision = 0
        """Counts what was asked for; ``settle`` is told how far that is in force."""
        self.problem = ""
        """Why nothing new comes into force; empty while it does."""
        self.settings = _NO_GATE
        self._known: frozenset[str] = frozenset()
        """Addresses whose pods are known, in force."""

    def ask(self, line: bytes, answer: Answer) -> None:
        """Answers at once or later, once. Raises BadRequest."""
        try:
            request = json.loads(line)
            handle = _HANDLERS[request["do"]]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise BadRequest("no request: %s" % type(error).__name__) from error
        handle(self, request, answer)

    def take_spool(self) -> None:
        """What plugins left while nobody answered, in the order of its time, with which each file's name begins."""
        for path in sorted(self._spool.glob("[0-9]*.json")):
            try:
                request = json.loads(path.read_text(encoding="utf-8"))
                at = int(path.name.partition("-")[0]) / 1e9
                if request["do"] == "add" and request.get("blocked"):
                    self._facts.claims.add(_container(request), _of(request, blocked=True), self._facts.owners(at))
                elif request["do"] == "delete":
                    self._delete(request, at)
            except (OSError, ValueError, KeyError, TypeError, BadRequest):
                log(WARNING, "follower: %s is no request, and is ignored" % path)
            with contextlib.suppress(OSError):
                path.unlink()
        self._touch()

    # ------------------------------------------------------------------------------------------------------ requests

    def _add(self, request: Mapping[str, Any], answer: Answer) -> None:
        container, new = _container(request), _of(request)
        self._facts.claims.add(container, new, self._facts.owners(self._wall()))
        waits = new.namespace not in self.settings.exempt
        self._wait(answer, float(self.settings.timeout_s), container if waits else "")

    def _remove(self, request: Mapping[str, Any], answer: Answer) -> None:
        self._delete(request, self._wall())
        self._wait(answer, float(self.settings.timeout_s) + _LATE)

    def _delete(self, request: Mapping[str, Any], at: float) -> None:
        container, addresses = request.get("container", ""), _addresses(request)
        if not isinstance(container, str):
            raise BadRequest("container")
        self._facts.claims.delete(container, addresses, self._facts.owners(at))

    def _collect(self, request: Mapping[str, Any], answer: Answer) -> None:
        valid = request.get("containers")
        if not isinstance(valid, list) or not all(isinstance(one, str) for one in valid):
            raise BadRequest("containers")
        self._facts.claims.keep(valid)
        self._wait(answer, float(self.settings.timeout_s) + _LATE)

    def _check(self, request: Mapping[str, Any], answer: Answer) -> None:
        unknown = [address for address in _addresses(request) if address not in self._known]
        reason = self.problem or ("no pod is known with %s" % ", ".join(unknown) if unknown else "")
        answer({"ok": False, "reason": reason} if reason else _OK)

    def _status(self, request: Mapping[str, Any], answer: Answer) -> None:
        answer({"ok": False, "reason": self.problem} if self.problem else _OK)

    def _take_spool(self, request: Mapping[str, Any], answer: Answer) -> None:
        self.take_spool()
        self._wait(answer, float(self.settings.timeout_s) + _LATE)

    # ------------------------------------------------------------------------------------------------------- waiting

    def _wait(self, answer: Answer, seconds: float, container: str = "") -> None:
        self._touch()
        self._waiting.append(_Waiting(answer, self.revision, self._clock() + seconds, container))

    def _touch(self) -> None:
        self.revision += 1
        self._changed()

    def settle(self, revision: int, known: Known, follow: Follow) -> None:
        """That much is in force now, with these pods: answers whoever has waited for it."""
        self._known = frozenset(address for pod in known.pods for address in pod.addresses)
        self.settings = follow.gate or _NO_GATE
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            unknown = not self._known.issuperset(self._addresses_of(one))
            if one.revision > revision or (unknown and not one.blocks):
                self._waiting.append(one)
            else:
                one.answer({**_OK, "blocked": True} if unknown else _OK)

    def _addresses_of(self, one: _Waiting) -> tuple[str, ...]:
        container = self._facts.claims.containers.get(one.container)
        return container.addresses if container is not None else ()

    def expire(self) -> float | None:
        """Sees to those whose time is over. Seconds until the next one's is."""
        now = self._clock()
        over = [one for one in self._waiting if one.until <= now]
        self._waiting = [one for one in self._waiting if one.until > now]
        for one in over:
            if one.container and not one.blocks and self.settings.on_timeout == "block":
                self._block(one)
            else:
                self._give_up(one)
        return min((one.until - now for one in self._waiting), default=None)

    def _block(self, one: _Waiting) -> None:
        if one.container in self._facts.claims.containers:
            self._facts.claims.block(one.container, True)
        self._touch()
        self._waiting.append(_Waiting(one.answer, self.revision, self._clock() + _LATE, one.container, blocks=True))

    def _give_up(self, one: _Waiting) -> None:
        reason = self.problem or "the API has not told of the pod within %d s" % self.settings.timeout_s
        if one.container in self._facts.claims.containers:
            self._facts.claims.delete(one.container, (), {})
            self._touch()
        one.answer({"ok": False, "reason": reason})


_HANDLERS: Mapping[str, Callable[[GateKeeper, Mapping[str, Any], Answer], None]] = {
    "add": GateKeeper._add,
    "delete": GateKeeper._remove,
    "check": GateKeeper._check,
    "status": GateKeeper._status,
    "gc": GateKeeper._collect,
    "spool": GateKeeper._take_spool,
}


def _container(request: Mapping[str, Any]) -> str:
    found = request.get("container")
    if not isinstance(found, str) or not found:
        raise BadRequest("container")
    return found


def _of(request: Mapping[str, Any], blocked: bool = False) -> Container:
    namespace, name, uid = (request.get(key, "") for key in ("namespace", "name", "uid"))
    if not (isinstance(namespace, str) and isinstance(name, str) and isinstance(uid, str)):
        raise BadRequest("namespace, name or uid")
    return Container(namespace, name, uid, _addresses(request), blocked)


def _addresses(request: Mapping[str, Any]) -> tuple[str, ...]:
    """In the spelling of the kernel, each once."""
    found = request.get("addresses", [])
    if not isinstance(found, list):
        raise BadRequest("addresses")
    texts = [address_of(text) if isinstance(text, str) else None for text in found]
    if None in texts:
        raise BadRequest("addresses")
    return tuple(dict.fromkeys(text for text in texts if text))
