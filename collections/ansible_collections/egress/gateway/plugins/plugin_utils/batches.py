# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""Which hosts go together: as many as may, and never all that serve one EgressGateway."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from ansible.errors import AnsibleFilterError


def batches(hosts: Iterable[str], teams: Iterable[Collection[str]], largest: int | str) -> list[int]:
    """Sizes of the batches of ``hosts`` in the order of their names, the first of one host, for ``serial``.

    No batch holds all hosts of a team, unless the team is one host alone. ``largest`` is a number of hosts or a
    percentage of them. Empty for no hosts.
    """
    names = sorted(set(hosts))
    limit = _limit(largest, len(names))
    shared = [frozenset(team) for team in teams if len(set(team)) > 1]
    sizes: list[int] = []
    batch: set[str] = set()
    for name in names:
        full = len(batch) >= (limit if sizes else 1)
        if full or (batch and any(team <= batch | {name} for team in shared)):
            sizes.append(len(batch))
            batch = set()
        batch.add(name)
    return [*sizes, len(batch)] if batch else sizes


def _limit(largest: int | str, count: int) -> int:
    text = str(largest).strip()
    number = text[:-1] if text.endswith("%") else text
    if not number.isdigit() or int(number) < 1:
        raise AnsibleFilterError("%r is neither a number of hosts nor a percentage of them" % largest)
    return max(1, int(number) * count // 100) if text.endswith("%") else int(number)
