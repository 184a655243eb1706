"""What a bundle directory held before: read as far as it differs from what compile would write."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml

from egress_compiler.bundle import BUNDLE_VERSION
from egress_compiler.commit import FileChange
from egress_compiler.contract import names
from egress_compiler.contract.members import MEMBERS
from egress_compiler.contract.members_file import MembersFile
from egress_compiler.contract.membership import with_pods
from egress_compiler.contract.plan import PLAN_VERSION, NodePlan
from egress_compiler.contract.reading import DamagedPlan, read_plan, with_ruleset
from egress_compiler.diagnostics import Collector, listing, printable
from egress_compiler.model.policy import Ref
from egress_compiler.nodes import NODES
from egress_compiler.pipeline import Compilation
from egress_compiler.plan.model import PolicyState
from egress_compiler.status import policy_rows

MANIFEST = "manifest.json"
STATUS = "status.yaml"
POLICY_KINDS = ("EgressPolicy", "EgressClusterPolicy")
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
T = TypeVar("T")


class _Version(msgspec.Struct):
    version: int


class _NodeEntry(msgspec.Struct):
    files: dict[str, str]


class _Manifest(msgspec.Struct):
    version: int
    nodes: dict[str, _NodeEntry]


class _Metadata(msgspec.Struct):
    name: str
    namespace: str = ""


class _Eip(msgspec.Struct):
    ipv4: str = ""
    ipv6: str = ""


class _Status(msgspec.Struct):
    eip: _Eip = msgspec.field(default_factory=_Eip)
    node: str = ""


class _StatusObject(msgspec.Struct):
    kind: str
    metadata: _Metadata
    status: _Status


@dataclass(frozen=True, slots=True)
class Before:
    """``plans`` have the pods of the cluster files also where nodes follow theirs by themselves."""

    plans: tuple[NodePlan, ...]
    policies: Mapping[Ref, PolicyState]


def bundle_before(
    compilation: Compilation, changes: Sequence[FileChange], out: Path, found: Collector, *, new: bool = False
) -> Before:
    """The old bundle, from what ``changes`` says of it; an unchanged file is what the compilation has.

    Where ``out`` holds no whole bundle of this version that is reported to ``found``; with ``new`` a directory without
    a manifest that can be read counts as one with nothing in it.
    """
    changed = {change.path: change for change in changes}
    manifest = _manifest(compilation, changed, out, Collector() if new else found)
    if manifest is None:
        return Before((), {})
    _check_whole(manifest, compilation, changed, out, found)
    plans: list[NodePlan] = []
    for plan in compilation.plans:
        where = out / NODES / plan.node
        change, rules = changed.pop(where / names.PLAN, None), changed.get(where / names.RULESET)
        old: NodePlan | None = plan
        if change is not None:
            unchanged = compilation.files[f"{NODES}/{plan.node}/{names.RULESET}"]
            old = _stored_plan(change, rules.before if rules is not None else unchanged, found)
        elif rules is not None and rules.before is not None:
            old = _read(rules.path, partial(with_ruleset, plan, rules.before), found)
        plans += [] if old is None else [old]
    for change in changed.values():
        if change.path.name == names.PLAN and change.path.parent.parent == out / NODES:
            rules = changed.get(change.path.with_name(names.RULESET))
            old = _stored_plan(change, rules.before if rules is not None else None, found)
            plans += [] if old is None else [old]
    plans = _with_pods(plans, compilation, changed.get(out / MEMBERS), found)
    return Before(tuple(plans), _policies(compilation, changed.get(out / STATUS), found))


def _with_pods(
    plans: list[NodePlan], compilation: Compilation, change: FileChange | None, found: Collector
) -> list[NodePlan]:
    """With the pods of the cluster files, as a node would take them by the old members.json."""
    nodes, new = compilation.nodes, {plan.node: plan for plan in compilation.plans}
    text = change.before if change is not None else compilation.files.get(MEMBERS)
    if text is None or not any(plan.follow for plan in plans):
        return plans
    try:
        members = MembersFile(BytesIO(text.encode()))
        return [
            plan
            if plan.follow is None
            else nodes.effective(plan.node)
            if change is None and plan is new.get(plan.node)
            else with_pods(plan, members, nodes.known(plan.node))
            for plan in plans
        ]
    except DamagedPlan as error:
        _unreadable(Path(MEMBERS) if change is None else change.path, f"cannot be read: {printable(str(error))}", found)
        return plans


def _manifest(
    compilation: Compilation, changed: Mapping[Path, FileChange], out: Path, found: Collector
) -> _Manifest | None:
    """What the bundle in ``out`` says of itself; None after reporting where it is no bundle."""
    path = out / MANIFEST
    text = changed[path].before if path in changed else compilation.files[MANIFEST]
    if text is not None:
        return _decoded(path, text, _Manifest, BUNDLE_VERSION, found)
    found.error(
        "no-bundle",
        f"{printable(str(out))} is no bundle: there is no {MANIFEST} in it",
        None,
        hint="name the directory that compile wrote; --new says that there is none yet, and plans all that it would be",
    )
    return None


def _check_whole(
    manifest: _Manifest, compilation: Compilation, changed: Mapping[Path, FileChange], out: Path, found: Collector
) -> None:
    """An error where a file is gone from which the answers of before would be read."""
    read = (names.PLAN, names.RULESET)
    wanted = [STATUS, *(f"{NODES}/{node}/{name}" for node in manifest.nodes for name in read)]
    wanted += [MEMBERS] if any(MEMBERS in entry.files for entry in manifest.nodes.values()) else []
    gone = [name for name in wanted if _is_gone(name, compilation, changed.get(out / name))]
    if gone:
        found.error(
            "bundle-unreadable",
            f"{printable(str(out))} is no whole bundle: {listing([printable(name) for name in gone])} "
            f"{'is' if len(gone) == 1 else 'are'} missing",
            None,
            hint="take it from where it was committed, or compile the old input into a directory",
        )


def _is_gone(name: str, compilation: Compilation, change: FileChange | None) -> bool:
    """A file of the old bundle that is neither as compile would write it nor different."""
    return change.before is None if change is not None else name not in compilation.files


def plans_with_pods(compilation: Compilation) -> tuple[NodePlan, ...]:
    """As nodes have them, with the pods of the cluster files."""
    return tuple(compilation.nodes.effective(plan.node) for plan in compilation.plans)


def policy_states(compilation: Compilation) -> dict[Ref, PolicyState]:
    """What each policy leaves with after the compilation."""
    kinds = {(p.policy.ref.namespace, p.policy.ref.name): p.policy.ref for p in compilation.resolved.policies}
    rows = policy_rows(compilation.resolved, compilation.allocation)
    return {kinds[namespace, name]: PolicyState(four, six, node) for namespace, name, _, four, six, node in rows}


def _stored_plan(change: FileChange, ruleset: str | None, found: Collector) -> NodePlan | None:
    text = change.before
    if text is None or not _is_version(change.path, text, PLAN_VERSION, found):
        return None
    return _read(change.path, partial(read_plan, text, ruleset), found)


def _read(path: Path, read: Callable[[], NodePlan], found: Collector) -> NodePlan | None:
    try:
        return read()
    except DamagedPlan as error:
        _unreadable(path, f"cannot be read: {printable(str(error))}", found)
        return None


def _decoded(path: Path, text: str, kind: type[T], version: int, found: Collector) -> T | None:
    """``text`` as ``kind``; None where it is of another version or no such thing, with the reason reported."""
    if not _is_version(path, text, version, found):
        return None
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.DecodeError as error:
        _unreadable(path, f"cannot be read: {printable(str(error))}", found)
        return None


def _is_version(path: Path, text: str, version: int, found: Collector) -> bool:
    try:
        stored = msgspec.json.decode(text, type=_Version).version
        if stored == version:
            return True
        problem = f"is of version {stored}, and this compiler reads version {version}"
    except (msgspec.DecodeError, UnicodeEncodeError) as error:
        problem = f"cannot be read: {printable(str(error))}"
    _unreadable(path, problem, found)
    return False


def _unreadable(path: Path, problem: str, found: Collector) -> None:
    found.error(
        "bundle-unreadable",
        f"{printable(str(path))} {problem}",
        None,
        hint="compare with a bundle of this version: compile the old input with this compiler into a directory",
    )


def _policies(compilation: Compilation, change: FileChange | None, found: Collector) -> Mapping[Ref, PolicyState]:
    if change is None:
        return policy_states(compilation)
    if change.before is None:
        return {}
    states: dict[Ref, PolicyState] = {}
    try:
        documents: list[Any] = list(yaml.load_all(change.before, Loader=_Loader))
        for document in documents:
            if isinstance(document, dict) and document.get("kind") in POLICY_KINDS:
                item = msgspec.convert(document, _StatusObject)
                eip, status = item.status.eip, item.status
                ref = Ref(item.kind, item.metadata.namespace, item.metadata.name)
                states[ref] = PolicyState(eip.ipv4, eip.ipv6, status.node)
    except (yaml.YAMLError, msgspec.ValidationError) as error:
        text = " ".join(str(error).split())
        found.error("bundle-unreadable", f"{printable(str(change.path))} cannot be read: {printable(text)}", None)
    return states
