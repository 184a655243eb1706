"""Statuses of a live cluster's policies and gateways: what the in-cluster controller has allocated."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from egress_compiler.diagnostics import Collector, quoted
from egress_compiler.document import Document
from egress_compiler.load.files import find_files, read_source
from egress_compiler.load.objects import wrong_type
from egress_compiler.load.yaml_text import parse_yaml
from egress_compiler.model.lock import EipLock, GatewayLock, Lock, PolicyLock
from egress_compiler.net import AddressError, format_address, parse_address

POLICY_KINDS = ("EgressPolicy", "EgressClusterPolicy")


class _Metadata(msgspec.Struct):
    name: str = ""
    namespace: str | None = None


class _Pools(msgspec.Struct):
    ipv4DefaultEIP: str | None = None
    ipv6DefaultEIP: str | None = None


class _Spec(msgspec.Struct):
    egressGatewayName: str | None = None
    ippools: _Pools | None = None


class _Eip(msgspec.Struct):
    ipv4: str | None = None
    ipv6: str | None = None


class _NodeEntry(msgspec.Struct):
    """``epis`` is how the documentation of some releases spells ``eips``."""

    name: str = ""
    eips: list[_Eip] | None = None
    epis: list[_Eip] | None = None


class _Status(msgspec.Struct):
    eip: _Eip | None = None
    node: str | None = None
    nodeList: list[_NodeEntry] | None = None


class _Object(msgspec.Struct):
    kind: str = ""
    metadata: _Metadata = msgspec.field(default_factory=_Metadata)
    spec: _Spec | None = None
    status: _Status | None = None


@dataclass(slots=True)
class _Gathered:
    policies: dict[str, PolicyLock] = field(default_factory=dict)
    gateways: dict[str, GatewayLock] = field(default_factory=dict)
    eips: dict[str, EipLock] = field(default_factory=dict)


def load_statuses(paths: Iterable[Path], found: Collector) -> Lock:
    """The EIPs and nodes that ``kubectl get egresspolicies,egressclusterpolicies,egressgateways -A -o yaml`` shows.

    A policy without a status has no entry; one that names no gateway has the gateway ''.  A file without any
    status is an error, as it was exported to no use.
    """
    gathered = _Gathered()
    for path in find_files(paths, found):
        source = read_source(path, found)
        if source is None:
            continue
        errors, documents = found.errors, parse_yaml(source, found)
        before = len(gathered.policies) + len(gathered.eips)
        for document in documents:
            for item in _items(document):
                _gather(item, gathered, found)
        nothing = before == len(gathered.policies) + len(gathered.eips)
        if documents and nothing and found.errors == errors:
            found.error(
                "no-status",
                "no egress policy in this file has a status",
                documents[0].at(),
                hint="export with 'kubectl get egresspolicies,egressclusterpolicies,egressgateways -A -o yaml'",
            )
    return Lock(policies=gathered.policies, gateways=gathered.gateways, eips=gathered.eips)


def _items(document: Document) -> Iterator[Document]:
    data = document.data
    items = data.get("items") if isinstance(data, dict) else None
    if isinstance(items, list):
        for index, item in enumerate(items):
            yield from _items(document.part(item, "items", index))
    else:
        yield document


def _gather(document: Document, into: _Gathered, found: Collector) -> None:
    data = document.data
    if not isinstance(data, dict) or data.get("kind") not in (*POLICY_KINDS, "EgressGateway"):
        return
    try:
        item = msgspec.convert({key: value for key, value in data.items() if value is not None}, _Object)
    except msgspec.ValidationError as problem:
        wrong = wrong_type(str(problem))
        found.error("bad-status", wrong.message, document.at(*wrong.steps))
        return
    if item.kind == "EgressGateway":
        _gateway(item, document, into, found)
    elif item.status is not None:
        _policy(item, item.status, document, into, found)


def _policy(item: _Object, status: _Status, document: Document, into: _Gathered, found: Collector) -> None:
    eip = status.eip or _Eip()
    four = _address(eip.ipv4, document, found, "status", "eip", "ipv4")
    six = _address(eip.ipv6, document, found, "status", "eip", "ipv6")
    if not four and not six and not status.node:
        return
    namespaced = item.kind == "EgressPolicy"
    name = f"{item.metadata.namespace or 'default'}/{item.metadata.name}" if namespaced else item.metadata.name
    gateway = (item.spec.egressGatewayName if item.spec is not None else None) or ""
    into.policies[f"{item.kind} {name}"] = PolicyLock(gateway, four, six, status.node or "")


def _gateway(item: _Object, document: Document, into: _Gathered, found: Collector) -> None:
    pools = item.spec.ippools if item.spec is not None else None
    if pools is not None:
        four = _address(pools.ipv4DefaultEIP, document, found, "spec", "ippools", "ipv4DefaultEIP")
        six = _address(pools.ipv6DefaultEIP, document, found, "spec", "ippools", "ipv6DefaultEIP")
        into.gateways[item.metadata.name] = GatewayLock(four, six)
    nodes = (item.status.nodeList if item.status is not None else None) or ()
    for position, node in enumerate(nodes):
        key = "epis" if node.eips is None else "eips"
        for index, eip in enumerate(node.eips or node.epis or ()):
            path = ("status", "nodeList", position, key, index)
            texts = (
                _address(eip.ipv4, document, found, *path, "ipv4"),
                _address(eip.ipv6, document, found, *path, "ipv6"),
            )
            # As the lock file names a pair: by its IPv4 address where there is one.
            named = texts[0] or texts[1]
            if named and node.name:
                into.eips.setdefault(f"{item.metadata.name}/{named}", EipLock(node.name))


def _address(text: str | None, document: Document, found: Collector, *path: str | int) -> str:
    """The canonical spelling of ``text``; '' where it is no address, with the reason reported."""
    if not text:
        return ""
    try:
        return format_address(*parse_address(text))
    except AddressError as problem:
        found.error("bad-address", f"{quoted('.'.join(map(str, path)))}: {problem}", document.at(*path))
        return ""
