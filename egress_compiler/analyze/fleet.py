"""Nodes without a configuration that somebody counts on: gateways, and the nodes of selected pods."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from egress_compiler.analyze.selection import source_place
from egress_compiler.diagnostics import Collector, Related, counted, listing
from egress_compiler.fleet.report import entry_of, place_of
from egress_compiler.model.cluster import OtherNode
from egress_compiler.model.lock import Lock
from egress_compiler.net import Address, Interval, format_address
from egress_compiler.resolve import Resolved, ResolvedGateway, ResolvedPolicy


def check_fleet(resolved: Resolved, lock: Lock, found: Collector) -> None:
    """A node that waits is an error where a gateway cannot do without it, a warning else."""
    in_use = {policy.gateway.name for policy in resolved.policies}
    gateways = [gateway for name, gateway in sorted(resolved.gateways.items()) if name in in_use]
    waiting = [other for other in resolved.cluster.other_nodes if other.waiting]
    by_reason: dict[tuple[str, str], list[OtherNode]] = {}
    for other in waiting:
        needing = next((g for g in gateways if _needs(g, other, lock)), None)
        if needing is None:
            by_reason.setdefault((other.why, other.hint), []).append(other)
        else:
            _report_needed(needing, other, _needs(needing, other, lock), found)
    for others in by_reason.values():
        _report_waiting(others, found)
    _check_pod_addresses(resolved, found)


def check_unserved(resolved: Resolved, policies: Iterable[ResolvedPolicy], found: Collector) -> None:
    """A warning for each of ``policies`` with pods that would have an EIP elsewhere, and have none where they are."""
    for policy in policies:
        _check_pods(policy, resolved, found)


def _needs(gateway: ResolvedGateway, other: OtherNode, lock: Lock) -> str:
    """Why ``gateway`` cannot do without the node; '' where it can."""
    name, node = gateway.gateway.name, other.node
    if not gateway.gateway.node_selector.matches(node.labels):
        return ""
    if not gateway.nodes:
        return "has no other node"
    placed = {e.meanwhile or e.node for key, e in lock.eips.items() if key.partition("/")[0] == name}
    eips = node.name in placed
    policies = any(e.node == node.name and e.gateway == name for e in lock.policies.values())
    return "has EIPs or policies on it, which would move" if eips or policies else ""


def _report_needed(gateway: ResolvedGateway, other: OtherNode, why: str, found: Collector) -> None:
    document = gateway.gateway.document
    found.error(
        "node-address",
        f"node {other.node.name} {other.why}, and EgressGateway {gateway.gateway.name} {why}",
        place_of(other.node),
        hint=other.hint,
        related=(Related("the gateway", document.at("metadata", "name")),),
    )


def _report_waiting(others: Sequence[OtherNode], found: Collector) -> None:
    names = listing([other.node.name for other in others])
    one = len(others) == 1
    found.warning(
        "node-address",
        f"{counted(len(others), 'node')} ({names}) {'gets' if one else 'get'} no configuration yet: "
        f"{'it' if one else 'each'} {others[0].why}",
        place_of(others[0].node),
        hint=others[0].hint,
    )


def _check_pods(policy: ResolvedPolicy, resolved: Resolved, found: Collector) -> None:
    if not policy.unserved:
        return
    pods = resolved.cluster.pods
    first = resolved.cluster.others[pods[policy.unserved[0]].node]
    one = len(policy.unserved) == 1
    found.warning(
        "pod-on-other-node",
        f"{policy.policy.ref} selects {counted(len(policy.unserved), 'pod')} "
        f"({listing([pods[p].key for p in policy.unserved])}) on nodes without a configuration: nothing steers "
        f"{'its' if one else 'their'} traffic ({first.node.name} {first.why})",
        source_place(policy.policy),
        hint="keep such pods on other nodes, make the selector narrower, or accept the warning",
    )


def _check_pod_addresses(resolved: Resolved, found: Collector) -> None:
    """A governed pod with the address of a node would have all that the node sends governed."""
    twice = [
        (table.pods[place], Address(family, value), node)
        for family, table in resolved.cluster.pod_table.items()
        for node in resolved.cluster.nodes
        if (value := node.address(family)) is not None
        for place in table.within((Interval(value, value),))
    ]
    selected = {position for policy in resolved.policies for position in policy.pods} if twice else frozenset()
    for position, address, node in twice:
        if position in selected:
            text, key = format_address(*address), resolved.cluster.pods[position].key
            report = found.warning if resolved.followed else found.error
            report(
                "address-twice",
                f"{text} is the address of node {node.name} and of pod {key}",
                place_of(node, entry_of(node, address)),
                hint="take the snapshot again, all kinds at the same moment",
            )
