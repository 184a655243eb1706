"""The settings file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from egress_compiler.diagnostics import Collector
from egress_compiler.document import Document
from egress_compiler.load.files import read_source
from egress_compiler.load.marks import parse_foreign_marks
from egress_compiler.load.pod_start import parse_gate
from egress_compiler.load.uplinks import clash, parse_further, parse_gateways
from egress_compiler.load.yaml_text import parse_yaml
from egress_compiler.model.settings import (
    FurtherUplink,
    MembershipSettings,
    Settings,
    SyncSettings,
    TunnelSettings,
    UnknownPods,
    UnmanagedNodes,
    VrrpSettings,
)
from egress_compiler.net import (
    FAMILIES,
    Address,
    AddressError,
    Family,
    Interval,
    Intervals,
    Span,
    contains,
    format_address,
    parse_address,
    parse_span,
)
from egress_compiler.validate import values
from egress_compiler.validate.pools import impossible
from egress_compiler.validate.shape import check_shape

MULTICAST: Mapping[Family, Intervals] = {
    4: (parse_span("224.0.0.0/4").interval,),
    6: (parse_span("ff00::/8").interval,),
}
UNDERLAYS: Mapping[str, Family] = {"ipv4": 4, "ipv6": 6}
SMALLEST_TUNNEL_SUBNET = 16
"""Addresses: network, broadcast, and a few nodes and slots between them."""


def load_settings(path: Path | None, found: Collector) -> Settings:
    """The settings of the file, defaults where it says nothing or there is none."""
    if path is None:
        return Settings()
    errors = found.errors
    source = read_source(path, found)
    documents = parse_yaml(source, found) if source is not None else ()
    for other in documents[1:]:
        found.error(
            "two-documents", "this is a second document, and a settings file has one", other.at(), hint="join them"
        )
    settings = _settings(check_shape(documents[0], "settings", found), found) if documents else Settings()
    if found.errors > errors:
        found.missing("settings")
    return settings


def _settings(document: Document, found: Collector) -> Settings:
    data: Any = document.data if isinstance(document.data, dict) else {}
    defaults, tunnel, vrrp = Settings(), data.get("tunnel", {}), data.get("vrrp", {})
    sync, unknown = data.get("connectionSync", {}), data.get("unknownPods", {})
    subnets, prefixes = dict(defaults.tunnel.subnets), dict(defaults.tunnel.prefixes)
    for family in (4, 6):
        _tunnel_subnet(document, tunnel, family, subnets, prefixes, found)
    service_cidrs, pod_cidrs, uplink_cidrs = (
        values.spans(document, (key,), data.get(key, ()), found, takes=values.CIDRS_ONLY)
        for key in ("serviceCIDRs", "podCIDRs", "uplinkCIDRs")
    )
    return Settings(
        interface=data.get("interface", defaults.interface),
        uplink_mtu=data.get("uplinkMTU", defaults.uplink_mtu),
        endpoint_slice_size=data.get("endpointSliceSize", defaults.endpoint_slice_size),
        service_cidrs=service_cidrs,
        pod_cidrs=pod_cidrs,
        uplink_cidrs=uplink_cidrs,
        uplink_gateways=_uplink_gateways(document, data, uplink_cidrs, found),
        gateway_reply_route=data.get("gatewayReplyRoute", defaults.gateway_reply_route),
        foreign_marks=(
            parse_foreign_marks(document, data["foreignMarks"], found)
            if "foreignMarks" in data
            else defaults.foreign_marks
        ),
        quarantine=data.get("quarantine"),
        further_uplinks=_further(document, data, uplink_cidrs, found),
        tunnel=TunnelSettings(
            vni=tunnel.get("vni", defaults.tunnel.vni),
            port=tunnel.get("port", defaults.tunnel.port),
            subnets=subnets,
            prefixes=prefixes,
            mtu=tunnel.get("mtu"),
            underlay=UNDERLAYS.get(tunnel.get("underlay", "")),
        ),
        vrrp=VrrpSettings(
            advert_ms=vrrp.get("advertIntervalMs", defaults.vrrp.advert_ms),
            first_vrid=vrrp.get("firstVRID", defaults.vrrp.first_vrid),
            gateways_per_slot=vrrp.get("gatewaysPerSlot", defaults.vrrp.gateways_per_slot),
            preempt=vrrp.get("preempt", defaults.vrrp.preempt),
        ),
        sync=SyncSettings(
            enabled=sync.get("enabled", defaults.sync.enabled),
            port=sync.get("port", defaults.sync.port),
            groups=_groups(document, sync, defaults.sync.groups, found),
        ),
        unknown_pods=UnknownPods(
            cidrs=values.spans(
                document,
                ("unknownPods", "blockedCIDRs"),
                unknown.get("blockedCIDRs", ()),
                found,
                takes=values.CIDRS_ONLY,
            ),
            named=tuple(unknown.get("blockedNodes", ())),
        ),
        unmanaged=_unmanaged(document, data.get("unmanagedNodes", {}), found),
        node_addresses=_node_addresses(document, data.get("nodeAddresses", {}), found),
        membership=MembershipSettings(
            followed=data.get("membership") == "followed",
            kubeconfig=data.get("follower", {}).get("kubeconfig", ""),
            gate=parse_gate(document, data, found),
        ),
        document=document,
    )


def _unmanaged(document: Document, data: Mapping[str, Any], found: Collector) -> UnmanagedNodes:
    path = ("unmanagedNodes", "selector")
    selector = values.selector(document, path, data["selector"], found) if "selector" in data else None
    if selector is not None and selector.empty and not document.faulty(*path):
        hint = "write matchLabels or matchExpressions, or leave it out"
        found.error("empty-selector", "the selector is empty: no node would be managed", document.at(*path), hint=hint)
    return UnmanagedNodes(tuple(data.get("names", ())), selector)


def _node_addresses(document: Document, data: Mapping[str, Any], found: Collector) -> Mapping[str, tuple[Address, ...]]:
    """By node, in their order; an address that no tunnel can run over is an error, as somebody wrote it on purpose."""
    return {
        name: tuple(
            address
            for index, text in values.texts(texts)
            if (address := _node_address(document, ("nodeAddresses", name, index), text, found)) is not None
        )
        for name, texts in sorted(data.items())
    }


def _node_address(document: Document, path: tuple[str | int, ...], text: str, found: Collector) -> Address | None:
    try:
        address = parse_address(text)
    except AddressError as problem:
        found.error("bad-address", str(problem), document.at(*path), hint="write an address of the node")
        return None
    special = impossible(Span(address.family, Interval(address.value, address.value), None, False))
    if special is not None:
        message = f"{text} is {special.name}, and no tunnel can run over it"
        found.error("node-address", message, document.at(*path), hint="write an address that other nodes reach")
        return None
    return address


def _further(
    document: Document, data: Mapping[str, Any], uplink_cidrs: Mapping[Family, Intervals], found: Collector
) -> tuple[FurtherUplink, ...]:
    if "uplinks" not in data or document.faulty("uplinks"):
        return ()
    further, problems = parse_further(data["uplinks"])
    for problem in problems:
        found.error("uplinks", problem.message, document.at("uplinks", *problem.path), hint=problem.hint)
    if misfit := clash(data.get("interface", Settings().interface), uplink_cidrs, further):
        given = [item.get("interface") if isinstance(item, dict) else None for item in data["uplinks"]]
        index = given.index(misfit.interface)
        place = document.at("uplinks", index, "interface")
        found.error("uplinks", misfit.message, place, hint="uplinks lists what a node has besides interface")
    return further


def _uplink_gateways(
    document: Document, data: Mapping[str, Any], uplink_cidrs: Mapping[Family, Intervals], found: Collector
) -> Mapping[Family, str]:
    if "uplinkGateways" not in data or document.faulty("uplinkGateways"):
        return {}
    gateways, problems = parse_gateways(data["uplinkGateways"], uplink_cidrs)
    for problem in problems:
        found.error("uplinks", problem.message, document.at("uplinkGateways", *problem.path), hint=problem.hint)
    return gateways


def _groups(
    document: Document, sync: Mapping[str, Any], groups: Mapping[Family, str], found: Collector
) -> Mapping[Family, str]:
    chosen = dict(groups)
    for family in FAMILIES:
        key = f"ipv{family}Group"
        if key not in sync:
            continue
        value = values.address(document, ("connectionSync", key), sync[key], family, found)
        if value is not None and not contains(MULTICAST[family], value):
            found.error(
                "sync-group",
                f"connectionSync.{key} must be an IPv{family} multicast address",
                document.at("connectionSync", key),
                hint=f"such as {groups[family]}",
            )
        elif value is not None:
            chosen[family] = format_address(family, value)
    return chosen


def _tunnel_subnet(
    document: Document,
    tunnel: Mapping[str, Any],
    family: Family,
    subnets: dict[Family, Interval],
    prefixes: dict[Family, int],
    found: Collector,
) -> None:
    key = f"ipv{family}Subnet"
    if key not in tunnel:
        return
    span = values.span(document, ("tunnel", key), tunnel[key], found, takes=values.CIDRS)
    if span is None:
        return
    size = span.interval.last - span.interval.first + 1
    if span.family != family or span.prefix is None or size < SMALLEST_TUNNEL_SUBNET:
        found.error(
            "tunnel-subnet",
            f"tunnel.{key} must be an IPv{family} CIDR of {SMALLEST_TUNNEL_SUBNET} addresses or more",
            document.at("tunnel", key),
            hint="it needs an address for every node and one for every slot (gateway and preferred node)",
        )
        return
    subnets[family], prefixes[family] = span.interval, span.prefix
