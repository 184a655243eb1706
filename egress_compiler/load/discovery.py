"""Which resources an API server serves.

It has to be asked: authorization comes before the look-up, so that a resource which is not served answers 403, not
404, to whoever has no rule for it (tried with kube-apiserver 1.36).
"""

from __future__ import annotations

from functools import cache

import msgspec

from egress_compiler.load.cluster_api import ApiFailure, ClusterApi


class _GroupVersion(msgspec.Struct):
    groupVersion: str


class _Group(msgspec.Struct):
    versions: list[_GroupVersion] = msgspec.field(default_factory=list)


class _Groups(msgspec.Struct):
    groups: list[_Group]


class _Resource(msgspec.Struct):
    name: str


class _Resources(msgspec.Struct):
    resources: list[_Resource] | None


class Discovery:
    """Asks each question once.  Raises ApiFailure and msgspec.DecodeError."""

    def __init__(self, api: ClusterApi) -> None:
        self._api = api
        self._versions: frozenset[str] | None = None
        self._resources = cache(self._read_resources)

    def serves(self, version: str, plural: str) -> bool:
        """Whether ``plural`` is served in ``version``, such as ``networking.k8s.io/v1``; ``v1`` is, everywhere."""
        if "/" not in version:
            return True
        if self._versions is None:
            answer = msgspec.json.decode(self._api.get("/apis"), type=_Groups)
            self._versions = frozenset(v.groupVersion for group in answer.groups for v in group.versions)
        return version in self._versions and plural in self._resources(version)

    def _read_resources(self, version: str) -> frozenset[str]:
        try:
            answer = self._api.get(path_of(version))
        except ApiFailure as failure:
            if failure.status == 404:  # the group went away between two questions
                return frozenset()
            raise
        decoded = msgspec.json.decode(answer, type=_Resources)
        return frozenset(resource.name for resource in decoded.resources or ())


def path_of(version: str) -> str:
    """The URL path of an API group with version."""
    return f"/apis/{version}" if "/" in version else f"/api/{version}"
