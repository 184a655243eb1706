"""Sentences that text and JSON share."""

from __future__ import annotations

from egress_compiler.explain.model import Way


def destinations(way: Way, *, alone: bool) -> str:
    """``alone``: no other way of the family stands beside this one."""
    if way.destinations:
        return ", ".join(way.destinations)
    return f"everything {'outside the cluster' if alone else 'else'} (IPv{way.family})"


def leaves_with(way: Way) -> str:
    match way.outcome:
        case "direct":
            return f"leaves through no gateway: {way.why}"
        case "blocked":
            return f"is blocked by {way.policy}: {way.why}"
        case "eip":
            return f"leaves with {way.addresses[0]}"
        case _:
            return f"leaves with the active gateway node's address: {', '.join(way.addresses)}"
