"""The sentences that all forms of a plan share; nothing here is escaped yet."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from egress_compiler.diagnostics import printable
from egress_compiler.plan.model import (
    Answer,
    Connections,
    EipChange,
    FileLines,
    Flow,
    Plan,
    PolicyState,
    Region,
    Sources,
)

DISRUPTIVE = "Disruptive: somebody gets another address, loses the one they have, or loses open connections."
SUBNETS = "sources that no other policy names, in "
SIGNS = {"create": "+", "modify": "~", "delete": "-"}


def counted(count: int, one: str, many: str = "") -> str:
    return f"{count} {one if count == 1 else many or one + 's'}"


def summary(plan: Plan) -> str:
    """The plan in one or two sentences."""
    if plan.empty:
        return "No changes: compile would write nothing."
    files = sum(len(node.files) for node in plan.nodes) + len(plan.files)
    parts = list(_policy_parts(plan)) + list(_pod_parts(plan))
    moved = sum(bool(eip.before and eip.after) for eip in plan.eips)
    parts += [f"{counted(moved, 'EIP')} {'moves' if moved == 1 else 'move'} to another node"] if moved else []
    what = "; ".join(parts) if parts else "nobody's address or egress path changes"
    changed = counted(files, "file changes", "files change")
    return f"{what[0].upper()}{what[1:]}. {changed}, on {len(plan.nodes)} of {counted(plan.node_count, 'node')}."


def _policy_parts(plan: Plan) -> Iterable[str]:
    new = sum(policy.before is None for policy in plan.policies)
    gone = sum(policy.after is None for policy in plan.policies)
    other = sum(policy.disruptive for policy in plan.policies)
    if new:
        yield f"{counted(new, 'policy', 'policies')} {'is' if new == 1 else 'are'} new"
    if gone:
        yield f"{counted(gone, 'policy', 'policies')} {'goes' if gone == 1 else 'go'}"
    if other:
        yield f"{counted(other, 'policy gets', 'policies get')} another address"


_KINDS = {
    "changes": ("pod gets another address", "pods get another address"),
    "loses": ("pod loses its EIP", "pods lose their EIP"),
    "blocks": ("pod is blocked", "pods are blocked"),
    "gains": ("pod gains an EIP", "pods gain an EIP"),
    "unblocks": ("pod is no longer blocked", "pods are no longer blocked"),
    "moves": ("pod leaves by another gateway", "pods leave by another gateway"),
}


def _pod_parts(plan: Plan) -> Iterable[str]:
    """Each pod counts under each kind of change that it has, for some destination."""
    for kind, (one, many) in _KINDS.items():
        count = sum(len(g.members) for g in plan.sources if g.what == "pod" and any(f.kind == kind for f in g.flows))
        if count:
            yield counted(count, one, many)
    subnets = sum(len(group.members) for group in plan.sources if group.what == "subnet")
    if subnets:
        yield f"{counted(subnets, 'source subnet')} {'changes' if subnets == 1 else 'change'}"
    if plan.gone:
        yield f"{counted(len(plan.gone), 'pod')} with an EIP left the cluster"
    for what in ("pod", "subnet"):
        broken = sum(len(group.members) for group in plan.sources if group.what == what and breaks(group))
        if broken:
            yield f"open connections of {counted(broken, what)} break"


def breaks(group: Sources) -> bool:
    return any(flow.connections.outcome == "broken" for flow in group.flows)


def sign(group: Sources) -> str:
    """``+`` where an EIP is won, ``-`` where one is lost, ``~`` for everything else."""
    kinds = {flow.kind for flow in group.flows}
    if kinds <= {"gains", "unblocks"}:
        return "+"
    return "-" if kinds <= {"loses", "blocks"} else "~"


def destinations(region: Region) -> str:
    family = f"IPv{region.family}"
    if not region.rest:
        return ", ".join(region.destinations)
    if not region.destinations:
        return f"everything ({family})"
    return f"everything ({family}) but {', '.join(region.destinations)}"


def leaves_with(answer: Answer) -> str:
    if answer.outcome == "direct":
        return "no EIP"
    if answer.outcome == "blocked":
        return "blocked"
    return f"{answer.node}'s own {answer.address}" if answer.outcome == "node-ip" else answer.address


def before_and_after(flow: Flow) -> tuple[str, str]:
    """With the gateway nodes where it is only they that differ."""
    before, after = leaves_with(flow.before), leaves_with(flow.after)
    if before == after:
        return f"{before} by {flow.before.node}", f"{after} by {flow.after.node}"
    return before, after


def connections(what: Connections) -> str:
    if what.outcome == "none":
        return "none can be open"
    return f"break: {what.reason}" if what.outcome == "broken" else what.reason


def state(policy: PolicyState | None) -> str:
    if policy is None:
        return ""
    addresses = ", ".join(text for text in (policy.ipv4, policy.ipv6) if text)
    if not policy.node:
        return f"{addresses} (blocked: no gateway node)".lstrip()
    return f"{addresses} by {policy.node}" if addresses else f"{policy.node}'s own address"


def eip(change: EipChange) -> tuple[str, str]:
    """What happens to an EIP, and its sign."""
    if not change.before:
        return "+", f"comes into use, on {change.after}"
    if not change.after:
        return "-", f"is no longer used, was on {change.before}"
    pin = f"; it is pinned to {change.waits_for}, and waits for it" if change.waits_for else ""
    return "~", f"{change.before} -> {change.after}{pin}"


def file(change: FileLines) -> str:
    if change.action == "delete":
        return f"{change.path} (removed)"
    counts = " ".join(f"{mark}{count}" for mark, count in (("+", change.added), ("-", change.removed)) if count)
    return f"{change.path} {counts or '(order)'}"


def some(names: Sequence[str], limit: int) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def on_one_line(text: str) -> str:
    """``text`` with its tabs, and everything else that a terminal would act on spelled as escapes."""
    return "\t".join(map(printable, text.split("\t")))
