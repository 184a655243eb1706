"""Service and pod CIDRs as the control plane knows them: ServiceCIDR objects, kubeadm's notes, its processes' flags."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from egress_compiler.diagnostics import Collector
from egress_compiler.document import Path
from egress_compiler.load.objects import Located, Origin
from egress_compiler.load.yaml_text import parse_yaml
from egress_compiler.net import FAMILIES, AddressError, Family, Interval, Intervals, parse_span, union
from egress_compiler.source import SourceFile

_SERVICE_FLAG = re.compile(r"--service-cluster-ip-range[= ]\s*[\"']?([^\s\"']+)")
_POD_FLAG = re.compile(r"--cluster-cidr[= ]\s*[\"']?([^\s\"']+)")


class _Claim(NamedTuple):
    """CIDRs from one place; the claims of the lowest ``rank`` are believed."""

    rank: int
    texts: tuple[str, ...]
    origin: Origin
    path: Path


class ClusterCidrs:
    """Gathers what the objects say; the answers are by family, empty where nothing was said."""

    def __init__(self, found: Collector) -> None:
        self._found = found
        self._services: list[_Claim] = []
        self._pods: list[_Claim] = []

    def service_cidr(self, item: Located) -> None:
        texts = tuple(item.object.spec.cidrs or ())
        self._services.append(_Claim(0, texts, item.origin, ("spec", "cidrs")))

    def config_map(self, item: Located) -> None:
        """kubeadm's record of how it set the cluster up."""
        metadata, data = item.object.metadata, item.object.data or {}
        text = data.get("ClusterConfiguration")
        if metadata.name != "kubeadm-config" or metadata.namespace != "kube-system" or not text:
            return
        networking = _networking(text)
        path = ("data", "ClusterConfiguration")
        for key, claims in (("serviceSubnet", self._services), ("podSubnet", self._pods)):
            subnets = networking.get(key)
            if isinstance(subnets, str) and subnets:
                claims.append(_Claim(1, _split(subnets), item.origin, path))

    def control_plane_pod(self, item: Located) -> None:
        """The flags of a static pod: kube-apiserver, kube-controller-manager, kube-proxy."""
        for index, container in enumerate(item.object.spec.containers or ()):
            line = " ".join([*(container.command or ()), *(container.args or ())])
            for flag, claims in ((_SERVICE_FLAG, self._services), (_POD_FLAG, self._pods)):
                given = flag.search(line)
                if given:
                    path = ("spec", "containers", index)
                    claims.append(_Claim(2, _split(given[1]), item.origin, path))

    def services(self) -> dict[Family, Intervals]:
        return self._best(self._services)

    def pods(self) -> dict[Family, Intervals]:
        return self._best(self._pods)

    def _best(self, claims: Iterable[_Claim]) -> dict[Family, Intervals]:
        gathered: dict[Family, list[Interval]] = {4: [], 6: []}
        known = [claim for claim in claims if claim.texts]
        best = min((claim.rank for claim in known), default=0)
        for claim in known:
            if claim.rank == best:
                for family, intervals in cidrs(claim.texts, claim.origin, claim.path, self._found).items():
                    gathered[family] += intervals
        return {family: union(gathered[family]) for family in FAMILIES}


def cidrs(texts: Iterable[str], origin: Origin, path: Path, found: Collector) -> dict[Family, Intervals]:
    """The CIDRs of a list, or of one string where ``path`` leads to none; each wrong one is reported."""
    gathered: dict[Family, list[Interval]] = {4: [], 6: []}
    for index, text in enumerate(texts):
        try:
            span = parse_span(text, ranges=False)
            gathered[span.family].append(span.interval)
        except AddressError as problem:
            found.error("bad-address", str(problem), origin.at(*path, index), hint="this must be a CIDR")
    return {family: union(intervals) for family, intervals in gathered.items()}


def _networking(text: str) -> dict[str, object]:
    for document in parse_yaml(SourceFile("ClusterConfiguration", text), Collector()):
        if isinstance(document.data, dict) and isinstance(networking := document.data.get("networking"), dict):
            return dict(networking)
    return {}


def _split(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())
