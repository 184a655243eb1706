# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""What is followed: a kind of object, and the metadata that all kinds have."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

Key = tuple[str, str]
"""Namespace, empty for what has none, and name."""

_LABEL = r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"
_NAMESPACE = re.compile(_LABEL)
_NAME = re.compile(r"(?=.{1,253}\Z)%s(?:\.%s)*" % ((r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?",) * 2))
_UID = re.compile(r"[-0-9A-Za-z]{1,64}")
_VERSION = re.compile(r"[!-~]{1,64}")

T = TypeVar("T")


class BadObject(Exception):
    """An object that no API server should give; ``key`` where it can be told whose it would be."""

    def __init__(self, message: str, key: Key | None = None) -> None:
        super().__init__(message)
        self.key = key


class Meta(NamedTuple):
    namespace: str
    name: str
    uid: str
    version: str
    labels: Mapping[str, str]
    deleting: bool

    @property
    def key(self) -> Key:
        return (self.namespace, self.name)


@dataclass(frozen=True)
class Resource(Generic[T]):
    """What to ask for, and how to keep the few fields that matter."""

    kind: str
    path: str
    namespaced: bool
    field_selector: str
    page: int
    """Items that are asked for at once."""
    decode: Callable[[Mapping[str, Any], Meta], T]
    """Raises BadObject."""


def metadata(raw: Any, resource: Resource[T]) -> Meta:
    """Raises BadObject."""
    data = mapping(raw, "metadata")
    name, namespace = data.get("name"), ""
    if not isinstance(name, str) or not (_NAME if resource.namespaced else _NAMESPACE).fullmatch(name):
        raise BadObject("metadata.name")
    if resource.namespaced:
        namespace = data.get("namespace") or "default"
        if not isinstance(namespace, str) or not _NAMESPACE.fullmatch(namespace):
            raise BadObject("metadata.namespace")
    key = (sys.intern(namespace), name)
    uid, version, labels = data.get("uid"), data.get("resourceVersion"), data.get("labels")
    if not isinstance(uid, str) or not _UID.fullmatch(uid):
        raise BadObject("metadata.uid", key)
    if not isinstance(version, str) or not _VERSION.fullmatch(version):
        raise BadObject("metadata.resourceVersion", key)
    labels = {} if labels is None else labels
    if not isinstance(labels, dict) or not all(isinstance(value, str) for value in labels.values()):
        raise BadObject("metadata.labels", key)
    # Pods of one workload have the same texts.
    shared = {sys.intern(label): sys.intern(value) for label, value in labels.items()}
    return Meta(*key, uid, version, shared, bool(data.get("deletionTimestamp")))


def mapping(raw: Any, key: str) -> Mapping[str, Any]:
    """The mapping at ``key``, empty where there is none. Raises BadObject."""
    if not isinstance(raw, dict):
        raise BadObject("the object")
    value = raw.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BadObject(key)
    return value
