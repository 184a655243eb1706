# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""Pods and namespaces as the follower keeps them; a pod's fields mean what the compiler's loader makes of them."""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Mapping
from typing import Any, NamedTuple

from ansible_collections.egress.gateway.plugins.module_utils.follow.objects import (
    BadObject,
    Key,
    Meta,
    Resource,
    mapping,
)

NAMESPACE_NAME_LABEL = "kubernetes.io/metadata.name"
_MIRROR = "kubernetes.io/config.mirror"
_FINISHED = frozenset({"Succeeded", "Failed"})
# A pod has 11 kB, a namespace 1 kB.
_PODS_A_PAGE = 100
_NAMESPACES_A_PAGE = 500


class Pod(NamedTuple):
    namespace: str
    name: str
    uid: str
    labels: Mapping[str, str]
    addresses: tuple[str, ...]
    """Of both families, each once, in the API's order, spelled as the kernel's tools print them."""
    host_network: bool
    finished: bool
    leaving: bool
    """It is being deleted, or its node has not been heard of: another pod may have its addresses already."""
    bad_addresses: int
    """What stands among its addresses and is none."""
    runtime_uid: str
    """By which the kubelet knows it, and the runtime: another one where the API has but a mirror of a static pod."""

    @property
    def key(self) -> Key:
        return (self.namespace, self.name)

    @property
    def sources(self) -> tuple[str, ...]:
        """The addresses by which policies may take it: not those that it shares with its node or gave back."""
        return () if self.host_network or self.finished else self.addresses


class Namespace(NamedTuple):
    name: str
    uid: str
    labels: Mapping[str, str]

    @property
    def key(self) -> Key:
        return ("", self.name)


def pods_of(node: str) -> Resource[Pod]:
    """A kubelet's own credential may ask for these and no others."""
    return Resource("Pod", "/api/v1/pods", True, "spec.nodeName=" + node, _PODS_A_PAGE, pod)


def pod(raw: Mapping[str, Any], meta: Meta) -> Pod:
    """Raises BadObject; for addresses alone it does not."""
    try:
        spec, status = mapping(raw, "spec"), mapping(raw, "status")
        phase, host_network = status.get("phase"), spec.get("hostNetwork")
        if not isinstance(phase, (str, type(None))) or host_network not in (None, False, True):
            raise BadObject("status.phase or spec.hostNetwork")
        addresses, bad = _addresses(status)
    except BadObject as error:
        raise BadObject(str(error), meta.key) from error
    return Pod(
        namespace=meta.namespace,
        name=meta.name,
        uid=meta.uid,
        labels=meta.labels,
        addresses=addresses,
        host_network=bool(host_network),
        finished=phase in _FINISHED,
        leaving=meta.deleting or phase == "Unknown",
        bad_addresses=bad,
        runtime_uid=_runtime_uid(raw, meta),
    )


def _runtime_uid(raw: Mapping[str, Any], meta: Meta) -> str:
    try:
        mirrored = mapping(mapping(raw, "metadata"), "annotations").get(_MIRROR)
    except BadObject:
        return meta.uid
    return sys.intern(mirrored) if isinstance(mirrored, str) and mirrored else meta.uid


def _addresses(status: Mapping[str, Any]) -> tuple[tuple[str, ...], int]:
    """Those of podIPs, or podIP where that has none; and how many texts are no address."""
    entries = [] if status.get("podIPs") is None else status["podIPs"]
    if not isinstance(entries, list):
        raise BadObject("status.podIPs")
    texts = [text for text in (mapping({"entry": entry}, "entry").get("ip") for entry in entries) if text]
    texts = texts or ([status["podIP"]] if status.get("podIP") else [])
    if not all(isinstance(text, str) for text in texts):
        raise BadObject("status.podIPs")
    found = [address_of(text) for text in texts]
    return tuple(dict.fromkeys(address for address in found if address)), found.count(None)


def address_of(text: str) -> str | None:
    """The address; None for any other text, leading zeros, zones and IPv4-mapped IPv6 among them."""
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(found, ipaddress.IPv6Address):
        return None if "%" in text or found.ipv4_mapped is not None else str(found)
    return text if text == str(found) else None


def namespace(_raw: Mapping[str, Any], meta: Meta) -> Namespace:
    """With the label that an API server sets on each."""
    return Namespace(meta.name, meta.uid, {NAMESPACE_NAME_LABEL: meta.name, **meta.labels})


NAMESPACES: Resource[Namespace] = Resource("Namespace", "/api/v1/namespaces", False, "", _NAMESPACES_A_PAGE, namespace)
