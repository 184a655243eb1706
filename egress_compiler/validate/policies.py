"""Documents to a PolicySet: what each object means on its own, and that no name stands twice."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from egress_compiler.diagnostics import Collector, Related, nearest, quoted
from egress_compiler.document import Document
from egress_compiler.model.policy import (
    CLUSTER_PRIORITY,
    NAMESPACED_PRIORITY,
    ClusterInfo,
    Gateway,
    Policy,
    PolicySet,
    Ref,
)
from egress_compiler.net import (
    FAMILIES,
    Family,
    Interval,
    Intervals,
    contains,
    format_address,
    intersect,
    nth,
    rank,
    size,
    union,
)
from egress_compiler.validate import values
from egress_compiler.validate.shape import check_shape, without_nulls

SCHEMAS = {
    "EgressGateway": "egressgateway",
    "EgressPolicy": "egresspolicy",
    "EgressClusterPolicy": "egressclusterpolicy",
    "EgressClusterInfo": "egressclusterinfo",
}
GENERATED_KINDS = frozenset({"EgressEndpointSlice", "EgressClusterEndpointSlice", "EgressTunnel"})
DESCRIPTION_KEYS = ("egressgateway.spidernet.io/description", "description")


def validate_policies(documents: Sequence[Document], found: Collector) -> PolicySet:
    """The objects without errors of their own, sorted; every error and warning goes to ``found``."""
    gateways: list[Gateway] = []
    policies: list[Policy] = []
    info = ClusterInfo()
    refused: set[str] = set()
    for document in _unique(_known(documents, found), found):
        data: Any = document.data
        kind = data["kind"]
        shaped = check_shape(document, SCHEMAS[kind], found)
        if not shaped:
            if kind == "EgressGateway":
                refused.add(_name(data))
            continue
        if kind == "EgressGateway":
            gateways.append(_gateway(document, data, found))
        elif kind == "EgressClusterInfo":
            info = _cluster_info(document, data, found)
        else:
            policy = _policy(document, data, found)
            if policy is not None:
                policies.append(policy)
    gateways.sort(key=lambda gateway: gateway.name)
    _check_pools_apart(gateways, found)
    _check_one_default(gateways, found)
    policies.sort(key=lambda policy: policy.ref)
    return PolicySet(tuple(gateways), tuple(policies), info, frozenset(refused))


def _name(data: Mapping[str, Any]) -> str:
    metadata = data.get("metadata")
    return str(metadata.get("name", "")) if isinstance(metadata, dict) else ""


def _known(documents: Iterable[Document], found: Collector) -> list[Document]:
    known: list[Document] = []
    for document in documents:
        data: Any = without_nulls(document.data)
        kind = data.get("kind")
        if isinstance(kind, str) and kind in SCHEMAS:
            known.append(Document(document.source, data, document.places, document.root))
        elif kind in GENERATED_KINDS:
            continue
        elif kind is None:
            found.error("missing-field", "the document has no 'kind'", document.at())
        else:
            hint = nearest(str(kind), SCHEMAS) or f"known kinds: {', '.join(SCHEMAS)}"
            found.error("unknown-kind", f"unknown kind {quoted(str(kind))}", document.at("kind"), hint=hint)
    return known


def _unique(documents: Iterable[Document], found: Collector) -> list[Document]:
    seen: dict[Ref, Document] = {}
    for document in documents:
        data: Any = document.data
        metadata = data.get("metadata")
        namespace = metadata.get("namespace", "") if isinstance(metadata, dict) else ""
        ref = Ref(data["kind"], str(namespace), _name(data))
        first = seen.get(ref)
        if first is not None and ref.name:
            place = document.at("metadata", "name")
            related = (Related("first defined here", first.at("metadata", "name")),)
            found.error("duplicate-object", f"{ref} is defined twice", place, related=related)
        else:
            seen[ref if ref.name else Ref(ref.kind, str(len(seen)), "")] = document
    return list(seen.values())


def _description(data: Mapping[str, Any]) -> str:
    annotations = data["metadata"].get("annotations", {})
    text = next((annotations[key] for key in DESCRIPTION_KEYS if annotations.get(key)), "")
    return " ".join(str(text).split())


def _no_namespace(document: Document, data: Mapping[str, Any], found: Collector) -> None:
    if "namespace" in data["metadata"]:
        found.error(
            "cluster-scoped",
            f"{data['kind']} is cluster-scoped and has no namespace",
            document.key_at("metadata", "namespace"),
            hint="leave the field out",
        )


def _gateway(document: Document, data: Mapping[str, Any], found: Collector) -> Gateway:
    _no_namespace(document, data, found)
    spec = data["spec"]
    pools = spec.get("ippools", {})
    pool: dict[Family, Intervals] = {}
    default: dict[Family, int | None] = {}
    for family in FAMILIES:
        pool[family] = _pool(document, family, pools.get(f"ipv{family}", ()), found)
        default[family] = _default_eip(document, family, pools.get(f"ipv{family}DefaultEIP", ""), pool[family], found)
    counts = {family: size(pool[family]) for family in FAMILIES}
    if counts[4] and counts[6] and counts[4] != counts[6]:
        found.error(
            "pool-pairing",
            f"the pools cannot be paired: {counts[4]} IPv4 and {counts[6]} IPv6 addresses",
            document.at("spec", "ippools"),
            hint="give both lists the same number of addresses, or leave one empty",
        )
    four, six = default[4], default[6]
    if counts[4] == counts[6] and four is not None and six is not None and rank(pool[4], four) != rank(pool[6], six):
        found.error(
            "not-a-pair",
            "ipv4DefaultEIP and ipv6DefaultEIP are no pair",
            document.at("spec", "ippools", "ipv6DefaultEIP"),
            hint=f"the partner is {format_address(6, nth(pool[6], rank(pool[4], four)))}",
        )
    node_selector = values.selector(
        document, ("spec", "nodeSelector", "selector"), spec["nodeSelector"]["selector"], found
    )
    if node_selector.empty:
        found.error(
            "empty-selector",
            "the node selector selects every node",
            document.at("spec", "nodeSelector", "selector"),
            hint="name the gateway nodes by matchLabels or matchExpressions",
        )
    return Gateway(
        name=_name(data),
        description=_description(data),
        pool=pool,
        default_eip=default,
        node_selector=node_selector,
        cluster_default=spec.get("clusterDefault", False),
        document=document,
    )


def _pool(document: Document, family: Family, texts: Sequence[str], found: Collector) -> Intervals:
    usable: list[Interval] = []
    for index, text in enumerate(texts):
        path = ("spec", "ippools", f"ipv{family}", index)
        span = values.span(document, path, text, found)
        if span is None:
            continue
        if span.family != family:
            found.error("wrong-family", f"{quoted(text)} is not IPv{family}", document.at(*path))
            continue
        first, last = span.interval
        if family == 4 and span.prefix is not None and last - first >= 2:
            first, last = first + 1, last - 1
        usable.append(Interval(first, last))
    return union(usable)


def _default_eip(document: Document, family: Family, text: str, pool: Intervals, found: Collector) -> int | None:
    if not text:
        return None
    path = ("spec", "ippools", f"ipv{family}DefaultEIP")
    value = values.address(document, path, text, family, found)
    if value is not None and not contains(pool, value):
        found.error("not-in-pool", f"the default EIP {text} is not in the pool ippools.ipv{family}", document.at(*path))
        return None
    return value


def _policy(document: Document, data: Mapping[str, Any], found: Collector) -> Policy | None:
    spec, kind = data["spec"], data["kind"]
    cluster = kind == "EgressClusterPolicy"
    if cluster:
        _no_namespace(document, data, found)
    namespace = "" if cluster else data["metadata"].get("namespace", "default")
    if not cluster and "namespace" not in data["metadata"]:
        found.warning(
            "no-namespace",
            f"EgressPolicy {_name(data)} names no namespace and is read as one of 'default'",
            document.at("metadata"),
        )
    egress_ip = spec.get("egressIP", {})
    eip = {
        family: values.address(document, ("spec", "egressIP", f"ipv{family}"), text, family, found)
        if (text := egress_ip.get(f"ipv{family}", ""))
        else None
        for family in FAMILIES
    }
    use_node_ip = egress_ip.get("useNodeIP", False)
    if use_node_ip and any(value is not None for value in eip.values()):
        found.error(
            "node-ip-and-eip",
            "useNodeIP and an address exclude each other",
            document.key_at("spec", "egressIP", "useNodeIP"),
            hint="leave out useNodeIP, or ipv4 and ipv6",
        )
    destinations = spec.get("destSubnet", ())
    applied = spec["appliedTo"]
    source_good = _check_source(document, applied, found)
    policy = Policy(
        ref=Ref(kind, namespace, _name(data)),
        description=_description(data),
        gateway=spec.get("egressGatewayName") or None,
        eip=eip,
        allocator=egress_ip.get("allocatorPolicy", "default"),
        use_node_ip=use_node_ip,
        pod_selector=_optional_selector(document, applied, "podSelector", found),
        pod_subnets=(
            values.spans(document, ("spec", "appliedTo", "podSubnet"), applied["podSubnet"], found, ranges=False)
            if applied.get("podSubnet")
            else None
        ),
        namespace_selector=_optional_selector(document, applied, "namespaceSelector", found),
        destinations=values.spans(document, ("spec", "destSubnet"), destinations, found) if destinations else None,
        priority=spec.get("priority", CLUSTER_PRIORITY if cluster else NAMESPACED_PRIORITY),
        document=document,
    )
    return policy if source_good else None


def _optional_selector(document: Document, applied: Mapping[str, Any], key: str, found: Collector) -> Any:
    if key not in applied:
        return None
    return values.selector(document, ("spec", "appliedTo", key), applied[key], found)


def _check_source(document: Document, applied: Mapping[str, Any], found: Collector) -> bool:
    """Exactly one of podSelector and podSubnet, and not empty."""
    by_label = applied.get("podSelector")
    by_subnet = applied.get("podSubnet")
    where = document.key_at("spec", "appliedTo")
    if by_label and by_subnet:
        found.error(
            "two-sources",
            "podSelector and podSubnet exclude each other",
            document.key_at("spec", "appliedTo", "podSubnet"),
            hint="keep one of them",
            related=(Related("the other is here", document.key_at("spec", "appliedTo", "podSelector")),),
        )
        return False
    if not by_subnet and not (by_label and (by_label.get("matchLabels") or by_label.get("matchExpressions"))):
        found.error(
            "no-source",
            "the policy applies to nothing: neither podSelector nor podSubnet says anything",
            where,
            hint="give podSelector.matchLabels, podSelector.matchExpressions or podSubnet",
        )
        return False
    return True


def _cluster_info(document: Document, data: Mapping[str, Any], found: Collector) -> ClusterInfo:
    _no_namespace(document, data, found)
    if _name(data) != "default":
        found.error(
            "cluster-info-name",
            "there is one EgressClusterInfo, and its name is 'default'",
            document.at("metadata", "name"),
        )
    spec = data["spec"]
    detect = spec.get("autoDetect", {})
    return ClusterInfo(
        node_ip=detect.get("nodeIP", True),
        cluster_ip=detect.get("clusterIP", True),
        pod_cidr_mode=detect.get("podCidrMode", "auto"),
        extra=values.spans(document, ("spec", "extraCidr"), spec.get("extraCidr", ()), found),
        document=document,
    )


def _check_pools_apart(gateways: Sequence[Gateway], found: Collector) -> None:
    for family in FAMILIES:
        owned = sorted((interval, gateway.name, gateway) for gateway in gateways for interval in gateway.pool[family])
        for (left, _, one), (right, _, other) in pairwise(owned):
            shared = intersect((left,), (right,))
            if shared:
                address = format_address(family, shared[0].first)
                found.error(
                    "pool-overlap",
                    f"{address} is in the pools of both {quoted(one.name)} and {quoted(other.name)}",
                    other.document.at("spec", "ippools", f"ipv{family}"),
                    related=(Related("also in this pool", one.document.at("spec", "ippools", f"ipv{family}")),),
                )


def _check_one_default(gateways: Sequence[Gateway], found: Collector) -> None:
    defaults = [gateway for gateway in gateways if gateway.cluster_default]
    for other in defaults[1:]:
        found.error(
            "two-cluster-defaults",
            f"both {quoted(defaults[0].name)} and {quoted(other.name)} are the cluster default",
            other.document.at("spec", "clusterDefault"),
            related=(Related("the other is here", defaults[0].document.at("spec", "clusterDefault")),),
        )
