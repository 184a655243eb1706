"""TCP's segment size: what the server announces bounds what the pod sends into the tunnel."""

from __future__ import annotations

from functools import cache

from egress_compiler.contract.numbers import GOVERNED_PREFIX_MASK, MARK_PREFIX
from egress_compiler.contract.plan import NodePlan
from egress_compiler.net import FAMILIES, Family
from egress_compiler.ruleset.hooks import FORWARD
from egress_compiler.ruleset.model import Chain, Feature, Rule
from egress_compiler.ruleset.words import PROTOCOL, mark

_HEADERS: dict[Family, int] = {4: 40, 6: 60}
"""Bytes of the IP and TCP headers without options."""


def segment_size(plan: NodePlan) -> Feature:
    return _within(plan.kernel.tunnel.mtu)


@cache
def _within(mtu: int) -> Feature:
    answered = f"tcp flags syn ct direction reply ct mark & {mark(GOVERNED_PREFIX_MASK)} == {mark(MARK_PREFIX)}"
    shorter = tuple(
        Rule(f"meta nfproto {PROTOCOL[f]}", f"tcp option maxseg size set {mtu - _HEADERS[f]}") for f in FAMILIES
    )
    note = "What the server announces bounds what the pod sends into the tunnel; it never gets larger here."
    base = {FORWARD.name: (Rule(answered, verdict="goto shorter_segments"),)}
    return Feature((), base, (Chain("shorter_segments", shorter, (note,)),))
