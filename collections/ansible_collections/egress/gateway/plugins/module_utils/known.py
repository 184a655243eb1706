# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""What a node that follows its pods knows of them, in a file that a restart and a reboot leave as it is."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.egress.gateway.plugins.module_utils.contract.membership import Known, KnownPod
from ansible_collections.egress.gateway.plugins.module_utils.contract.reading import address
from ansible_collections.egress.gateway.plugins.module_utils.node import Paths
from ansible_collections.egress.gateway.plugins.module_utils.spool import after, spooled

_VERSION = 1
NOTHING_KNOWN = Known()


class DamagedKnown(Exception):
    """The text does not say what a node knows; the message says why."""


def read_known(paths: Paths) -> Known:
    """Nothing where nothing is known, and where the file is damaged: the follower then asks anew for all of it."""
    try:
        return known_of(paths.known.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, DamagedKnown):
        return NOTHING_KNOWN


def known_in_force(paths: Paths) -> Known:
    """The same as the gate has left it that found no follower: what the kernel has."""
    return after(read_known(paths), spooled(paths.spool))


def known_text(known: Known) -> str:
    """One pod a line, for people who look."""
    facts = {
        "version": _VERSION,
        "kept": sorted(known.kept),
        "waiting": list(known.waiting),
        "namespaces": {name: dict(labels) for name, labels in known.namespaces.items()},
    }
    lines = [" %s: %s," % (json.dumps(key), json.dumps(value, sort_keys=True)) for key, value in facts.items()]
    pods = ",\n".join("  " + json.dumps(_pod(pod), sort_keys=True) for pod in known.pods)
    return "\n".join(("{", *lines, ' "pods": [', *([pods] if pods else []), " ]", "}", ""))


def _pod(pod: KnownPod) -> Mapping[str, Any]:
    """By names of its fields."""
    return {
        "namespace": pod.namespace,
        "name": pod.name,
        "uid": pod.uid,
        "labels": dict(pod.labels),
        "addresses": list(pod.addresses),
    }


def known_of(text: str) -> Known:
    """The inverse of ``known_text``, checked; DamagedKnown."""
    try:
        data = json.loads(text)
        if data["version"] != _VERSION:
            raise DamagedKnown("version %r" % (data["version"],))
        return Known(
            pods=tuple(map(_read_pod, data["pods"])),
            namespaces={_text(name): _labels(labels) for name, labels in data["namespaces"].items()},
            kept=frozenset(map(_text, data["kept"])),
            waiting=tuple(_addresses(data["waiting"])),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedKnown("%s: %s" % (type(error).__name__, error)) from error


def _read_pod(data: Any) -> KnownPod:
    names = (_text(data[key]) for key in ("namespace", "name", "uid"))
    return KnownPod(*names, _labels(data["labels"]), tuple(_addresses(data["addresses"])))


def _addresses(data: Any) -> Iterator[str]:
    for text in data:
        if "/" in _text(text):
            raise ValueError("%r" % (text,))
        yield address(text)


def _labels(data: Any) -> Mapping[str, str]:
    return {_text(key): _text(value) for key, value in data.items()}


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("%r" % (value,))
    return value
