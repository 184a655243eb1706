"""Why a policy selects a pod, and why not: in the words of the policy language."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from egress_compiler.classify import Classified, PolicyOrder
from egress_compiler.diagnostics import quoted
from egress_compiler.explain.model import Considered
from egress_compiler.labels import Labels, LabelSelector, Requirement
from egress_compiler.model.policy import Policy
from egress_compiler.net import FAMILIES, Address, Family, Intervals, contains, format_address, format_interval
from egress_compiler.resolve import ResolvedPolicy

DIFFERENT = "does not match"
SHOWN = 4
"""Destinations or subnets that a sentence names."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What sends: a known pod, or an address that is no known pod's (``namespace`` and ``pod`` are None).

    ``pod`` is its position in the cluster's pods.
    """

    pod: int | None
    name: str
    namespace: str | None
    labels: Labels
    node: str
    addresses: tuple[Address, ...]


def consider(classified: Classified, subject: Subject, to: Address | None) -> tuple[Considered, ...]:
    """Every policy, in the order in which packets meet them; with ``to`` only the address of its family sends."""
    resolved = classified.resolved
    namespaces = {namespace.name: namespace.labels for namespace in resolved.cluster.namespaces}
    orders = {a: classified.order_of(a) for a in subject.addresses if to is None or a.family == to.family}
    found: list[Considered] = []
    for position, entry in enumerate(resolved.policies):
        policy = entry.policy
        # A pod on a node without a configuration meets no policy, and is told what would select it elsewhere.
        selected = subject.pod in entry.unserved
        sources = tuple(a for a in orders if selected or position in orders[a])
        covers, why = _destination(policy, to)
        matches = bool(sources) and covers is not False
        found.append(
            Considered(
                ref=policy.ref,
                priority=policy.priority,
                document=policy.document,
                sources=sources,
                reasons=() if sources else _reasons(entry, subject, tuple(orders), namespaces),
                destination=covers,
                destination_reason=why,
                verdict=_verdict(classified, position, {a: orders[a] for a in sources}, to) if matches else DIFFERENT,
            )
        )
    return tuple(found)


def _verdict(classified: Classified, position: int, orders: Mapping[Address, PolicyOrder], to: Address | None) -> str:
    """What a policy that matches wins of the sources in ``orders``."""
    policies = classified.resolved.policies
    if to is None:
        wins = any(win.policy == position for a, order in orders.items() for win in classified.wins(order, a.family))
        return "wins where no policy before it does" if wins else "matches, but nothing is left for it"
    obeyed = [classified.winner(order, to) for order in orders.values()]
    if position in obeyed:
        return "wins: the first of those that match"
    return _later(policies[position].policy, policies[obeyed[0]].policy if obeyed[0] is not None else None)


def _later(policy: Policy, winner: Policy | None) -> str:
    """Why ``policy``, which matches one destination, does not win it."""
    if winner is None:
        return "matches, but the destination is inside the cluster"
    if policy.priority != winner.priority:
        return f"matches, but {winner.ref} has the smaller priority"
    kind = "namespaced policies go first" if winner.namespaced and not policy.namespaced else "they go by name"
    return f"matches, but with the same priority comes after {winner.ref}: {kind}"


def _reasons(
    entry: ResolvedPolicy, subject: Subject, sending: tuple[Address, ...], namespaces: Mapping[str, Labels]
) -> tuple[str, ...]:
    """Why the policy selects none of the addresses ``sending``."""
    policy = entry.policy
    if policy.pod_subnets is not None and not policy.namespaced and policy.namespace_selector is None:
        return (_outside(entry.subnets, sending),)
    if subject.namespace is None:
        return ("selects pods, and no pod with this address is known",)
    reasons = _namespace_reasons(policy, subject.namespace, namespaces)
    if reasons:
        return reasons
    if policy.pod_selector is not None:
        return _label_reasons(policy.pod_selector, subject.labels, "the pod")
    return (_outside(policy.pod_subnets or {}, subject.addresses),)


def _outside(subnets: Mapping[Family, Intervals], addresses: tuple[Address, ...]) -> str:
    texts = [format_interval(family, interval) for family in FAMILIES for interval in subnets[family]]
    names = " and ".join(format_address(*a) for a in addresses)
    return f"podSubnet: {names or 'no address'} is in none of {_listed(texts)}"


def _namespace_reasons(policy: Policy, namespace: str, namespaces: Mapping[str, Labels]) -> tuple[str, ...]:
    if policy.namespaced:
        return () if policy.ref.namespace == namespace else (f"namespace: the pod is in {quoted(namespace)}",)
    if policy.namespace_selector is None or policy.namespace_selector.empty:
        return ()
    if namespace not in namespaces:
        return (f"namespaceSelector: the cluster snapshot has no namespace {quoted(namespace)}",)
    return _label_reasons(policy.namespace_selector, namespaces[namespace], f"namespace {quoted(namespace)}")


def _label_reasons(selector: LabelSelector, labels: Labels, owner: str) -> tuple[str, ...]:
    what = "podSelector" if owner == "the pod" else "namespaceSelector"
    failed = [requirement for requirement in selector.requirements if not requirement.matches(labels)]
    return tuple(f"{what}: {_failure(requirement, labels, owner)}" for requirement in failed)


def _failure(requirement: Requirement, labels: Labels, owner: str) -> str:
    key = quoted(requirement.key)
    has = f"{owner} has {key} = {quoted(labels[requirement.key])}" if requirement.key in labels else ""
    match requirement.operator:
        case "In":
            wanted = " or ".join(quoted(value) for value in sorted(requirement.values))
            return f"{has}, not {wanted}" if has else f"{owner} has no label {key}; {wanted} is wanted"
        case "NotIn":
            return f"{has}, which is excluded"
        case "Exists":
            return f"{owner} has no label {key}"
        case _:
            return f"{has}, and must not have this label"


def _destination(policy: Policy, to: Address | None) -> tuple[bool | None, str]:
    wanted = policy.destinations
    texts = [] if wanted is None else [format_interval(family, i) for family in FAMILIES for i in wanted[family]]
    if to is None:
        return None, "everything outside the cluster" if wanted is None else _listed(texts)
    if wanted is None:
        return True, "covers everything outside the cluster"
    if contains(wanted[to.family], to.value):
        own = next(i for i in wanted[to.family] if i.first <= to.value <= i.last)
        return True, f"destSubnet: {format_interval(to.family, own)}"
    return False, f"destSubnet: {format_address(*to)} is in none of {_listed(texts)}"


def _listed(texts: list[str]) -> str:
    more = f" and {len(texts) - SHOWN} more" if len(texts) > SHOWN else ""
    return ", ".join(texts[:SHOWN]) + more
