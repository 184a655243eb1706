"""What a node reports as its addresses, judged one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from egress_compiler.fleet.traces import Traces
from egress_compiler.model.cluster import Node, ReportedAddress
from egress_compiler.model.policy import Gateway
from egress_compiler.net import Address, Family, Interval, Intervals, Span, contains
from egress_compiler.validate.pools import impossible

UNINITIALISED = "node.cloudprovider.kubernetes.io/uninitialized"
"""Taint of a node that its cloud provider has not looked at yet: what it reports is not the last word."""


class Refused(NamedTuple):
    """An address that is no tunnel's end, whatever else the node has; ``why`` ends a sentence about it."""

    entry: ReportedAddress
    why: str


class Trace(NamedTuple):
    """An address that we put on the node ourselves: an EIP of ``gateway``, or without one the tunnel's."""

    entry: ReportedAddress
    gateway: Gateway | None


class Judged(NamedTuple):
    """``candidates`` for the tunnel's end, best first; ``further`` addresses are inside the cluster, and no more."""

    node: Node
    candidates: tuple[Address, ...]
    further: tuple[Address, ...]
    refused: tuple[Refused, ...]
    traces: tuple[Trace, ...]


def judge(node: Node, given: Sequence[Address], traces: Traces, pools: Mapping[Family, Intervals]) -> Judged:
    """``given`` are the addresses that the settings name for the node, which then are its only candidates.

    An address out of the node's podCIDRs, or of ``pools`` that pods have theirs from, is a bridge's or an overlay's of
    the CNI, where the node has another one.
    """
    candidates: list[Address] = list(given)
    further: list[Address] = []
    refused: list[Refused] = []
    ours: list[Trace] = []
    # A stable sort: InternalIPs first, and both kinds as they are reported.
    for entry in sorted(node.report.addresses, key=lambda entry: entry.external):
        address = entry.address
        if address is None:
            refused.append(Refused(entry, "is IPv4-mapped" if "IPv4-mapped" in entry.problem else "is no IP address"))
            continue
        special = impossible(Span(address.family, Interval(address.value, address.value), None, False))
        before = any(a.family == address.family for a in candidates) or (entry.external and bool(candidates))
        gateway = traces.gateway_of(address, node.name, node.labels, further=before)
        if special is not None:
            refused.append(Refused(entry, f"is {special.name}"))
        elif address in given or any(trace.entry.address == address for trace in ours):
            continue
        elif gateway is not None or traces.of_tunnel(address, node.name):
            ours.append(Trace(entry, gateway))
        elif entry.external or given:
            further.append(address)
        elif address not in candidates:
            candidates.append(address)
    for address in () if given else _of_pods(candidates, node, pools):
        candidates.remove(address)
        further.append(address)
        entry = next(entry for entry in node.report.addresses if entry.address == address)
        refused.append(Refused(entry, "is in a CIDR that pods have their addresses from"))
    return Judged(node, tuple(candidates), tuple(dict.fromkeys(further)), tuple(refused), tuple(ours))


def _of_pods(candidates: Sequence[Address], node: Node, pools: Mapping[Family, Intervals]) -> tuple[Address, ...]:
    """Those among pods' addresses, of families in which there is another candidate."""
    inner = {a for a in candidates if any(contains(c[a.family], a.value) for c in (node.pod_cidrs, pools))}
    outer = {a.family for a in candidates if a not in inner}
    return tuple(a for a in candidates if a in inner and a.family in outer)
