"""A plan for machines, under stable names."""

from __future__ import annotations

from egress_compiler.plan import words
from egress_compiler.plan.model import Answer, FileLines, Flow, Plan, PolicyChange, PolicyState, Sources


def as_json(plan: Plan) -> dict[str, object]:
    """Plain data; ``empty`` and ``disruptive`` are what ``--exit-code`` and ``--forbid-disruptive`` go by."""
    return {
        "against": plan.against,
        "fresh": plan.fresh,
        "empty": plan.empty,
        "disruptive": plan.disruptive,
        "summary": words.summary(plan),
        "policies": [_policy(policy) for policy in plan.policies],
        "sources": [_sources(group) for group in plan.sources],
        "gone": list(plan.gone),
        "eips": [
            {"gateway": eip.gateway, "eip": eip.address, "before": eip.before or None, "after": eip.after or None}
            | ({"waitsFor": eip.waits_for} if eip.waits_for else {})
            for eip in plan.eips
        ],
        "inside": {f"ipv{f}": {"joins": list(j), "leaves": list(gone)} for f, (j, gone) in plan.inside.items()},
        "notes": [{"text": note.text, "disruptive": note.disruptive} for note in plan.notes],
        "nodes": [
            {
                "node": node.node,
                "role": node.role,
                "change": node.action,
                "files": [_file(file) for file in node.files],
            }
            for node in plan.nodes
        ],
        "files": [_file(file) for file in plan.files],
    }


def _policy(policy: PolicyChange) -> dict[str, object]:
    made: dict[str, object] = {
        "kind": policy.ref.kind,
        "namespace": policy.ref.namespace,
        "name": policy.ref.name,
        "change": "added" if policy.before is None else "removed" if policy.after is None else "changed",
        "before": _state(policy.before),
        "after": _state(policy.after),
        "podsGained": policy.gained,
        "podsLost": policy.lost,
        "disruptive": policy.disruptive,
    }
    if policy.description:
        made["description"] = policy.description
    if policy.position is not None:
        made |= {"file": policy.position.source.name, "line": policy.position.line}
    return made


def _state(state: PolicyState | None) -> dict[str, str] | None:
    return None if state is None else {"ipv4": state.ipv4, "ipv6": state.ipv6, "node": state.node}


def _sources(group: Sources) -> dict[str, object]:
    if group.what == "subnet":
        who: dict[str, object] = {"subnets": [member.name for member in group.members]}
    else:
        who = {"pods": [{"pod": m.name, "node": m.node, "addresses": list(m.addresses)} for m in group.members]}
    return who | {"flows": [_flow(flow) for flow in group.flows]}


def _flow(flow: Flow) -> dict[str, object]:
    region = flow.region
    return {
        "family": region.family,
        "destinations": list(region.destinations),
        "allBut": region.rest,
        "kind": flow.kind,
        "before": _answer(flow.before),
        "after": _answer(flow.after),
        "openConnections": flow.connections.outcome,
        "reason": flow.connections.reason,
        "disruptive": flow.disruptive,
    }


def _answer(answer: Answer) -> dict[str, object]:
    made: dict[str, object] = {"outcome": answer.outcome}
    if answer.policy:
        made["policy"] = answer.policy
    if answer.governed:
        made |= {"address": answer.address, "slot": answer.slot, "gateway": answer.gateway, "node": answer.node}
    return made


def _file(file: FileLines) -> dict[str, object]:
    made: dict[str, object] = {
        "path": file.path,
        "change": file.action,
        "linesAdded": file.added,
        "linesRemoved": file.removed,
    }
    return made | ({"diff": list(file.diff)} if file.diff else {})
