"""CustomResourceDefinitions from the JSON Schemas, so that both can never say different things.

An API server takes structural schemas only: no references, no ``additionalProperties: false``, no ``const``.
Source: Kubernetes documentation, "Extend the Kubernetes API with CustomResourceDefinitions", and
k8s.io/apiextensions-apiserver, pkg/apiserver/schema.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from egress_compiler.validate.cel import add_rules
from egress_compiler.validate.schemas import definitions, schema

GROUP, VERSION = "egressgateway.spidernet.io", "v1beta1"
_DROPPED = frozenset({"$schema", "$id", "$defs", "$ref", "$comment", "title", "examples", "propertyNames", "const"})


class _Kind(NamedTuple):
    """``columns`` are printer columns: heading and JSON path; ``parts`` the top-level fields and their schemas.

    Columns and the first of the short names in ``short`` are those of the in-cluster controller and its guide.
    """

    kind: str
    plural: str
    short: tuple[str, ...]
    namespaced: bool
    columns: tuple[tuple[str, str], ...]
    parts: Mapping[str, str]


_POLICY_COLUMNS = (
    ("GATEWAY", ".spec.egressGatewayName"),
    ("IPV4", ".status.eip.ipv4"),
    ("IPV6", ".status.eip.ipv6"),
    ("EGRESSTUNNEL", ".status.node"),
)
_GATEWAY_COLUMNS = (
    ("IPV4DEFAULTEIP", ".spec.ippools.ipv4DefaultEIP"),
    ("IPV6DEFAULTEIP", ".spec.ippools.ipv6DefaultEIP"),
    ("CLUSTERDEFAULT", ".spec.clusterDefault"),
    ("IPV4TOTAL", ".status.ipUsage.ipv4Total"),
    ("IPV4FREE", ".status.ipUsage.ipv4Free"),
    ("IPV6TOTAL", ".status.ipUsage.ipv6Total"),
    ("IPV6FREE", ".status.ipUsage.ipv6Free"),
)
_TUNNEL_COLUMNS = (
    ("TUNNELMAC", ".status.tunnel.mac"),
    ("TUNNELIPV4", ".status.tunnel.ipv4"),
    ("TUNNELIPV6", ".status.tunnel.ipv6"),
    ("MARK", ".status.mark"),
    ("PHASE", ".status.phase"),
)
_NUMBERS = ("IPV4TOTAL", "IPV4FREE", "IPV6TOTAL", "IPV6FREE")

_POLICY_STATUS, _ENDPOINTS = {"status": "policyStatus"}, {"endpoints": "endpoints"}
_KINDS = (
    _Kind("EgressGateway", "egressgateways", ("egw",), False, _GATEWAY_COLUMNS, {"status": "gatewayStatus"}),
    _Kind("EgressPolicy", "egresspolicies", ("egp",), True, _POLICY_COLUMNS, _POLICY_STATUS),
    _Kind("EgressClusterPolicy", "egressclusterpolicies", ("egcp",), False, _POLICY_COLUMNS, _POLICY_STATUS),
    _Kind("EgressClusterInfo", "egressclusterinfos", ("egci",), False, (), {"status": "clusterInfoStatus"}),
    _Kind("EgressEndpointSlice", "egressendpointslices", ("egep", "egs"), True, (), _ENDPOINTS),
    _Kind("EgressClusterEndpointSlice", "egressclusterendpointslices", ("egcep", "egcs"), False, (), _ENDPOINTS),
    _Kind("EgressTunnel", "egresstunnels", ("egt",), False, _TUNNEL_COLUMNS, {"status": "tunnelStatus"}),
)


def crds(*, with_rules: bool = True) -> tuple[dict[str, Any], ...]:
    """One CRD for each kind of the language, in the order of the manual.

    ``with_rules`` says in CEL what the schema cannot say, for which an API server has to be of Kubernetes 1.31.
    """
    return tuple(_crd(kind, with_rules) for kind in _KINDS)


def _crd(kind: _Kind, with_rules: bool) -> dict[str, Any]:
    names = {
        "kind": kind.kind,
        "listKind": f"{kind.kind}List",
        "plural": kind.plural,
        "singular": kind.kind.lower(),
        "shortNames": list(kind.short),
        "categories": ["egressgateway"],
    }
    version: dict[str, Any] = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": _root(kind, with_rules)},
    }
    if "status" in kind.parts:
        version["subresources"] = {"status": {}}
    if kind.columns:
        columns = [{"name": name, "type": _column_type(name), "jsonPath": path} for name, path in kind.columns]
        age = {"name": "AGE", "type": "date", "jsonPath": ".metadata.creationTimestamp"}
        version["additionalPrinterColumns"] = [*columns, age]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "names": names,
            "scope": "Namespaced" if kind.namespaced else "Cluster",
            "versions": [version],
        },
    }


def _column_type(name: str) -> str:
    return "integer" if name in _NUMBERS else "boolean" if name == "CLUSTERDEFAULT" else "string"


def _root(kind: _Kind, with_rules: bool) -> dict[str, Any]:
    """The kind's own schema with what it answers with; the API server knows metadata itself."""
    answers = schema("output")["$defs"]
    written = schema(kind.kind.lower()) if _is_written(kind) else {"description": answers[kind.kind]["description"]}
    properties: dict[str, Any] = {
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "metadata": {"type": "object"},
    }
    if "properties" in written:
        properties["spec"] = structural(written["properties"]["spec"])
    properties |= {field: structural(answers[name]) for field, name in kind.parts.items()}
    root = {"description": written["description"], "type": "object", "properties": properties}
    if "spec" in written.get("required", ()):
        root["required"] = ["spec"]
    if with_rules:
        add_rules(kind.kind, root)
    return root


def _is_written(kind: _Kind) -> bool:
    return not kind.kind.endswith("Slice") and kind.kind != "EgressTunnel"


def structural(source: Mapping[str, Any]) -> dict[str, Any]:
    """``source`` as an API server takes it."""
    made: dict[str, Any] = {}
    if "$ref" in source:
        made = structural(definitions()[source["$ref"]])
    for keyword, rule in source.items():
        if keyword == "properties":
            made[keyword] = {name: structural(sub) for name, sub in rule.items()}
        elif keyword == "items":
            made[keyword] = structural(rule)
        elif keyword == "additionalProperties":
            # Unknown fields are dropped by the API server anyway, unless it is told to keep them.
            if isinstance(rule, Mapping):
                made[keyword] = structural(rule)
        elif keyword not in _DROPPED:
            made[keyword] = rule
    if "const" in source:
        made["enum"] = [source["const"]]
    if made.get("type") == "object" and "properties" not in made and "additionalProperties" not in made:
        made["x-kubernetes-preserve-unknown-fields"] = True
    return made
