"""Explanations for machines, under stable names."""

from __future__ import annotations

from egress_compiler.explain.model import Considered, EipExplanation, Explanation, Hop, Line, Way
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
        "ways": [_way(way) for way in explanation.ways],
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


def _way(way: Way) -> dict[str, object]:
    return {
        "family": way.family,
        "source": way.source,
        "destinations": list(way.destinations),
        "rest": way.rest,
        "outcome": way.outcome,
        "reason": way.why,
        "policy": way.policy or None,
        "class": way.traffic_class or None,
        "slot": way.slot,
        "gateway": way.gateway or None,
        "gateways": [{"node": g.node, "priority": g.priority, "address": g.address or None} for g in way.gateways],
        "addresses": list(way.addresses),
        "hops": [_hop(hop) for hop in way.hops],
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
