"""Sentences that text and JSON share."""

from __future__ import annotations

from egress_compiler.explain.model import EgressPath


def destinations(path: EgressPath, *, alone: bool) -> str:
    """``alone``: no other path of the family stands beside this one."""
    if path.destinations:
        return ", ".join(path.destinations)
    return f"everything {'outside the cluster' if alone else 'else'} (IPv{path.family})"


def leaves_with(path: EgressPath) -> str:
    match path.outcome:
        case "direct":
            return f"leaves through no gateway: {path.why}"
        case "blocked":
            return f"is blocked by {path.policy}: {path.why}"
        case "eip":
            return f"leaves with {path.addresses[0]}"
        case _:
            return f"leaves with the active gateway node's address: {', '.join(path.addresses)}"
