"""Allocations of a live cluster taken over into the lock, so that a migration changes nobody's EIP."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from egress_compiler.allocate.allocation import Allocation
from egress_compiler.allocate.eips import EipPair, pair_said
from egress_compiler.diagnostics import Collector, counted, listing
from egress_compiler.model.lock import EipLock, GatewayLock, Lock, PolicyLock
from egress_compiler.resolve import Resolved, ResolvedPolicy


def seeded(lock: Lock, imported: Lock, resolved: Resolved) -> Lock:
    """``lock`` with what ``imported`` says of today's policies, which goes before what was there; pins stay.

    In ``imported`` a policy's gateway may be empty: then it is the one that the policy resolves to.
    """
    policies, eips = dict(lock.policies), dict(lock.eips)
    nodes = {key: entry.node for key, entry in imported.eips.items()}
    for policy in resolved.policies:
        entry = _entry(imported, policy)
        if entry is None:
            continue
        gateway, pair = policy.gateway, pair_said(policy.gateway, entry.ipv4, entry.ipv6)
        if pair is not None:
            policies[str(policy.policy.ref)] = PolicyLock(gateway.name, *pair.texts, kept=True)
            nodes.setdefault(f"{gateway.name}/{pair.text}", entry.node)
        elif policy.policy.use_node_ip and entry.node:
            policies[str(policy.policy.ref)] = PolicyLock(gateway.name, node=entry.node)
    for key, node in nodes.items():
        if node and not (key in eips and eips[key].pinned):
            eips[key] = EipLock(node)
    gateways = dict(lock.gateways) | _defaults(imported, resolved)
    return replace(lock, policies=policies, eips=eips, gateways=gateways)


def check_kept(imported: Lock, resolved: Resolved, allocation: Allocation, found: Collector) -> None:
    """Nobody's EIP changes unnoticed: an error where nobody asked for it, a warning where the policy itself does."""
    for policy in resolved.policies:
        ref = policy.policy.ref
        entry = imported.policies.get(str(ref))
        if entry is None:
            continue
        placement, given = allocation.placements[ref], allocation.lock.policies[str(ref)]
        now = set(filter(None, (given.ipv4, given.ipv6)))
        before = {text for text in (entry.ipv4, entry.ipv6) if text}
        if not before <= now:
            _report(policy, " and ".join(sorted(before)), " and ".join(sorted(now)) or "its gateway node's", found)
        elif entry.node and placement.slot is not None and allocation.slots[placement.slot].node != entry.node:
            found.warning(
                "imported-node",
                f"{ref} left by node {entry.node}, and now leaves by {allocation.slots[placement.slot].node}",
                policy.policy.document.at("spec"),
                hint=f"EgressGateway {policy.gateway.name} does not select {entry.node}, or its EIP was elsewhere",
            )
    strangers = sorted(imported.policies.keys() - {str(policy.policy.ref) for policy in resolved.policies})
    if strangers:
        one = len(strangers) == 1
        found.warning(
            "imported-stranger",
            f"{counted(len(strangers), 'imported policy', 'imported policies')} ({listing(strangers)}) "
            f"{'is' if one else 'are'} not in the input: {'its EIP is' if one else 'their EIPs are'} free for others",
            None,
        )


def _report(policy: ResolvedPolicy, before: str, now: str, found: Collector) -> None:
    document, ref = policy.policy.document, policy.policy.ref
    asked = policy.policy.use_node_ip or any(value is not None for value in policy.policy.eip.values())
    if asked:
        found.warning(
            "imported-eip",
            f"{ref} left with {before}, and asks for {now}",
            document.at("spec", "egressIP"),
        )
    else:
        found.error(
            "imported-eip",
            f"{ref} left with {before}, and would now leave with {now}",
            document.at("spec"),
            hint=f"to keep its address, name it under egressIP and see that the pool of EgressGateway "
            f"{policy.gateway.name} has it; to change it, leave the policy out of what is imported",
        )


def _entry(imported: Lock, policy: ResolvedPolicy) -> PolicyLock | None:
    entry = imported.policies.get(str(policy.policy.ref))
    return entry if entry is not None and entry.gateway in ("", policy.gateway.name) else None


def _defaults(imported: Lock, resolved: Resolved) -> dict[str, GatewayLock]:
    """The default EIP of each gateway: what it said, else what most of the policies that take the default have."""
    defaults = {name: entry for name, entry in imported.gateways.items() if entry.ipv4 or entry.ipv6}
    taking: dict[str, list[ResolvedPolicy]] = {}
    for policy in resolved.policies:
        if policy.takes_default and policy.gateway.name not in defaults:
            taking.setdefault(policy.gateway.name, []).append(policy)
    for name, policies in taking.items():
        most = _most_common(imported, policies)
        if most is not None:
            defaults[name] = GatewayLock(*most.texts)
    return defaults


def _most_common(imported: Lock, policies: Iterable[ResolvedPolicy]) -> EipPair | None:
    pairs = Counter(
        pair
        for policy in policies
        if (entry := _entry(imported, policy)) is not None
        and (pair := pair_said(policy.gateway, entry.ipv4, entry.ipv6)) is not None
    )
    return min(pairs, key=lambda pair: (-pairs[pair], pair.texts)) if pairs else None
