# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""What the gate at pod start did to the kernel by itself, while no follower answered, and what that makes of the known.

The follower takes these notes in and removes them. Until then whoever compares the kernel must not undo them: an
address that a pod has given back would have its EIP again, and be another pod's.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ansible_collections.egress.gateway.plugins.module_utils.contract.membership import Known, KnownPod
from ansible_collections.egress.gateway.plugins.module_utils.contract.reading import address


def spooled(directory: Path) -> Iterator[Mapping[str, Any]]:
    """Requests, in the order of their time; what is none is passed over."""
    try:
        paths = sorted(directory.glob("[0-9]*.json"))
    except OSError:
        return
    for path in paths:
        try:
            request = json.loads(path.read_text(encoding="utf-8"))
            yield {"blocked": bool(request.get("blocked")), "addresses": tuple(map(address, request["addresses"]))}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue


def after(known: Known, requests: Iterable[Mapping[str, Any]]) -> Known:
    """Addresses that were taken out are nobody's, and those that were blocked wait."""
    for request in requests:
        addresses: Collection[str] = request["addresses"]
        waiting = [one for one in known.waiting if one not in addresses]
        waiting += addresses if request["blocked"] else ()
        known = replace(known, pods=tuple(_without(pod, addresses) for pod in known.pods), waiting=tuple(waiting))
    return known


def _without(pod: KnownPod, addresses: Collection[str]) -> KnownPod:
    left = tuple(one for one in pod.addresses if one not in addresses)
    return pod if left == pod.addresses else replace(pod, addresses=left)
