"""An EgressGateway's pools: what each item means, and that no address stands in two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from egress_compiler.diagnostics import Collector, Related, quoted
from egress_compiler.document import Document, Path
from egress_compiler.labels import LabelSelector
from egress_compiler.model.policy import RELEASED_KEY, Gateway, Item
from egress_compiler.net import (
    FAMILIES,
    Family,
    Interval,
    Intervals,
    contains,
    format_address,
    format_interval,
    intersect,
    size,
    union,
)
from egress_compiler.validate import values
from egress_compiler.validate.objects import FALLBACK_KEY, description, no_namespace
from egress_compiler.validate.pools import Special, impossible, pool_hint, usable


def gateway(document: Document, name: str, found: Collector) -> Gateway:
    """The gateway that the document says; what is wrong with it is reported and left out."""
    data: Any = document.data
    no_namespace(document, "EgressGateway", found)
    spec = data.get("spec", {})
    pools = spec.get("ippools", {})
    errors = found.errors
    items = {family: _pool_items(document, family, pools.get(f"ipv{family}", ()), found) for family in FAMILIES}
    pool = {family: union(item.interval for item in items[family]) for family in FAMILIES}
    whole = found.errors == errors and not document.faulty("spec", "ippools")
    default: dict[Family, int | None] = {4: None, 6: None}
    if whole:
        for family in FAMILIES:
            default[family] = _default_eip(document, family, pools.get(f"ipv{family}DefaultEIP", ""), pool, found)
        _check_pairing(document, pool, found)
    return Gateway(
        name=name,
        description=description(data),
        pool=pool,
        default_eip=default,
        node_selector=_node_selector(document, spec.get("nodeSelector", {}), found),
        cluster_default=spec.get("clusterDefault", False),
        falls_back=_falls_back(document, found),
        released=_released(document, pool, found),
        document=document,
        pool_items=items,
    )


def _falls_back(document: Document, found: Collector) -> bool:
    data: Any = document.data
    value = data.get("metadata", {}).get("annotations", {}).get(FALLBACK_KEY, "block")
    if value not in ("block", "nodeIP"):
        found.error(
            "fallback",
            f"{quoted(value)} is nothing that can be done without a gateway",
            document.at("metadata", "annotations", FALLBACK_KEY),
            hint="write block, or nodeIP",
        )
    return bool(value == "nodeIP")


def _released(document: Document, pool: Mapping[Family, Intervals], found: Collector) -> Mapping[Family, Intervals]:
    """The addresses that the annotation gives up: policies that leave with them get others."""
    data: Any = document.data
    text = data.get("metadata", {}).get("annotations", {}).get(RELEASED_KEY, "")
    path = ("metadata", "annotations", RELEASED_KEY)
    gathered: dict[Family, list[Interval]] = {4: [], 6: []}
    for item in filter(None, (part.strip() for part in text.split(","))):
        span = values.span(document, path, item, found)
        if span is None:
            continue
        gathered[span.family].append(span.interval)
        still = intersect((span.interval,), pool[span.family])
        if still:
            found.warning(
                "released-in-pool",
                f"{format_interval(span.family, still[0])} is released, and still in the pool",
                document.at(*path),
                hint=f"take it out of ippools.ipv{span.family}, or out of the annotation",
            )
    return {family: union(gathered[family]) for family in FAMILIES}


def _node_selector(document: Document, data: Mapping[str, Any], found: Collector) -> LabelSelector:
    path = ("spec", "nodeSelector", "selector")
    selector = values.selector(document, path, data.get("selector", {}), found)
    if selector.empty and not document.faulty(*path):
        found.error(
            "empty-selector",
            "the node selector is empty: it would make every node a gateway",
            document.key_at(*path),
            hint="name the gateway nodes, such as 'matchLabels: {egress: \"true\"}'",
        )
    return selector


def _pool_items(document: Document, family: Family, items: Sequence[Any], found: Collector) -> tuple[Item, ...]:
    gathered: list[Item] = []
    for index, text in values.texts(items):
        path = ("spec", "ippools", f"ipv{family}", index)
        span = values.span(document, path, text, found)
        if span is None:
            continue
        if span.family != family:
            hint = f"put it under ippools.ipv{span.family}"
            found.error("wrong-family", f"{quoted(text)} is not IPv{family}", document.at(*path), hint=hint)
        elif (special := impossible(span)) is not None:
            _report_impossible(document, path, text, special, found)
        else:
            gathered.append(Item(path, text, family, usable(span)))
    return tuple(gathered)


def _report_impossible(document: Document, path: Path, text: str, special: Special, found: Collector) -> None:
    message = f"{quoted(text)} cannot be an egress address: {special.text} is {special.name}"
    found.error("eip-impossible", message, document.at(*path), hint="take addresses of the gateway's network")


def _default_eip(
    document: Document, family: Family, text: str, pool: Mapping[Family, Intervals], found: Collector
) -> int | None:
    if not text:
        return None
    path = ("spec", "ippools", f"ipv{family}DefaultEIP")
    value = values.address(document, path, text, family, found)
    if value is not None and not contains(pool[family], value):
        found.error(
            "not-in-pool",
            f"the default EIP {text} is not in the pool ippools.ipv{family}",
            document.at(*path),
            hint=pool_hint(family, pool[family]),
        )
        return None
    return value


def _check_pairing(document: Document, pool: Mapping[Family, Intervals], found: Collector) -> None:
    four, six = size(pool[4]), size(pool[6])
    if not four or not six:
        return
    if four != six:
        found.error(
            "pool-pairing",
            f"the n-th IPv4 address pairs with the n-th IPv6 address, but ipv4 has {four:,} and ipv6 has {six:,}",
            document.key_at("spec", "ippools", "ipv6"),
            hint="give both the same number of addresses, or leave one empty; of an IPv4 CIDR the network and the "
            "broadcast address do not count",
            related=(Related("the IPv4 pool", document.key_at("spec", "ippools", "ipv4")),),
        )


def check_pools_apart(gateways: Sequence[Gateway], found: Collector) -> None:
    """An error for every item that shares an address with another gateway's; of the two the one that stands later."""
    for family in FAMILIES:
        items = sorted(
            (item.interval, number, item.path) for number, one in enumerate(gateways) for item in one.pool_items[family]
        )
        # Of every gateway the item that reaches furthest; those that end before the item at hand are taken out.
        open_items: dict[int, tuple[Interval, Path]] = {}
        for interval, number, path in items:
            open_items = {n: entry for n, entry in open_items.items() if entry[0].last >= interval.first}
            for other, (_, other_path) in open_items.items():
                if other != number:
                    pair = ((gateways[other], other_path), (gateways[number], path))
                    _report_shared(family, interval.first, pair, found)
            if number not in open_items or open_items[number][0].last < interval.last:
                open_items[number] = (interval, path)


def _report_shared(
    family: Family, value: int, pair: tuple[tuple[Gateway, Path], tuple[Gateway, Path]], found: Collector
) -> None:
    placed = [(one.document.at(*path), one.name) for one, path in pair]
    (first, one), (second, other) = sorted(placed, key=lambda p: (p[0].source.name, p[0].line, p[0].column))
    found.error(
        "pool-overlap",
        f"{format_address(family, value)} is in the pools of both {quoted(one)} and {quoted(other)}",
        second,
        hint="an egress address belongs to one EgressGateway",
        related=(Related(f"in the pool of {quoted(one)}", first),),
    )


def check_one_default(gateways: Sequence[Gateway], found: Collector) -> None:
    """At most one gateway is the cluster's default."""
    path = ("spec", "clusterDefault")
    defaults = sorted(
        (one for one in gateways if one.cluster_default),
        key=lambda one: (one.document.source.name, one.document.at(*path).line),
    )
    for other in defaults[1:]:
        found.error(
            "two-cluster-defaults",
            f"both {quoted(defaults[0].name)} and {quoted(other.name)} are the cluster default",
            other.document.at(*path),
            hint="set clusterDefault: true on one EgressGateway only",
            related=(Related("the other is here", defaults[0].document.at(*path)),),
        )
