"""A plan for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from egress_compiler.plan import words
from egress_compiler.plan.model import FileLines, Flow, Plan, PolicyChange

NAMED_PODS = 5
"""How many pods of a group are named; --format json names all."""


def as_text(plan: Plan) -> str:
    """The whole plan; every line is free of control characters."""
    lines = [f"Plan against {plan.against}" + (": there is no bundle yet" if plan.fresh else "")]
    sections = (
        ("Policies", _policies(plan.policies)),
        ("Who leaves with what", _sources(plan)),
        ("EIPs", _eips(plan)),
        ("Inside of the cluster", _inside(plan)),
        ("Nodes as a whole", [f"  ! {note.text}" for note in plan.notes]),
        ("Files", _files(plan)),
        ("Line diffs", _diffs(plan)),
    )
    for title, body in sections:
        content = list(body)
        if content:
            lines += ["", title, *content]
    lines += ["", words.summary(plan)]
    if plan.disruptive:
        lines.append(words.DISRUPTIVE)
    return "\n".join(words.on_one_line(line) for line in lines)


def _policies(policies: Sequence[PolicyChange]) -> Iterator[str]:
    for policy in policies:
        sign = "+" if policy.before is None else "-" if policy.after is None else "~"
        description = f" - {policy.description}" if policy.description else ""
        yield f"  {sign} {policy.ref}{description}"
        before, after = words.state(policy.before), words.state(policy.after)
        if before and after and before != after:
            yield f"      {before} -> {after}"
        elif before and not after:
            yield f"      left with {before}"
        else:
            yield f"      leaves with {after}"
        counts = [
            f"{words.counted(count, 'pod')} {verb}"
            for count, verb in ((policy.gained, "gained"), (policy.lost, "lost"))
            if count
        ]
        place = [f"{policy.position.source.name}:{policy.position.line}"] if policy.position else []
        if counts or place:
            yield f"      {', '.join([*counts, *place])}"


def _sources(plan: Plan) -> Iterator[str]:
    for group in plan.sources:
        names = [member.name for member in group.members]
        count = f" ({len(names)} pods)" if group.what == "pod" and len(names) > 1 else ""
        what = "" if group.what == "pod" else words.SUBNETS
        yield f"  {words.sign(group)} {what}{words.some(names, NAMED_PODS)}{count}"
        for flow in group.flows:
            yield from _flow(flow)
    if plan.gone:
        yield f"  (left the cluster: {words.some(plan.gone, NAMED_PODS)})"


def _flow(flow: Flow) -> Iterator[str]:
    before, after = words.before_and_after(flow)
    yield f"      to {words.destinations(flow.region)}: {before} -> {after}"
    if flow.connections.outcome != "none":
        mark = "!" if flow.connections.outcome == "broken" else " "
        yield f"      {mark} open connections {words.connections(flow.connections)}"


def _eips(plan: Plan) -> Iterator[str]:
    for change in plan.eips:
        sign, text = words.eip(change)
        yield f"  {sign} {change.address} of {change.gateway}: {text}"


def _inside(plan: Plan) -> Iterator[str]:
    for joins, leaves in plan.inside.values():
        if joins:
            yield f"  + {', '.join(joins)}: no policy applies to these destinations any more"
        if leaves:
            yield f"  - {', '.join(leaves)}: policies apply to these destinations from now on"


def _files(plan: Plan) -> Iterator[str]:
    for node in plan.nodes:
        yield f"  {words.SIGNS[node.action]} {node.node} ({node.role}): {', '.join(map(words.file, node.files))}"
    if plan.files:
        yield f"    {', '.join(map(words.file, plan.files))}"


def _diffs(plan: Plan) -> Iterator[str]:
    for path, file in named_files(plan):
        if file.diff:
            yield f"--- {path}"
            yield f"+++ {path}"
            yield from file.diff


def named_files(plan: Plan) -> Iterable[tuple[str, FileLines]]:
    """Every file of the plan with its path below the bundle directory."""
    for node in plan.nodes:
        for file in node.files:
            yield f"nodes/{node.node}/{file.path}", file
    for file in plan.files:
        yield file.path, file
