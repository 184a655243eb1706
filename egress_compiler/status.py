"""What the compiler answers with: statuses of policies and gateways, endpoint slices, tunnels."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import yaml

from egress_compiler.allocate import Allocation, Placement
from egress_compiler.contract.numbers import GATEWAY_MARK_PREFIX
from egress_compiler.contract.plan import NodePlan
from egress_compiler.model.policy import Ref
from egress_compiler.net import FAMILIES, Family, format_address, size
from egress_compiler.resolve import Resolved, ResolvedGateway, ResolvedPolicy

API_VERSION = "egressgateway.spidernet.io/v1beta1"
POLICY_LABEL = "spidernet.io/policy-name"
COLUMNS = ("NAMESPACE", "NAME", "GATEWAY", "IPV4", "IPV6", "EGRESSTUNNEL")
READY, NOT_READY = "Ready", "NotReady"
NODE_NOT_READY = "NodeNotReady"
"""A tunnel's phase, as the in-cluster controller calls it."""
"""What a gateway node's condition says."""
WIDE_COLUMNS = ("BACKUPNODES", "PRIORITY", "PODS", "PINNED")
GATEWAY_COLUMNS = (
    "NAME",
    "IPV4DEFAULTEIP",
    "IPV6DEFAULTEIP",
    "CLUSTERDEFAULT",
    "IPV4TOTAL",
    "IPV4FREE",
    "IPV6TOTAL",
    "IPV6FREE",
    "NODES",
)
_Dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def yaml_documents(objects: Sequence[Mapping[str, Any]]) -> str:
    """Several documents, keys sorted, long lines unbroken."""
    return "".join(
        "---\n" + yaml.dump(item, Dumper=_Dumper, sort_keys=True, width=1_000_000, allow_unicode=True)
        for item in objects
    )


def policy_rows(resolved: Resolved, allocation: Allocation) -> list[tuple[str, str, str, str, str, str]]:
    """The table of POLICY statuses: one row a policy, sorted by namespace and name, cluster policies first."""
    rows = []
    for policy in resolved.policies:
        placement = allocation.placements[policy.policy.ref]
        node = _node(placement, allocation)
        four, six = (_text(placement, family) for family in FAMILIES)
        rows.append((policy.policy.ref.namespace, policy.policy.ref.name, policy.gateway.name, four, six, node))
    return sorted(rows)


def wide_rows(resolved: Resolved, allocation: Allocation) -> dict[tuple[str, str], tuple[str, str, str, str]]:
    """More of each policy, by namespace and name: who takes over, the priority, how many pods it selects, its pin."""
    rows: dict[tuple[str, str], tuple[str, str, str, str]] = {}
    for policy in resolved.policies:
        placement = allocation.placements[policy.policy.ref]
        backups = allocation.slots[placement.slot].order[1:] if placement.slot is not None else ()
        pods = "<subnets>" if policy.subnets[4] or policy.subnets[6] else str(len(policy.pods))
        ref = policy.policy.ref
        rows[ref.namespace, ref.name] = (",".join(backups), str(policy.policy.priority), pods, _pin(ref, allocation))
    return rows


def _pin(ref: Ref, allocation: Allocation) -> str:
    """The node that the policy's EIP is pinned to; in brackets where the pin waits for it, '' where there is none."""
    given = allocation.lock.policies[str(ref)]
    entry = allocation.lock.eips.get(f"{given.gateway}/{given.ipv4 or given.ipv6}")
    if entry is None or not entry.pinned:
        return ""
    placement = allocation.placements[ref]
    return entry.node if entry.node == _node(placement, allocation) else f"({entry.node})"


def gateway_rows(resolved: Resolved, allocation: Allocation) -> list[tuple[str, ...]]:
    """The table of gateways, with the columns of their CRD and the nodes: one row a gateway, sorted by name."""
    rows: list[tuple[str, ...]] = []
    for name in sorted(resolved.gateways):
        gateway, status = resolved.gateways[name], _gateway(resolved.gateways[name], resolved, allocation)["status"]
        default = allocation.lock.gateways.get(name)
        usage = [str(status["ipUsage"][f"ipv{family}{what}"]) for family in FAMILIES for what in ("Total", "Free")]
        nodes = ",".join(node.name if node.ready else f"{node.name}({NOT_READY})" for node in gateway.nodes)
        is_default = str(gateway.gateway.cluster_default).lower()
        rows.append((name, default.ipv4 if default else "", default.ipv6 if default else "", is_default, *usage, nodes))
    return rows


def status_list(
    resolved: Resolved,
    allocation: Allocation,
    specs: Mapping[Ref, Any],
    kinds: Sequence[str],
    namespace: str | None = None,
) -> dict[str, Any]:
    """A List of the objects of ``kinds``, as ``kubectl get -o`` has it.

    Their spec is in ``specs``, as the user wrote it; their status is what was allocated.
    """
    items: list[dict[str, Any]] = []
    for item in status_objects(resolved, allocation):
        names = item["metadata"]
        ref = Ref(item["kind"], names.get("namespace", ""), names["name"])
        if item["kind"] in kinds and namespace in (None, ref.namespace):
            items.append({**item, "spec": specs[ref]})
    return {"apiVersion": "v1", "items": items, "kind": "List", "metadata": {"resourceVersion": ""}}


def status_objects(resolved: Resolved, allocation: Allocation) -> list[dict[str, Any]]:
    """Gateways and policies with their status as the cluster would show them."""
    gateways = [_gateway(resolved.gateways[name], resolved, allocation) for name in sorted(resolved.gateways)]
    policies = [
        _policy(policy.policy.ref, allocation.placements[policy.policy.ref], allocation)
        for policy in sorted(resolved.policies, key=lambda p: p.policy.ref)
    ]
    return [*gateways, *policies]


def tunnels(plans: Iterable[NodePlan], resolved: Resolved, allocation: Allocation) -> list[dict[str, Any]]:
    """The EgressTunnel of each node with its status."""
    ready = {node.name: node.ready for node in resolved.cluster.nodes}
    return [_tunnel(plan, allocation, ready=ready.get(plan.node, True)) for plan in plans]


def _text(placement: Placement, family: Family) -> str:
    value = placement.eip.of(family)
    return "" if value is None else format_address(family, value)


def _node(placement: Placement, allocation: Allocation) -> str:
    return allocation.slots[placement.slot].node if placement.slot is not None else ""


def _object(kind: str, name: str, namespace: str = "", **content: Any) -> dict[str, Any]:
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, **content}


def _policy(ref: Ref, placement: Placement, allocation: Allocation) -> dict[str, Any]:
    eip = {f"ipv{family}": text for family in FAMILIES if (text := _text(placement, family))}
    return _object(ref.kind, ref.name, ref.namespace, status={"eip": eip, "node": _node(placement, allocation)})


def _gateway(resolved: ResolvedGateway, everything: Resolved, allocation: Allocation) -> dict[str, Any]:
    gateway = resolved.gateway
    by_node: dict[str, dict[tuple[str, str], list[Ref]]] = {node.name: {} for node in resolved.nodes}
    used: dict[Family, set[int]] = {4: set(), 6: set()}
    for policy in everything.policies:
        if policy.gateway.name != gateway.name:
            continue
        placement = allocation.placements[policy.policy.ref]
        for family in FAMILIES:
            value = placement.eip.of(family)
            if value is not None:
                used[family].add(value)
        node = _node(placement, allocation)
        if node in by_node:
            key = (_text(placement, 4), _text(placement, 6))
            by_node[node].setdefault(key, []).append(policy.policy.ref)
    usage: dict[str, int] = {}
    for family in FAMILIES:
        total = size(gateway.pool[family])
        usage |= {f"ipv{family}Total": total, f"ipv{family}Free": total - len(used[family])}
    states = {node.name: READY if node.ready else NOT_READY for node in resolved.nodes}
    node_list = [
        {"name": node, "status": states[node], "eips": [_eip(key, eips[key]) for key in sorted(eips)]}
        for node, eips in by_node.items()
    ]
    return _object("EgressGateway", gateway.name, status={"nodeList": node_list, "ipUsage": usage})


def _eip(addresses: tuple[str, str], refs: Iterable[Ref]) -> dict[str, Any]:
    policies = [{"name": ref.name} | ({"namespace": ref.namespace} if ref.namespace else {}) for ref in sorted(refs)]
    return {"ipv4": addresses[0], "ipv6": addresses[1], "policies": policies}


def _tunnel(plan: NodePlan, allocation: Allocation, *, ready: bool) -> dict[str, Any]:
    addresses = {_family_field(address): address.partition("/")[0] for address in plan.kernel.tunnel.addresses}
    parent = {"name": plan.kernel.interface, _family_field(plan.kernel.tunnel.underlay): plan.kernel.tunnel.underlay}
    # Of a node, not of a slot: what a gateway gives to connections whose pod is there.
    mark = f"{GATEWAY_MARK_PREFIX | allocation.node_index[plan.node]:#x}"
    tunnel = {**addresses, "mac": plan.kernel.tunnel.mac, "parent": parent}
    phase = READY if ready else NODE_NOT_READY
    return _object("EgressTunnel", plan.node, status={"mark": mark, "phase": phase, "tunnel": tunnel})


def _family_field(address: str) -> str:
    return "ipv6" if ":" in address else "ipv4"


class Endpoint(NamedTuple):
    """A pod in an endpoint slice, with its addresses of the families that its gateway can carry."""

    ns: str
    pod: str
    node: str
    ipv4: tuple[str, ...]
    ipv6: tuple[str, ...]


def endpoint_slices(resolved: Resolved, limit: int) -> Iterator[dict[str, Any]]:
    """The pods of every podSelector policy, at most ``limit`` a slice, and none with 0; no two slices share a name."""
    if not limit:
        return
    known: dict[tuple[int, Sequence[Family]], Endpoint] = {}
    for policy in sorted(resolved.policies, key=lambda p: p.policy.ref):
        if policy.policy.pod_selector is None:
            continue
        families = resolved.gateways[policy.gateway.name].families
        for part, start in enumerate(range(0, len(policy.pods), limit)):
            endpoints: list[Endpoint] = []
            for pod in policy.pods[start : start + limit]:
                made = known.get((pod, families))
                if made is None:
                    made = known[pod, families] = _endpoint(resolved, pod, families)
                endpoints.append(made)
            yield _slice(policy, part, endpoints)


def _slice(policy: ResolvedPolicy, part: int, endpoints: list[Endpoint]) -> dict[str, Any]:
    ref = policy.policy.ref
    kind = "EgressEndpointSlice" if ref.namespace else "EgressClusterEndpointSlice"
    digest = hashlib.sha256(f"{ref} {part}".encode()).hexdigest()[:5]
    made = _object(kind, f"{ref.name[:240]}-{digest}", ref.namespace, endpoints=endpoints)
    made["metadata"]["labels"] = {POLICY_LABEL: ref.name[:63]}
    if policy.policy.uid:
        # An API server takes no owner without the uid, which only the cluster's own export of the policy has.
        owner = {"apiVersion": API_VERSION, "kind": ref.kind, "name": ref.name, "uid": policy.policy.uid}
        made["metadata"]["ownerReferences"] = [owner]
    return made


def _endpoint(resolved: Resolved, position: int, families: Sequence[Family]) -> Endpoint:
    pod = resolved.cluster.pods[position]
    texts: dict[Family, list[str]] = {4: [], 6: []}
    for family, value in pod.addresses:
        if family in families:
            texts[family].append(format_address(family, value))
    return Endpoint(pod.namespace, pod.name, pod.node, tuple(texts[4]), tuple(texts[6]))
