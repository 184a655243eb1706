"""Uplinks besides the main one, as settings and inventory write them: devices with their own subnets and next hops."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from egress_compiler.contract.numbers import MAX_UPLINK
from egress_compiler.diagnostics import listing, quoted
from egress_compiler.document import Path
from egress_compiler.model.settings import FurtherUplink
from egress_compiler.net import (
    FAMILIES,
    AddressError,
    Family,
    Interval,
    Intervals,
    contains,
    format_address,
    format_interval,
    intersect,
    parse_address,
    parse_span,
    union,
)

INTERFACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,14}")
MOST = MAX_UPLINK - 1
"""Further uplinks of a node."""

_GATEWAYS: Mapping[Family, str] = {4: "ipv4Gateway", 6: "ipv6Gateway"}
_KEYS = ("interface", "cidrs", *_GATEWAYS.values())
_LINK_LOCAL = parse_span("fe80::/10").interval
_NONE: Mapping[Family, Intervals] = {4: (), 6: ()}


class Problem(NamedTuple):
    """What is wrong with the value at ``path`` of the list, and what would be right."""

    path: Path
    message: str
    hint: str


class _Invalid(Exception):
    def __init__(self, path: Path, message: str, hint: str = "") -> None:
        self.problem = Problem(path, message, hint)


def parse_further(value: object) -> tuple[tuple[FurtherUplink, ...], tuple[Problem, ...]]:
    """The uplinks of a list as YAML has it, sorted by device, and all that is wrong; what is wrong is left out."""
    if not isinstance(value, Sequence) or isinstance(value, str):
        return (), (Problem((), "a list of uplinks is wanted", "such as [{interface: vlan20, cidrs: [10.20.0.0/24]}]"),)
    found: list[FurtherUplink] = []
    problems = []
    if len(value) > MOST:
        problems.append(Problem((), f"{len(value)} uplinks, and a node has at most {MOST} further ones", ""))
    for index, item in enumerate(value):
        try:
            uplink = _uplink(item, (index,))
            _check_against(found, uplink, (index,))
            found.append(uplink)
        except _Invalid as invalid:
            problems.append(invalid.problem)
    return tuple(sorted(found, key=lambda uplink: uplink.interface)), tuple(problems)


def parse_gateways(
    value: object, cidrs: Mapping[Family, Intervals]
) -> tuple[Mapping[Family, str], tuple[Problem, ...]]:
    """The next hops of the main uplink's subnets by family, and all that is wrong; what is wrong is left out."""
    if not isinstance(value, Mapping):
        return {}, (Problem((), "next hops by family are wanted", "such as {ipv4: 10.6.1.1}"),)
    names: Mapping[str, Family] = {"ipv4": 4, "ipv6": 6}
    found: dict[Family, str] = {}
    problems = []
    for key, given in value.items():
        family = names.get(str(key))
        try:
            if family is None:
                raise _Invalid((key,), f"{quoted(str(key))} is no family", "use ipv4 and ipv6")
            if not cidrs[family]:
                message = f"the IPv{family} subnets of the uplink are not known, and the next hop is in one of them"
                raise _Invalid(
                    (key,), message, "name them: egress_uplink_cidrs in the inventory, uplinkCIDRs in the settings"
                )
            found[family] = _gateway(given, family, cidrs[family], (key,))
        except _Invalid as invalid:
            problems.append(invalid.problem)
    return found, tuple(problems)


class Clash(NamedTuple):
    """The further uplink that does not fit beside the main one, and why."""

    interface: str
    message: str


def clash(interface: str, cidrs: Mapping[Family, Intervals], further: Sequence[FurtherUplink]) -> Clash | None:
    """The first that does not fit; None where all do."""
    for uplink in further:
        if uplink.interface == interface:
            return Clash(interface, f"{interface} is the node's main uplink, and a further one is another device")
        if shared := _shared(uplink.cidrs, cidrs):
            message = f"{shared} of {uplink.interface} is in a subnet of the main uplink {interface}, too"
            return Clash(uplink.interface, message)
    return None


def _uplink(item: object, path: Path) -> FurtherUplink:
    if not isinstance(item, Mapping):
        raise _Invalid(path, "an uplink is a mapping", f"with the keys {', '.join(_KEYS)}")
    unknown = sorted(str(key) for key in item if key not in _KEYS)
    if unknown:
        raise _Invalid(path, f"an uplink has no {listing([quoted(key) for key in unknown])}", f"use {', '.join(_KEYS)}")
    interface = item.get("interface")
    if not isinstance(interface, str) or not INTERFACE.fullmatch(interface):
        hint = "interface: at most 15 letters, digits and _ . @ -"
        raise _Invalid((*path, "interface"), f"{quoted(str(interface))} is not the name of a network device", hint)
    cidrs = _cidrs(item.get("cidrs"), (*path, "cidrs"))
    gateways = {f: _gateway(item[key], f, cidrs[f], (*path, key)) for f, key in _GATEWAYS.items() if key in item}
    return FurtherUplink(str(interface), cidrs, gateways)


def _cidrs(value: object, path: Path) -> Mapping[Family, Intervals]:
    gathered: dict[Family, list[Interval]] = {4: [], 6: []}
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise _Invalid(path, "the subnets of the uplink are missing", "cidrs: a list of CIDRs, such as [10.20.0.0/24]")
    for index, text in enumerate(value):
        try:
            span = parse_span(str(text), ranges=False)
        except AddressError as problem:
            raise _Invalid((*path, index), str(problem), "write a CIDR, such as 10.20.0.0/24") from None
        if span.prefix is None:
            raise _Invalid((*path, index), f"{quoted(str(text))} is not a CIDR", "add the prefix length")
        gathered[span.family].append(span.interval)
    return {family: union(gathered[family]) for family in FAMILIES}


def _gateway(value: object, family: Family, cidrs: Intervals, path: Path) -> str:
    try:
        address = parse_address(str(value))
    except AddressError as problem:
        raise _Invalid(path, str(problem), f"write the IPv{family} address of the next hop") from None
    if address.family != family:
        raise _Invalid(path, f"{quoted(str(value))} is not an IPv{family} address")
    link_local = family == 6 and contains((_LINK_LOCAL,), address.value)
    if not link_local and not contains(cidrs, address.value):
        raise _Invalid(path, f"the next hop {value} is in none of the uplink's cidrs", "add its subnet to cidrs")
    return format_address(family, address.value)


def _check_against(others: Sequence[FurtherUplink], uplink: FurtherUplink, path: Path) -> None:
    for other in others:
        if other.interface == uplink.interface:
            raise _Invalid((*path, "interface"), f"{uplink.interface} is there twice", "join the two")
        if shared := _shared(uplink.cidrs, other.cidrs):
            message = f"{shared} is in the subnets of {other.interface} and of {uplink.interface}"
            raise _Invalid((*path, "cidrs"), message, "an address is reached by one uplink")


def _shared(left: Mapping[Family, Intervals], right: Mapping[Family, Intervals]) -> str:
    both = ((f, i) for f in FAMILIES for i in intersect(left[f], right[f]))
    return next((format_interval(family, interval) for family, interval in both), "")
