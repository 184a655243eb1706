# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""Follows one kind of object: a list, then a watch from its version, and a list again where the watch cannot go on.

A list is compared with what is known, so that what was missed comes as changes, deletions included. Without an API
what is known stays. A server with an older history is noticed by its lower versions, unless they have caught up with
ours before we ask again: etcd is to be restored with --bump-revision --mark-compacted.

Source: k8s.io/client-go, tools/cache/reflector.go, and the API concepts of the documentation.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from ansible_collections.egress.gateway.plugins.module_utils.follow.errors import (
    AheadOfServer,
    ApiError,
    FollowError,
    Gone,
    Malformed,
    Refused,
    Silent,
    Unreachable,
    WentBack,
)
from ansible_collections.egress.gateway.plugins.module_utils.follow.objects import (
    BadObject,
    Key,
    Meta,
    Resource,
    mapping,
    metadata,
)

_NOW = ""
"""The version of a list that is as new as can be: the server asks its storage."""
_ANY = "0"
"""The version of a list that the server has at hand."""
_TOMBSTONES = 1024


class Followed(Protocol):
    """What a resource's ``decode`` gives."""

    @property
    def key(self) -> Key: ...

    @property
    def uid(self) -> str: ...


F = TypeVar("F", bound=Followed)


Stream = Generator["Mapping[str, Any] | None", None, None]
"""None when the server agrees, then its events."""


class Source(Protocol):
    """The part of Api that a reflector needs."""

    def page(self, path: str, query: Mapping[str, str], item: Callable[[Any], None]) -> Mapping[str, Any]: ...

    def watch(self, path: str, query: Mapping[str, str], patience: float) -> Stream: ...

    def interrupt(self) -> None: ...


@dataclass(frozen=True)
class Change(Generic[F]):
    """``old`` is None for what is new, ``new`` for what is gone. One name may pass to another object: see ``uid``."""

    old: F | None
    new: F | None


class State(NamedTuple):
    synced: bool
    since: float
    """Seconds since 1970. When not synced, the last moment at which what is known was sure to be true."""
    reason: str
    """Why it is not synced."""


@dataclass(frozen=True)
class Timing:
    """In seconds."""

    patience: float = 150.0
    """Without an event or bookmark; servers send one a minute."""
    watch: int = 300
    """After which the server ends a watch, at the least; twice that at the most."""
    settled: float = 5.0
    """A watch that lasts as long counts as success."""
    first_pause: float = 0.25
    longest_pause: float = 15.0


@dataclass
class Counters:
    lists: int = 0
    watches: int = 0
    events: int = 0
    """Bookmarks too."""
    stale: int = 0
    """Events that told what was known already, or older things."""
    bad: int = 0
    """Objects that could not be read; what was known of them stays."""


class _Held(NamedTuple):
    object: Any
    version: str


class Reflector(Generic[F]):
    """``emit`` and ``tell`` are called by the thread that is in ``run``; what they raise ends it.

    ``emit`` gets the changes that belong together, deletions first, for addresses pass from pod to pod. ``tell`` gets
    a state when it differs from the one before in more than its time. ``known`` is what an earlier run left.
    """

    def __init__(
        self,
        api: Source,
        resource: Resource[F],
        emit: Callable[[Sequence[Change[F]]], None],
        tell: Callable[[State], None] = lambda state: None,
        known: Iterable[F] = (),
        timing: Timing = Timing(),
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        sleep: Callable[[float], object] | None = None,
        dice: Callable[[], float] = random.random,
    ) -> None:
        self.counters = Counters()
        self.state = State(False, wall(), "not listed yet")
        self._api = api
        self._resource = resource
        self._emit = emit
        self._tell = tell
        self._timing = timing
        self._clock = clock
        self._wall = wall
        self._dice = dice
        self._stopping = threading.Event()
        self._sleep = sleep or self._stopping.wait
        self._held: dict[Key, _Held] = {one.key: _Held(one, "") for one in known}
        self._deleted: OrderedDict[str, str] = OrderedDict()
        """uid to version, so that a late event does not bring back what is gone."""
        self._position: str | None = None
        """Where the next watch begins; None: a list is due."""
        self._list_from = _ANY
        self._disorder = False
        """An event came after a later one, so there may be more before the position."""
        self._failures = 0
        self._heard = self.state.since

    def objects(self) -> Iterator[F]:
        """All that is known."""
        return (held.object for held in self._held.values())

    def get(self, key: Key) -> F | None:
        held = self._held.get(key)
        return held.object if held is not None else None

    def stop(self) -> None:
        """``run`` returns soon. May be called by any thread."""
        self._stopping.set()
        self._api.interrupt()

    def run(self) -> None:
        """Until ``stop``."""
        while not self._stopping.is_set():
            try:
                self.once()
            except FollowError as error:
                if not self._stopping.is_set():
                    self._failed(error)

    def once(self) -> None:
        """A list where one is due, and a watch to its end. Raises FollowError."""
        if self._position is None:
            self.list_once()
        self._watch()

    # -------------------------------------------------------------------------------------------------------- failures

    def _failed(self, error: FollowError) -> None:
        self._failures += 1
        asked = "GET %s: " % self._resource.path if isinstance(error, ApiError) else ""
        self._say(False, self._heard, asked + str(error))
        pause = min(self._timing.longest_pause, self._timing.first_pause * 2 ** min(self._failures - 1, 20))
        pause *= 0.5 + self._dice()
        wanted = error.retry_after if isinstance(error, Refused) else None
        if wanted is not None:
            pause = max(pause, wanted + self._timing.first_pause * self._dice())
        self._sleep(pause)

    def _succeeded(self) -> None:
        self._failures = 0

    def _say(self, synced: bool, since: float, reason: str) -> None:
        if (synced, reason) != (self.state.synced, self.state.reason):
            self.state = State(synced, since if self.state.synced or synced else self.state.since, reason)
            self._tell(self.state)

    # ----------------------------------------------------------------------------------------------------------- lists

    def list_once(self) -> None:
        """The list alone, for who does not ``run``. Raises FollowError."""
        self.counters.lists += 1
        fresh: dict[Key, _Held] = {}
        kept: set[Key] = set()
        try:
            version = self._pages(lambda raw: self._listed(raw, fresh, kept))
        except (Gone, AheadOfServer):
            self._list_from = _NOW
            raise
        self._heard = self._wall()
        gone = [
            Change[F](held.object, None) for key, held in self._held.items() if key not in fresh and key not in kept
        ]
        set_ = []
        for key, new in fresh.items():
            old = self.get(key)
            if old != new.object:
                set_.append(Change[F](old, new.object))
            else:
                # Not a second copy of the same.
                fresh[key] = _Held(old, new.version)
        fresh.update({key: _Held(self._held[key].object, "") for key in kept if key in self._held and key not in fresh})
        self._held = fresh
        self._deleted.clear()
        self._disorder = False
        self._position = self._list_from = version
        if gone or set_:
            self._emit([*gone, *set_])

    def _pages(self, item: Callable[[Any], None]) -> str:
        """The version of the list. A token that is no longer known in the middle is Gone, as a version is."""
        query = self._query({"limit": str(self._resource.page)})
        if self._list_from == _ANY:
            query["resourceVersion"] = _ANY
        elif self._list_from != _NOW:
            # With a limit the server would ask its storage, for all nodes at once after it was away.
            query = self._query({"resourceVersion": self._list_from, "resourceVersionMatch": "NotOlderThan"})
        while True:
            rest = self._api.page(self._resource.path, query, item)
            about = rest.get("metadata")
            version = about.get("resourceVersion") if isinstance(about, dict) else None
            if rest.get("kind") != self._resource.kind + "List" or not isinstance(version, str) or not version:
                raise Malformed("this is no %sList with a version" % self._resource.kind)
            token = about.get("continue") if isinstance(about, dict) else None
            if not token:
                return version
            if token == query.get("continue"):
                raise Malformed("the list has no end")
            query = self._query({"limit": str(self._resource.page), "continue": str(token)})

    def _listed(self, raw: Any, fresh: dict[Key, _Held], kept: set[Key]) -> None:
        try:
            meta = metadata(raw, self._resource)
            fresh[meta.key] = _Held(self._resource.decode(raw, meta), meta.version)
        except BadObject as error:
            self.counters.bad += 1
            if error.key is not None:
                kept.add(error.key)

    def _query(self, more: Mapping[str, str]) -> dict[str, str]:
        selector = self._resource.field_selector
        return {**({"fieldSelector": selector} if selector else {}), **more}

    # --------------------------------------------------------------------------------------------------------- watches

    def _watch(self) -> None:
        self.counters.watches += 1
        begun, events = self._clock(), self.counters.events
        query = self._query(
            {
                "watch": "1",
                "allowWatchBookmarks": "true",
                "resourceVersion": str(self._position),
                "timeoutSeconds": str(int(self._timing.watch * (1 + self._dice()))),
            }
        )
        try:
            with contextlib.closing(self._api.watch(self._resource.path, query, self._timing.patience)) as stream:
                for event in stream:
                    self._heard = self._wall()
                    if event is None:
                        self._say(True, self._heard, "")
                    else:
                        self._event(event)
                        self._succeeded()
        except (Gone, AheadOfServer, Malformed):
            self._position = None
            raise
        except (Silent, WentBack):
            # With a history of lower versions the server would be silent until it comes to this one.
            self._position, self._list_from = None, _NOW
            raise
        if self._disorder:
            self._position = None
        if self._clock() - begun >= self._timing.settled or self.counters.events > events:
            self._succeeded()
        elif not self._stopping.is_set():
            raise Unreachable("the watch ends as soon as it begins")

    def _event(self, event: Mapping[str, Any]) -> None:
        self.counters.events += 1
        kind: Any = event.get("type")
        raw: Any = event.get("object")
        if kind == "BOOKMARK":
            self._bookmark(raw)
            return
        if kind not in ("ADDED", "MODIFIED", "DELETED"):
            raise Malformed("an event of no known type")
        try:
            meta = metadata(raw, self._resource)
            if self._is_stale(meta, kind == "DELETED"):
                self.counters.stale += 1
                return
            if kind == "DELETED":
                self._delete(meta)
            else:
                self._set(self._resource.decode(raw, meta), meta)
        except BadObject:
            self.counters.bad += 1
            return
        self._advance(meta.version)

    def _bookmark(self, raw: Any) -> None:
        try:
            version = mapping(raw, "metadata").get("resourceVersion")
        except BadObject:
            version = None
        if not isinstance(version, str) or not version:
            raise Malformed("a bookmark without a version")
        if not self._disorder and _order(version, str(self._position)) < 0:
            raise WentBack("versions went back from %s to %s" % (self._position, version))
        self._advance(version)

    def _advance(self, version: str) -> None:
        order = _order(version, str(self._position))
        if order > 0:
            self._position = self._list_from = version
        elif order < 0:
            self._disorder = True

    def _is_stale(self, meta: Meta, deleted: bool) -> bool:
        held, gone = self._held.get(meta.key), self._deleted.get(meta.uid)
        if gone is not None and _order(meta.version, gone) <= 0:
            return True
        # Some servers tell a deletion with the object's last version.
        return held is not None and _order(meta.version, held.version) < (0 if deleted else 1)

    def _delete(self, meta: Meta) -> None:
        self._bury(meta.uid, meta.version)
        old = self.get(meta.key)
        if old is not None and old.uid == meta.uid:
            del self._held[meta.key]
            self._emit([Change(old, None)])

    def _set(self, new: F, meta: Meta) -> None:
        old = self.get(meta.key)
        if old is not None and old.uid != meta.uid:
            self._bury(old.uid, meta.version)
        if old is not None and old == new:
            self._held[meta.key] = _Held(old, meta.version)
            return
        self._held[meta.key] = _Held(new, meta.version)
        self._emit([Change(old, new)])

    def _bury(self, uid: str, version: str) -> None:
        self._deleted[uid] = version
        if len(self._deleted) > _TOMBSTONES:
            self._deleted.popitem(last=False)


def _order(one: str, other: str) -> int:
    """Above 0 when ``one`` is later. Versions that are no numbers have no order: what comes is taken as later.

    Source: the API concepts, "Resource versions": they are to be compared as integers from Kubernetes 1.35 on.
    """
    if not (one.isascii() and one.isdigit() and other.isascii() and other.isdigit()):
        return 1 if one != other else 0
    one, other = one.lstrip("0"), other.lstrip("0")
    return ((len(one), one) > (len(other), other)) - ((len(one), one) < (len(other), other))
