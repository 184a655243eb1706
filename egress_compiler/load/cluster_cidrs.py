"""Service and pod CIDRs as the cluster's own records know them, and addresses that nodes have and no Node shows."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from egress_compiler.diagnostics import Collector, Related, quoted
from egress_compiler.document import Path
from egress_compiler.load.flags import ADVERTISE_FLAG, POD_FLAG, SERVICE_FLAG, control_plane_flags, virtual_addresses
from egress_compiler.load.objects import Located
from egress_compiler.load.yaml_text import parse_yaml
from egress_compiler.net import (
    FAMILIES,
    Address,
    AddressError,
    Family,
    Interval,
    Intervals,
    parse_address,
    parse_span,
    union,
)
from egress_compiler.source import Origin, SourceFile

CILIUM, CILIUM_NAMESPACES = "cilium-config", frozenset({"kube-system", "cilium", "cilium-system"})
CILIUM_POOLS = ("cluster-pool-ipv4-cidr", "cluster-pool-ipv6-cidr")
_SHORTEST: dict[Family, int] = {4: 8, 6: 7}
"""Prefix lengths: no private range is wider (RFC 1918, RFC 4193), and inside 0.0.0.0/0 there would be no egress."""
_SEPARATORS = re.compile(r"[\s,;]+")


class _Claim(NamedTuple):
    """CIDRs from one place; in each family the claims of the lowest ``rank`` are believed."""

    rank: int
    intervals: dict[Family, Intervals]


class _Doubt(NamedTuple):
    """What cannot be read or is too wide, and where it stands."""

    text: str
    origin: Origin
    path: Path


class ClusterCidrs:
    """Gathers what the objects say; the answers are by family, empty where nothing was said."""

    def __init__(self, found: Collector) -> None:
        self._found = found
        self._claims: dict[str, list[_Claim]] = {SERVICE_FLAG: [], POD_FLAG: []}
        self._doubts: dict[str, list[_Doubt]] = {SERVICE_FLAG: [], POD_FLAG: []}
        self._plugin: dict[Family, list[Interval]] = {4: [], 6: []}
        self.addresses: dict[Address, str] = {}
        """What the control plane is reached at, with what told so."""

    def service_cidr(self, item: Located) -> None:
        texts = item.object.spec.cidrs or ()
        self._claims[SERVICE_FLAG].append(_Claim(0, cidrs(texts, item.origin, ("spec", "cidrs"), self._found)))

    def config_map(self, item: Located) -> None:
        """kubeadm's record of how it set the cluster up; Cilium's of the pool that it cuts nodes' ranges from."""
        metadata = item.object.metadata
        if metadata.namespace == "kube-system" and metadata.name == "kubeadm-config":
            self._kubeadm(item)
        elif metadata.name == CILIUM and metadata.namespace in CILIUM_NAMESPACES:
            data = item.object.data or {}
            if data.get("ipam", "cluster-pool") == "cluster-pool":
                for key in CILIUM_POOLS:
                    self._plugin_range(data.get(key) or "")

    def _kubeadm(self, item: Located) -> None:
        text, path = (item.object.data or {}).get("ClusterConfiguration"), ("data", "ClusterConfiguration")
        if not text:
            return
        record = _mapping(text)
        if record is None:
            hint = "export it again with 'kubectl -n kube-system get configmap kubeadm-config -o json'"
            message = "kubeadm's ClusterConfiguration is not YAML, so nothing of it is used"
            self._found.warning("bad-cluster-object", message, item.origin.at(*path), hint=hint)
            return
        networking = record.get("networking")
        for key, flag in (("serviceSubnet", SERVICE_FLAG), ("podSubnet", POD_FLAG)):
            subnets = networking.get(key) if isinstance(networking, dict) else None
            if isinstance(subnets, str) and subnets:
                self._claim(flag, 1, key, subnets, item.origin, path)
        endpoint = record.get("controlPlaneEndpoint")
        if isinstance(endpoint, str):
            self.address(_without_port(endpoint), "kubeadm's controlPlaneEndpoint")

    def control_plane_pod(self, item: Located) -> None:
        """The flags of kube-apiserver, kube-controller-manager, kube-proxy and their like."""
        for flag in control_plane_flags(item.object):
            if flag.name == ADVERTISE_FLAG:
                self.address(flag.value, "kube-apiserver's --advertise-address")
            else:
                path = ("spec", "containers", flag.container, flag.field, flag.position)
                self._claim(flag.name, 2, flag.name, flag.value if flag.readable else "", item.origin, path)
        for text in virtual_addresses(item.object):
            self.address(text, "kube-vip's address")

    def endpoints(self, item: Located) -> None:
        """Of the Service default/kubernetes: the API servers themselves, wherever they run."""
        metadata, owner = item.object.metadata, "an endpoint of Service default/kubernetes"
        service = (metadata.labels or {}).get("kubernetes.io/service-name")
        sliced = item.object.kind == "EndpointSlice"
        if metadata.namespace != "default" or (service if sliced else metadata.name) != "kubernetes":
            return
        for endpoint in item.object.endpoints or ():
            for text in endpoint.addresses or ():
                self.address(text, owner)
        for subset in item.object.subsets or ():
            for one in (*(subset.addresses or ()), *(subset.notReadyAddresses or ())):
                self.address(one.ip or "", owner)

    def cilium_node(self, item: Located) -> None:
        ipam = item.object.spec.ipam
        for text in (ipam.podCIDRs if ipam is not None else None) or ():
            self._plugin_range(text)

    def kube_ovn_subnet(self, item: Located) -> None:
        """Of the default VPC, as those of others may overlap; of an underlay network not all is the cluster's."""
        spec = item.object.spec
        if spec.vpc in (None, "", "ovn-cluster") and not spec.vlan:
            self._plugin_range(spec.cidrBlock or "")

    def address(self, text: str, owner: str) -> None:
        """A name, or what is no address, tells nothing."""
        try:
            self.addresses.setdefault(parse_address(text), owner)
        except AddressError:
            return

    def _plugin_range(self, text: str) -> None:
        for family, intervals in (_read(text) or {}).items():
            self._plugin[family] += intervals

    def _claim(self, flag: str, rank: int, name: str, text: str, origin: Origin, path: Path) -> None:
        """One that cannot be read or is too wide is none; it is told of where nothing else says what it might have."""
        intervals = _read(text)
        if intervals is not None:
            self._claims[flag].append(_Claim(rank, intervals))
        else:
            self._doubts[flag].append(_Doubt(f"{name} {quoted(text)} cannot be right" if text else name, origin, path))

    def services(self) -> dict[Family, Intervals]:
        return _best(self._claims[SERVICE_FLAG])

    def pods(self) -> dict[Family, Intervals]:
        return _best(self._claims[POD_FLAG])

    def plugin(self) -> dict[Family, Intervals]:
        """What the network plugin's own objects say of pods' ranges."""
        return {family: union(self._plugin[family]) for family in FAMILIES}

    def unread(self, flag: str) -> tuple[Related, ...]:
        """The places of what is not believed, the first three; none where something is."""
        if self._claims[flag]:
            return ()
        doubts = self._doubts[flag][:3]
        return tuple(Related(f"{d.text}: not used", d.origin.at(*d.path)) for d in doubts)


def cidrs(texts: Iterable[str], origin: Origin, path: Path, found: Collector) -> dict[Family, Intervals]:
    """The CIDRs of a list, or of one string where ``path`` leads to none; each wrong one is reported."""
    gathered: dict[Family, list[Interval]] = {4: [], 6: []}
    for index, text in enumerate(texts):
        try:
            span = parse_span(text, ranges=False)
            if span.prefix is None:
                raise AddressError(f"{text!r} has no prefix length")
            gathered[span.family].append(span.interval)
        except AddressError as problem:
            hint = "this must be a CIDR; it is left out"
            found.warning("bad-address", str(problem), origin.at(*path, index), hint=hint)
    return {family: union(intervals) for family, intervals in gathered.items()}


def _read(text: str) -> dict[Family, Intervals] | None:
    """The CIDRs of a list in one string; None unless all of it can be read, and is some that a cluster can have."""
    gathered: dict[Family, list[Interval]] = {4: [], 6: []}
    parts = [part for part in _SEPARATORS.split(text) if part]
    for part in parts:
        try:
            span = parse_span(part, ranges=False)
        except AddressError:
            return None
        if span.prefix is None or span.prefix < _SHORTEST[span.family]:
            return None
        gathered[span.family].append(span.interval)
    return {family: union(gathered[family]) for family in FAMILIES} if parts else None


def _best(claims: Iterable[_Claim]) -> dict[Family, Intervals]:
    found: dict[Family, Intervals] = {}
    for family in FAMILIES:
        known = [claim for claim in claims if claim.intervals[family]]
        best = min((claim.rank for claim in known), default=0)
        found[family] = union(i for claim in known if claim.rank == best for i in claim.intervals[family])
    return found


def _mapping(text: str) -> dict[str, object] | None:
    """kubeadm's notes; None where there is nothing to read."""
    for document in parse_yaml(SourceFile("ClusterConfiguration", text), Collector()):
        if isinstance(document.data, dict):
            return dict(document.data)
    return None


def _without_port(endpoint: str) -> str:
    """The host of HOST, HOST:PORT or [HOST]:PORT."""
    if endpoint.startswith("["):
        return endpoint[1:].partition("]")[0]
    host, _, port = endpoint.rpartition(":")
    return host if host and ":" not in host and port.isdigit() else endpoint
