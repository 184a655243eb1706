# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""Which container has which address, as the gate at pod start tells: before the API does, and after it.

Of what the API says of a pod's addresses, those that the gate has ended are taken away, for good.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ansible_collections.egress.gateway.plugins.module_utils.resources.files import write

_VERSION = 1
_MOST = 4096
"""Pods and containers that are gone and still remembered: the runtime may tell of an end several times."""


@dataclass(frozen=True)
class Container:
    """A pod's sandbox. ``uid`` is the pod's as the runtime knows it, empty where the runtime does not say."""

    namespace: str
    name: str
    uid: str
    addresses: tuple[str, ...]
    blocked: bool = False
    """It runs although its pod is not known."""

    @property
    def pod(self) -> str:
        """Its pod's uid, or what comes nearest where the runtime does not tell it."""
        return self.uid or "%s/%s" % (self.namespace, self.name)


class _Index:
    def __init__(self, containers: Iterable[Container]) -> None:
        self.by_address: dict[str, Container] = {}
        self.by_pod: dict[str, list[Container]] = {}
        for one in containers:
            self.by_address.update(dict.fromkeys(one.addresses, one))
            self.by_pod.setdefault(one.pod, []).append(one)


class Claims:
    """Changes of it are in no file before ``write``."""

    def __init__(self) -> None:
        self.containers: dict[str, Container] = {}
        self._ended: dict[str, frozenset[str]] = {}
        """By pod."""
        self._gone: dict[str, None] = {}
        """Containers whose end was told."""
        self._index: _Index | None = None

    def add(self, container: str, new: Container, others: Mapping[str, Iterable[str]]) -> None:
        """Its addresses are nobody else's any more, ``others`` included: pods by address.

        What its pod had before, in another container, is over.
        """
        self._gone.pop(container, None)
        old = self.containers.get(container)
        if old is not None:
            new = replace(new, addresses=tuple(dict.fromkeys((*old.addresses, *new.addresses))))
        for name, other in list(self.containers.items()):
            if name != container:
                self._take(name, other.addresses if other.pod == new.pod else new.addresses)
        self._end_all(new.addresses, others)
        self._set(container, new)
        self._mark(new.pod, self._ended.get(new.pod, frozenset()).difference(new.addresses))

    def block(self, container: str, blocked: bool) -> None:
        self._set(container, replace(self.containers[container], blocked=blocked))

    def delete(self, container: str, addresses: Collection[str], others: Mapping[str, Iterable[str]]) -> None:
        """Of a container that nobody knows the addresses are taken from whoever has them.

        ``others`` are pods by address.  One whose end was told before changes nothing.
        """
        known = self.containers.get(container)
        if known is not None:
            self._take(container, known.addresses)
            if not known.uid:
                self._end_all(known.addresses, others)
        elif container not in self._gone or not container:
            for name, other in list(self.containers.items()):
                if not container:
                    self._take(name, [address for address in addresses if address in other.addresses])
            self._end_all([address for address in addresses if self.holder(address) is None], others)
        if container:
            self._remember(self._gone, container, None)

    def keep(self, containers: Collection[str]) -> None:
        """All others are gone."""
        for name in self.containers.keys() - set(containers):
            self.delete(name, (), {})
        self._gone = {name: None for name in self._gone if name in containers}

    def end(self, pod: str, addresses: Iterable[str]) -> None:
        self._mark(pod, self._ended.get(pod, frozenset()).union(addresses))

    def forget(self, names: Iterable[str]) -> None:
        """The API has no such pod any more."""
        for name in names:
            self._ended.pop(name, None)

    def holder(self, address: str) -> Container | None:
        return self._indexed().by_address.get(address)

    def of_pod(self, pod: str) -> Sequence[Container]:
        return self._indexed().by_pod.get(pod, ())

    def addresses(self, names: Sequence[str], told: Sequence[str]) -> tuple[str, ...]:
        """A pod's, by the names that its containers may call it; the API has ``told`` these."""
        ended = frozenset().union(*(self._ended.get(name, ()) for name in names))
        mine = [address for name in names for one in self.of_pod(name) for address in one.addresses]
        return tuple(dict.fromkeys([*mine, *(a for a in told if a not in ended and self.holder(a) is None)]))

    def _end_all(self, addresses: Iterable[str], others: Mapping[str, Iterable[str]]) -> None:
        for address in addresses:
            for pod in others.get(address, ()):
                self.end(pod, (address,))

    def _take(self, container: str, addresses: Collection[str]) -> None:
        """These addresses from a container; without any it is gone."""
        old = self.containers[container]
        taken = [address for address in old.addresses if address in addresses]
        if taken:
            self.end(old.pod, taken)
            self._set(container, replace(old, addresses=tuple(a for a in old.addresses if a not in taken)))

    def _set(self, container: str, new: Container) -> None:
        self._index = None
        if new.addresses:
            self.containers[container] = new
        else:
            del self.containers[container]

    def _indexed(self) -> _Index:
        if self._index is None:
            self._index = _Index(self.containers.values())
        return self._index

    def _mark(self, pod: str, addresses: frozenset[str]) -> None:
        self._ended.pop(pod, None)
        if addresses:
            self._remember(self._ended, pod, addresses)

    @staticmethod
    def _remember(where: dict[str, Any], key: str, value: Any) -> None:
        where[key] = value
        if len(where) > _MOST:
            del where[next(iter(where))]

    # ----------------------------------------------------------------------------------------------------- the file

    def as_json(self) -> str:
        containers = {
            name: [one.namespace, one.name, one.uid, list(one.addresses), one.blocked]
            for name, one in self.containers.items()
        }
        ended = {pod: sorted(addresses) for pod, addresses in self._ended.items()}
        return json.dumps({"version": _VERSION, "containers": containers, "ended": ended, "gone": list(self._gone)})

    def write(self, path: Path) -> None:
        write(path, self.as_json() + "\n", 0o600)

    @classmethod
    def read(cls, path: Path) -> Claims:
        """Nothing where there is no such file, or it is damaged."""
        found = cls()
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            if data["version"] != _VERSION:
                return cls()
            for name, (namespace, pod, uid, addresses, blocked) in data["containers"].items():
                found.containers[name] = Container(namespace, pod, uid, tuple(map(str, addresses)), bool(blocked))
            found._ended = {pod: frozenset(map(str, addresses)) for pod, addresses in data["ended"].items()}
            found._gone = dict.fromkeys(map(str, data["gone"]))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return cls()
        return found
