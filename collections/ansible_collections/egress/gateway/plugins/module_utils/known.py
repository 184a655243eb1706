# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""What a node knows of its pods, in a file that outlives the follower and the next boot."""

from __future__ import annotations

import json

from ansible_collections.egress.gateway.plugins.module_utils.contract.membership import Known, KnownPod
from ansible_collections.egress.gateway.plugins.module_utils.node import Paths
from ansible_collections.egress.gateway.plugins.module_utils.resources.files import write

_VERSION = 1


def read_known(paths: Paths) -> Known:
    """Nothing where there is no such file, or it is damaged."""
    try:
        data = json.loads(paths.known.read_text(encoding="utf-8"))
        if data["version"] != _VERSION:
            return Known()
        return Known(
            tuple(
                KnownPod(one["namespace"], one["name"], one["uid"], one["labels"], tuple(one["addresses"]))
                for one in data["pods"]
            ),
            data["namespaces"],
            frozenset(data["kept"]),
            tuple(data["waiting"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return Known()


def write_known(paths: Paths, known: Known) -> None:
    data = {
        "version": _VERSION,
        "pods": [
            {"namespace": p.namespace, "name": p.name, "uid": p.uid, "labels": p.labels, "addresses": p.addresses}
            for p in known.pods
        ],
        "namespaces": known.namespaces,
        "kept": sorted(known.kept),
        "waiting": known.waiting,
    }
    write(paths.known, json.dumps(data) + "\n", 0o600)
