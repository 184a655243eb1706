# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""What the API and the gate have told of this node's pods, and what the node knows by that."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.egress.gateway.plugins.module_utils.contract.membership import Known, KnownPod, Members
from ansible_collections.egress.gateway.plugins.module_utils.follow.objects import Key
from ansible_collections.egress.gateway.plugins.module_utils.follow.pods import Namespace, Pod
from ansible_collections.egress.gateway.plugins.module_utils.follow.reflector import Change
from ansible_collections.egress.gateway.plugins.module_utils.follower.claims import Claims, Container


@dataclass(frozen=True)
class _Told:
    pod: Pod
    since: float
    """Seconds since 1970: when it was first told with these addresses."""


class Facts:
    """``known`` is what an earlier run left; it holds until the API says otherwise.

    A pod is not known before its namespace is, as that has a say in what governs it.
    """

    def __init__(self, known: Known, claims: Claims) -> None:
        self.claims = claims
        self._namespaces: dict[str, Mapping[str, str]] = dict(known.namespaces)
        self._pods: dict[Key, _Told] = {pod.key: _Told(pod, 0.0) for pod in pods_of(known)}
        """Those whose addresses came later stand behind."""
        self._made: dict[str, KnownPod] = {}

    def namespaces_changed(self, changes: Iterable[Change[Namespace]]) -> None:
        for change in changes:
            if change.new is not None:
                self._namespaces[change.new.name] = change.new.labels
            elif change.old is not None:
                self._namespaces.pop(change.old.name, None)

    def pods_changed(self, changes: Iterable[Change[Pod]], now: float) -> None:
        for change in changes:
            if change.old is not None and (change.new is None or change.new.uid != change.old.uid):
                self.claims.forget(_names(change.old))
                self._pods.pop(change.old.key, None)
                self._made.pop("%s/%s" % change.old.key, None)
            if change.new is not None:
                self._set(change.new, now)

    def _set(self, pod: Pod, now: float) -> None:
        told = self._pods.get(pod.key)
        if told is not None and (told.pod.uid, told.pod.sources) == (pod.uid, pod.sources):
            self._pods[pod.key] = _Told(pod, told.since)
        else:
            self._pods.pop(pod.key, None)
            self._pods[pod.key] = _Told(pod, now)

    def labels(self, namespace: str) -> Mapping[str, str] | None:
        return self._namespaces.get(namespace)

    def pod(self, container: Container) -> Pod | None:
        """Whose container it is, if that is known with all that has a say in what governs it."""
        told = self._pods.get((container.namespace, container.name))
        if told is None or container.namespace not in self._namespaces:
            return None
        mine = container.uid in (told.pod.uid, told.pod.runtime_uid) if container.uid else not told.pod.leaving
        return told.pod if mine else None

    def owners(self, before: float) -> dict[str, list[str]]:
        """By address the pods that the API has told with it before that time."""
        found: dict[str, list[str]] = {}
        for told in self._pods.values():
            if told.since < before:
                for address in told.pod.sources:
                    found.setdefault(address, []).append(told.pod.runtime_uid)
        return found

    def selectable(self, members: Members, namespace: str) -> bool:
        """Whether a policy may select a pod there, whatever its labels."""
        labels = self._namespaces.get(namespace)
        policies = members.of_namespace(namespace)
        return any(labels is None or p.namespaces is None or p.namespaces.matches(labels) for p in policies)

    def known(self, members: Members, kept: frozenset[str]) -> Known:
        unknown = list(self._unknown())
        waiting = {address for one in unknown if one.blocked for address in one.addresses}
        return Known(
            (*self._known_pods(), *self._unselected(members, unknown)),
            dict(self._namespaces),
            kept,
            tuple(sorted(waiting)),
        )

    def _known_pods(self) -> Iterator[KnownPod]:
        """Of two with one address the later one has it, but a pod that is leaving gives way to any other."""
        for told in sorted(self._pods.values(), key=lambda told: not told.pod.leaving):
            pod = told.pod
            if pod.namespace not in self._namespaces or pod.finished or pod.host_network:
                continue
            addresses = self.claims.addresses(_names(pod), pod.sources)
            if addresses:
                yield self._same(KnownPod(pod.namespace, pod.name, pod.uid, pod.labels, addresses))

    def _same(self, pod: KnownPod) -> KnownPod:
        """The object that it was, where nothing of it has changed: who compares then has little to do."""
        old = self._made.get(pod.owner)
        if old != pod:
            self._made[pod.owner] = old = pod
        return old

    def _unknown(self) -> Iterator[Container]:
        return (one for one in self.claims.containers.values() if self.pod(one) is None)

    def _unselected(self, members: Members, unknown: Sequence[Container]) -> Iterator[KnownPod]:
        """Pods of which nothing more needs to be known."""
        for one in unknown:
            if not self.selectable(members, one.namespace):
                yield KnownPod(namespace=one.namespace, name=one.name, uid=one.uid, labels={}, addresses=one.addresses)


def _names(pod: Pod) -> tuple[str, str]:
    """As its containers' records have it."""
    return pod.runtime_uid, "%s/%s" % pod.key


def pods_of(known: Known) -> Iterator[Pod]:
    """As a reflector begins with: what the API has said, as far as it mattered."""
    for pod in known.pods:
        yield Pod(
            namespace=pod.namespace,
            name=pod.name,
            uid=pod.uid,
            labels=pod.labels,
            addresses=pod.addresses,
            host_network=False,
            finished=False,
            leaving=False,
            bad_addresses=0,
            runtime_uid=pod.uid,
        )


def namespaces_of(known: Known) -> Iterator[Namespace]:
    return (Namespace(name, "", labels) for name, labels in known.namespaces.items())
