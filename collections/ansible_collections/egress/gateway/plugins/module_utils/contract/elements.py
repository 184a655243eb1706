# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""How a set's elements stand in nftables.nft: one a line.  What is a set there, plan.json does not say again."""

from __future__ import annotations

IN_RULESET = ("inside",)
"""Fields of a NodePlan that stand in nftables.nft alone: they are the whole cluster's, on every node."""

_INDENT = "\t\t\t"


def inside_set(family: int) -> str:
    """What is inside the cluster, of one family."""
    return "inside%d" % family


def element(key: str, value: str = "", note: str = "") -> str:
    """The line of an element, or with a ``value`` of a map's; ``note`` is a comment of the file."""
    return "".join((_INDENT, key, " : " + value if value else "", ",", " # " + note if note else ""))


def keys(ruleset: str, name: str) -> tuple[str, ...]:
    """Of the set's elements, as they stand in the text; none where it has no such set."""
    block = ruleset.partition("\n\tset %s {\n" % name)[2]
    lines = block.partition("\n\t}\n")[0].split("\n")
    return tuple(line.strip().partition(",")[0] for line in lines if line.startswith(_INDENT))
