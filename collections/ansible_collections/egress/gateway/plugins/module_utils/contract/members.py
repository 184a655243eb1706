# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""members.json: what a node needs to give its pods to policies, once for all nodes of the cluster.

A policy is one line, in the order in which packets meet them, a slot is one, and an answer that no policy gives any
more (``gone``).  Policies and slots carry the chains of the
ruleset that a node has where a pod of its own needs them, ready-made: a node writes no rule by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Optional

from .plan import Answer, Both, PolicyChain, Slot, Sources
from .selectors import LabelSelector

MEMBERS = "members.json"
MEMBERS_VERSION = 1

Chains = Mapping[str, tuple[str, ...]]
"""Names of chains, with the lines of their rules."""

NOWHERE: Both[tuple[Sources, ...]] = Both((), ())


@dataclass(frozen=True)
class MemberPolicy:
    """A policy, and what it selects.

    Pods of ``namespace`` (empty: of all, or of those that ``namespaces`` selects) that ``pods`` selects, or without
    ``pods`` those that have an address in ``within``.  Besides, whoever has an address in ``whole``: there it meets a
    pod that other policies select, too, while for all others the node's ``subnets`` speak.  ``rank`` is its place
    among all policies: the lowest is met first.
    """

    rank: int
    namespace: str
    chain: PolicyChain
    answer: Optional[Answer]
    chains: Chains
    namespaces: Optional[LabelSelector] = None
    pods: Optional[LabelSelector] = None
    within: Both[tuple[Sources, ...]] = NOWHERE
    whole: Both[tuple[Sources, ...]] = NOWHERE
    cut: bool = False


@dataclass(frozen=True)
class MemberSlot:
    slot: Slot
    chains: Chains
