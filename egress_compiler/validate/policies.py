"""Documents to a PolicySet: what each object means on its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from egress_compiler.diagnostics import Collector, Related, quoted
from egress_compiler.document import Document
from egress_compiler.labels import LabelSelector
from egress_compiler.model.policy import (
    CLUSTER_PRIORITY,
    NAMESPACED_PRIORITY,
    ClusterInfo,
    Gateway,
    Policy,
    PolicySet,
    Ref,
)
from egress_compiler.net import FAMILIES, Family
from egress_compiler.validate import values
from egress_compiler.validate.accept import accept_warnings
from egress_compiler.validate.gateways import check_one_default, check_pools_apart, gateway
from egress_compiler.validate.objects import CONNECTIONS_KEY, description, known_objects, no_namespace, object_ref
from egress_compiler.validate.schemas import KINDS
from egress_compiler.validate.shape import check_shape


def validate_policies(documents: Sequence[Document], found: Collector) -> PolicySet:
    """The objects, sorted; every error and warning goes to ``found``.

    Gateways with errors are among the gateways with what is right in them, and named in ``refused_gateways``;
    policies with errors are apart in ``broken``.
    """
    gateways: list[Gateway] = []
    policies: list[Policy] = []
    broken: list[Policy] = []
    refused: set[str] = set()
    info = ClusterInfo()
    for raw in known_objects(documents, found):
        ref, errors = object_ref(raw), found.errors
        document = check_shape(raw, KINDS[ref.kind], found)
        accept_warnings(document, found)
        if ref.kind == "EgressGateway":
            gateways.append(gateway(document, ref.name, found))
            if found.errors > errors or document.faults:
                refused.add(ref.name)
        elif ref.kind == "EgressClusterInfo":
            info = _cluster_info(document, ref.name, found)
            if found.errors > errors or document.faults:
                found.missing("cluster-info")
        else:
            policy = _policy(document, ref, found)
            (broken if found.errors > errors or document.faults else policies).append(policy)
    gateways.sort(key=lambda one: one.name)
    check_pools_apart(gateways, found)
    check_one_default(gateways, found)
    policies.sort(key=lambda policy: policy.ref)
    return PolicySet(
        tuple(gateways),
        tuple(policies),
        info,
        refused_gateways=frozenset(refused),
        broken=tuple(broken),
        incomplete=found.is_missing("documents"),
    )


def _policy(document: Document, ref: Ref, found: Collector) -> Policy:
    data: Any = document.data
    spec = data.get("spec", {})
    if ref.namespace:
        _check_namespace(document, ref, found)
    else:
        no_namespace(document, ref.kind, found)
    egress_ip, applied = spec.get("egressIP", {}), spec.get("appliedTo", {})
    _check_egress_ip(document, egress_ip, found)
    _check_source(document, applied, found)
    path = ("spec", "appliedTo", "podSubnet")
    subnets = values.items(document, path, applied.get("podSubnet", ()), found, takes=values.CIDRS_ONLY)
    destinations = values.items(document, ("spec", "destSubnet"), spec.get("destSubnet", ()), found)
    uid = data.get("metadata", {}).get("uid")
    return Policy(
        ref=ref,
        description=description(data),
        gateway=spec.get("egressGatewayName") or None,
        eip={family: _eip(document, egress_ip.get(f"ipv{family}", ""), family, found) for family in FAMILIES},
        allocator=egress_ip.get("allocatorPolicy") or "default",
        use_node_ip=egress_ip.get("useNodeIP", False),
        pod_selector=None
        if _stands_for_nothing(applied)
        else _optional_selector(document, applied, "podSelector", found),
        pod_subnets=values.merged(subnets) if applied.get("podSubnet") else None,
        namespace_selector=_optional_selector(document, applied, "namespaceSelector", found),
        destinations=values.merged(destinations) if spec.get("destSubnet") else None,
        priority=spec.get("priority", NAMESPACED_PRIORITY if ref.namespace else CLUSTER_PRIORITY),
        cut=_cut(document, found),
        uid=uid if isinstance(uid, str) else "",
        document=document,
        destination_items=destinations,
        pod_subnet_items=subnets,
    )


def _cut(document: Document, found: Collector) -> bool:
    """Whether a change of the policy ends its open connections."""
    data: Any = document.data
    value = data.get("metadata", {}).get("annotations", {}).get(CONNECTIONS_KEY, "keep")
    if value not in ("keep", "cut"):
        found.error(
            "connections",
            f"{quoted(value)} is nothing that can be done with open connections",
            document.at("metadata", "annotations", CONNECTIONS_KEY),
            hint="write keep, or cut",
        )
    return bool(value == "cut")


def _check_namespace(document: Document, ref: Ref, found: Collector) -> None:
    data: Any = document.data
    if not document.faulty("metadata", "namespace") and not data.get("metadata", {}).get("namespace"):
        found.warning(
            "no-namespace",
            f"EgressPolicy {ref.name} names no namespace and is read as one of 'default'",
            document.at("metadata", "name"),
            hint="write metadata.namespace, so that it does not depend on who applies the file",
        )


def _eip(document: Document, text: str, family: Family, found: Collector) -> int | None:
    path = ("spec", "egressIP", f"ipv{family}")
    return values.address(document, path, text, family, found) if text else None


def _check_egress_ip(document: Document, data: Mapping[str, Any], found: Collector) -> None:
    if data.get("useNodeIP") and (data.get("ipv4") or data.get("ipv6")):
        named = "ipv4" if data.get("ipv4") else "ipv6"
        found.error(
            "node-ip-and-eip",
            "useNodeIP and an address exclude each other",
            document.key_at("spec", "egressIP", "useNodeIP"),
            hint="for the node's own address leave out ipv4 and ipv6, for an EIP leave out useNodeIP",
            related=(Related("the address is here", document.key_at("spec", "egressIP", named)),),
        )


def _optional_selector(
    document: Document, applied: Mapping[str, Any], key: str, found: Collector
) -> LabelSelector | None:
    if key not in applied:
        return None
    return values.selector(document, ("spec", "appliedTo", key), applied[key], found)


def _stands_for_nothing(applied: Mapping[str, Any]) -> bool:
    """Whether ``podSelector`` is empty beside a podSubnet: exports have it, and it counts as absent."""
    return bool(applied.get("podSubnet")) and not any((applied.get("podSelector") or {}).values())


def _check_source(document: Document, applied: Mapping[str, Any], found: Collector) -> None:
    """Exactly one of podSelector and podSubnet, and not empty."""
    path = ("spec", "appliedTo")
    if document.faulty(*path):
        return
    by_label, by_subnet = applied.get("podSelector"), applied.get("podSubnet")
    if by_label is not None and by_subnet and not _stands_for_nothing(applied):
        found.error(
            "two-sources",
            "podSelector and podSubnet exclude each other",
            document.key_at(*path, "podSubnet"),
            hint="keep one of them; for both sorts of sources write two policies",
            related=(Related("the other is here", document.key_at(*path, "podSelector")),),
        )
    elif not by_subnet and not (by_label and (by_label.get("matchLabels") or by_label.get("matchExpressions"))):
        empty = "podSelector" if by_label is not None else "podSubnet" if by_subnet is not None else ""
        found.error(
            "no-source",
            f"{empty} is empty: the policy applies to no pod" if empty else "appliedTo names no pods",
            document.key_at(*path, *filter(None, [empty])),
            hint="give podSelector.matchLabels, podSelector.matchExpressions or podSubnet",
        )


def _cluster_info(document: Document, name: str, found: Collector) -> ClusterInfo:
    no_namespace(document, "EgressClusterInfo", found)
    if name != "default" and not document.faulty("metadata", "name"):
        found.error(
            "cluster-info-name",
            f"there is one EgressClusterInfo, and its name is 'default', not {quoted(name)}",
            document.at("metadata", "name"),
            hint="name it default",
        )
    data: Any = document.data
    spec = data.get("spec", {})
    detect = spec.get("autoDetect", {})
    path = ("spec", "extraCidr")
    return ClusterInfo(
        node_ip=detect.get("nodeIP", True),
        cluster_ip=detect.get("clusterIP", True),
        pod_cidr_mode=detect.get("podCidrMode", "auto"),
        extra=values.spans(document, path, spec.get("extraCidr", ()), found, takes=values.CIDRS),
        document=document,
    )
