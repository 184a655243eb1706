"""A compilation against the bundle that is there: everything that would change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from egress_compiler.commit import FileChange
from egress_compiler.contract.plan import NodePlan
from egress_compiler.model.lock import Lock
from egress_compiler.model.policy import Ref
from egress_compiler.net import FAMILIES, format_interval
from egress_compiler.nodes import NODES
from egress_compiler.pipeline import Compilation
from egress_compiler.plan.before import Before, plans_with_pods, policy_states
from egress_compiler.plan.lines import count_lines, unified_diff
from egress_compiler.plan.model import (
    EipChange,
    FileAction,
    FileLines,
    NodeChange,
    Note,
    Plan,
    PolicyChange,
    PolicyState,
    Sources,
)
from egress_compiler.plan.sources import SourceComparison
from egress_compiler.plan.view import View


def compare(
    before: Before, compilation: Compilation, changes: Sequence[FileChange], out: Path, *, diffs: bool = False
) -> Plan:
    """The plan for writing ``compilation`` to ``out``, which holds ``before`` and of which ``changes`` would change.

    Linear in the sizes of both bundles.  ``diffs`` adds line diffs of every file.
    """
    old, new = View(before.plans), View(plans_with_pods(compilation))
    comparison = SourceComparison(old, new, compilation.resolved.cluster)
    pods, gone = comparison.pods()
    sources = (*pods, *comparison.subnets())
    nodes, files = _files(changes, out, old, new, diffs)
    return Plan(
        against=str(out),
        fresh=not before.plans and not before.policies,
        policies=_policies(before.policies, compilation, sources),
        sources=tuple(sorted(sources, key=_order)),
        gone=gone,
        eips=tuple(_eips(old, new, compilation.allocation.lock)),
        inside={
            family: (
                tuple(format_interval(family, i) for i in comparison.inside[family].joins),
                tuple(format_interval(family, i) for i in comparison.inside[family].leaves),
            )
            for family in FAMILIES
            if before.plans
        },
        notes=tuple(_notes(old.nodes, new.nodes)),
        nodes=nodes,
        files=files,
        node_count=len(old.nodes.keys() | new.nodes.keys()),
    )


def between(before: Compilation, after: Compilation, against: str) -> Plan:
    """What ``after`` changes of ``before``, neither of which needs to have been written; only the files that differ."""
    names = sorted(before.files.keys() | after.files.keys())
    out = Path()
    changes = [
        FileChange(out / name, before.files.get(name), after.files.get(name))
        for name in names
        if before.files.get(name) != after.files.get(name)
    ]
    if before.lock_text != after.lock_text:
        changes.append(FileChange(after.lock_path, before.lock_text, after.lock_text))
    return replace(
        compare(Before(plans_with_pods(before), policy_states(before)), after, changes, out), against=against
    )


def _order(group: Sources) -> tuple[bool, bool, str, str]:
    """What hurts first: broken connections, then what else is disruptive, then by name."""
    breaks = any(flow.connections.outcome == "broken" for flow in group.flows)
    disruptive = any(flow.disruptive for flow in group.flows)
    return (not breaks, not disruptive, group.what, group.members[0].name)


def _policies(
    before: Mapping[Ref, PolicyState], compilation: Compilation, sources: Iterable[Sources]
) -> tuple[PolicyChange, ...]:
    after = policy_states(compilation)
    gained, lost = _shifts(sources)
    inputs = {policy.policy.ref: policy.policy for policy in compilation.resolved.policies}
    changes: list[PolicyChange] = []
    for ref in sorted(before.keys() | after.keys()):
        old, new, name = before.get(ref), after.get(ref), str(ref)
        if old != new or name in gained or name in lost:
            policy = inputs.get(ref)
            changes.append(
                PolicyChange(
                    ref=ref,
                    before=old,
                    after=new,
                    gained=gained.get(name, 0),
                    lost=lost.get(name, 0),
                    description=policy.description if policy else "",
                    position=policy.document.at("metadata", "name") if policy else None,
                )
            )
    return tuple(changes)


def _shifts(sources: Iterable[Sources]) -> tuple[dict[str, int], dict[str, int]]:
    """By policy: how many pods begin, and how many cease, to leave by it."""
    gained: dict[str, int] = {}
    lost: dict[str, int] = {}
    for group in sources:
        moves = [(flow.before.policy, flow.after.policy) for flow in group.flows]
        count = len(group.members) if group.what == "pod" else 0
        for policy in {after for before, after in moves if after and after != before}:
            gained[policy] = gained.get(policy, 0) + count
        for policy in {before for before, after in moves if before and after != before}:
            lost[policy] = lost.get(policy, 0) + count
    return gained, lost


def _eips(old: View, new: View, lock: Lock) -> Iterable[EipChange]:
    waiting = {
        text: lock.eips[key].node
        for entry in lock.policies.values()
        if (key := f"{entry.gateway}/{entry.ipv4 or entry.ipv6}") in lock.eips and lock.eips[key].meanwhile
        for text in (entry.ipv4, entry.ipv6)
    }
    for address in sorted(old.eips.keys() | new.eips.keys(), key=lambda text: (":" in text, len(text), text)):
        before, after = old.eips.get(address), new.eips.get(address)
        nodes = (before.preferred_node if before else "", after.preferred_node if after else "")
        if nodes[0] != nodes[1]:
            owner = after or before
            yield EipChange(owner.gateway if owner else "", address, *nodes, waiting.get(address, ""))


def _notes(old: Mapping[str, NodePlan], new: Mapping[str, NodePlan]) -> Iterable[Note]:
    """Changes under which nodes disagree with each other until all of them are applied."""
    both = sorted(old.keys() & new.keys())
    tunnels = [name for name in both if _tunnel(old[name]) != _tunnel(new[name])]
    if tunnels:
        yield Note(f"the tunnel of {_named(tunnels)} changes: what they steer stops until all nodes are applied", True)
    elections = [name for name in both if _vrrp_differs(_vrrp(old[name]), _vrrp(new[name]))]
    if elections:
        yield Note(
            f"VRRP of {_named(elections)} changes: gateways may both be master until all of them are applied", True
        )


def _tunnel(plan: NodePlan) -> tuple[object, ...]:
    tunnel = plan.kernel.tunnel
    return (tunnel.device, tunnel.vni, tunnel.port, tunnel.underlay, tunnel.mac, tunnel.addresses)


def _vrrp(plan: NodePlan) -> dict[tuple[str, str], tuple[object, ...]]:
    announced = plan.gateway.announced() if plan.gateway is not None else ()
    return {(s.gateway, s.preferred_node): (v.vrid, v.interface, v.advert_ms) for v, slots in announced for s in slots}


def _vrrp_differs(old: Mapping[tuple[str, str], object], new: Mapping[tuple[str, str], object]) -> bool:
    return any(old[slot] != new[slot] for slot in old.keys() & new.keys())


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more nodes" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _files(
    changes: Sequence[FileChange], out: Path, old: View, new: View, diffs: bool
) -> tuple[tuple[NodeChange, ...], tuple[FileLines, ...]]:
    """The files of each node that is touched, and the others."""
    by_node: dict[str, list[FileLines]] = {}
    others: list[FileLines] = []
    for change in changes:
        if change.path.is_relative_to(out / NODES):
            node, *rest = change.path.relative_to(out / NODES).parts
            by_node.setdefault(node, []).append(_lines(change, "/".join(rest), diffs))
        else:
            inside = change.path.is_relative_to(out)
            others.append(_lines(change, str(change.path.relative_to(out) if inside else change.path), diffs))
    nodes: list[NodeChange] = []
    for node, files in sorted(by_node.items()):
        plan = new.nodes.get(node) or old.nodes.get(node)
        action: FileAction = "delete" if node not in new.nodes else "modify" if node in old.nodes else "create"
        nodes.append(NodeChange(node, plan.role if plan else "", action, tuple(files)))
    return tuple(nodes), tuple(others)


def _lines(change: FileChange, path: str, diffs: bool) -> FileLines:
    action: FileAction = "create" if change.before is None else "delete" if change.after is None else "modify"
    before, after = change.before or "", change.after or ""
    return FileLines(path, action, *count_lines(before, after), unified_diff(before, after) if diffs else ())
