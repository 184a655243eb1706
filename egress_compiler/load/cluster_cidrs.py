"""Service and pod CIDRs as the control plane knows them: ServiceCIDR objects, kubeadm's notes, its processes' flags."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from egress_compiler.diagnostics import Collector
from egress_compiler.document import Path
from egress_compiler.load.objects import Located
from egress_compiler.load.yaml_text import parse_yaml
from egress_compiler.net import FAMILIES, AddressError, Family, Interval, Intervals, parse_span, union
from egress_compiler.source import Origin, SourceFile

SERVICE_FLAG, POD_FLAG = "--service-cluster-ip-range", "--cluster-cidr"
_VALUE = r"[= ]\s*[\"']?([^\s\"']+)"


class _Claim(NamedTuple):
    """CIDRs from one place, with the name that they have there; the claims of the lowest ``rank`` are believed."""

    rank: int
    name: str
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
        self._services.append(_Claim(0, "", texts, item.origin, ("spec", "cidrs")))

    def config_map(self, item: Located) -> None:
        """kubeadm's record of how it set the cluster up."""
        metadata, data = item.object.metadata, item.object.data or {}
        text = data.get("ClusterConfiguration")
        if metadata.name != "kubeadm-config" or metadata.namespace != "kube-system" or not text:
            return
        path = ("data", "ClusterConfiguration")
        networking = _networking(text)
        if networking is None:
            hint = "export it again with 'kubectl -n kube-system get configmap kubeadm-config -o json'"
            message = "kubeadm's ClusterConfiguration is not YAML"
            self._found.error("bad-cluster-object", message, item.origin.at(*path), hint=hint)
            return
        for key, claims in (("serviceSubnet", self._services), ("podSubnet", self._pods)):
            subnets = networking.get(key)
            if isinstance(subnets, str) and subnets:
                claims.append(_Claim(1, f"{key}: ", _split(subnets), item.origin, path))

    def control_plane_pod(self, item: Located) -> None:
        """The flags of a static pod: kube-apiserver, kube-controller-manager, kube-proxy."""
        for index, container in enumerate(item.object.spec.containers or ()):
            words = [("command", i, word) for i, word in enumerate(container.command or ())]
            words += [("args", i, word) for i, word in enumerate(container.args or ())]
            line = " ".join(word for _, _, word in words)
            for flag, claims in ((SERVICE_FLAG, self._services), (POD_FLAG, self._pods)):
                given = re.search(flag + _VALUE, line)
                if given:
                    field, position, _ = next(entry for entry in words if flag in entry[2])
                    path = ("spec", "containers", index, field, position)
                    claims.append(_Claim(2, f"{flag}: ", _split(given[1]), item.origin, path))

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
                for family, intervals in cidrs(claim.texts, claim.origin, claim.path, self._found, claim.name).items():
                    gathered[family] += intervals
        return {family: union(gathered[family]) for family in FAMILIES}


def cidrs(
    texts: Iterable[str], origin: Origin, path: Path, found: Collector, name: str = ""
) -> dict[Family, Intervals]:
    """The CIDRs of a list, or of one string where ``path`` leads to none; each wrong one is reported.

    ``name`` goes before the message, where the text is a part of what stands there.
    """
    gathered: dict[Family, list[Interval]] = {4: [], 6: []}
    for index, text in enumerate(texts):
        try:
            span = parse_span(text, ranges=False)
            if span.prefix is None:
                raise AddressError(f"{text!r} has no prefix length")
            gathered[span.family].append(span.interval)
        except AddressError as problem:
            found.error("bad-address", f"{name}{problem}", origin.at(*path, index), hint="this must be a CIDR")
    return {family: union(intervals) for family, intervals in gathered.items()}


def _networking(text: str) -> dict[str, object] | None:
    """kubeadm's notes about the network; None where there is nothing to read."""
    documents = parse_yaml(SourceFile("ClusterConfiguration", text), Collector())
    for document in documents:
        if isinstance(document.data, dict) and isinstance(networking := document.data.get("networking"), dict):
            return dict(networking)
    return {} if documents else None


def _split(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())
