"""Explanations for machines, under stable names."""

from __future__ import annotations

from egress_compiler.explain.model import Considered, EgressPath, EipExplanation, Explanation, Hop, Line
from egress_compiler.net import format_address


def as_json(explanation: Explanation) -> dict[str, object]:
    """Plain data; the policies in the order in which packets meet them."""
    return {
        "pod": explanation.pod or None,
        "node": explanation.node or None,
        "addresses": list(explanation.addresses),
        "to": explanation.to or None,
        "notes": list(explanation.notes),
        "policies": [_considered(entry) for entry in explanation.considered],
        "paths": [_path(path) for path in explanation.paths],
    }


def _considered(entry: Considered) -> dict[str, object]:
    return {
        "kind": entry.ref.kind,
        "namespace": entry.ref.namespace,
        "name": entry.ref.name,
        "priority": entry.priority,
        "file": entry.position.source.name,
        "line": entry.position.line,
        "selects": [format_address(*address) for address in entry.sources],
        "reasons": list(entry.reasons),
        "coversDestination": entry.destination,
        "destinations": entry.destination_reason,
        "wins": entry.wins,
        "verdict": entry.verdict,
    }


def _path(path: EgressPath) -> dict[str, object]:
    return {
        "family": path.family,
        "source": path.source,
        "destinations": list(path.destinations),
        "rest": path.rest,
        "outcome": path.outcome,
        "reason": path.why,
        "policy": path.policy or None,
        "chain": path.chain or None,
        "answer": path.answer,
        "slot": path.slot,
        "gateway": path.gateway or None,
        "gateways": [{"node": g.node, "priority": g.priority, "address": g.address or None} for g in path.gateways],
        "addresses": list(path.addresses),
        "hops": [_hop(hop) for hop in path.hops],
    }


def _hop(hop: Hop) -> dict[str, object]:
    return {"where": hop.where, "what": hop.what, "lines": [_line(line) for line in hop.lines]}


def _line(line: Line) -> dict[str, object]:
    return {"file": line.file, "line": line.number, "text": line.text}


def eip_as_json(explanation: EipExplanation) -> dict[str, object]:
    """Plain data; every source, however many."""
    return {
        "address": explanation.address,
        "partner": explanation.partner or None,
        "gateway": explanation.gateway or None,
        "place": explanation.place,
        "slot": explanation.slot,
        "nodes": [{"node": node.node, "priority": node.priority} for node in explanation.nodes],
        "policies": list(explanation.policies),
        "users": [
            {"source": u.source, "owner": u.owner, "destinations": list(u.destinations), "policy": u.policy}
            for u in explanation.users
        ],
        "lines": [_line(line) for line in explanation.lines],
    }
