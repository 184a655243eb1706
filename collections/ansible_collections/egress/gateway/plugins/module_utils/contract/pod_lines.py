# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""Governed pods in plan.json: a pod with its addresses of both families is one line."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .plan import FAMILIES, Address, Both, Family, Source


@dataclass(frozen=True)
class PodLine:
    """The addresses of a pod that lead to one chain, IPv4 first."""

    owner: str
    chain: str
    sources: tuple[Address, ...]


def pod_lines(pods: Both[tuple[Source, ...]]) -> tuple[PodLine, ...]:
    """In the order of their first addresses."""
    found: dict[tuple[str, str], list[str]] = {}
    for family in FAMILIES:
        for pod in pods.of(family):
            found.setdefault((pod.owner, pod.chain), []).append(pod.source)
    return tuple(PodLine(owner, chain, tuple(sources)) for (owner, chain), sources in found.items())


def pods_of(lines: Iterable[PodLine]) -> Both[tuple[Source, ...]]:
    """The inverse of ``pod_lines``; by address, as a plan has them.  ValueError where one is none."""
    found: dict[int, list[tuple[tuple[int, ...], Source]]] = {4: [], 6: []}
    for line in lines:
        for source in line.sources:
            family, value = _value(source)
            found[family].append((value, Source(source, line.chain, line.owner)))
    four, six = (sorted(found[family], key=lambda pod: pod[0]) for family in FAMILIES)
    return Both(tuple(pod[1] for pod in four), tuple(pod[1] for pod in six))


def _value(text: str) -> tuple[Family, tuple[int, ...]]:
    """The numbers of an address, so that they sort."""
    if ":" not in text:
        return 4, tuple(map(int, text.split(".")))
    head, tail = ([int(group, 16) for group in part.split(":") if group] for part in (text + "::").split("::")[:2])
    return 6, (*head, *[0] * (8 - len(head) - len(tail)), *tail)
