"""Statuses of a live cluster's policies and gateways: what the in-cluster controller has allocated."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import msgspec

from egress_compiler.diagnostics import Collector, Related, quoted
from egress_compiler.document import Document
from egress_compiler.load.files import find_files, read_source
from egress_compiler.load.objects import wrong_type
from egress_compiler.load.yaml_text import parse_yaml
from egress_compiler.model.lock import EipLock, GatewayLock, Lock, PolicyLock
from egress_compiler.net import AddressError, format_address, parse_address
from egress_compiler.source import Position

POLICY_KINDS = ("EgressPolicy", "EgressClusterPolicy")
Entry = PolicyLock | GatewayLock | EipLock
E = TypeVar("E", bound=Entry)


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
    """What was read so far, and where each answer stood first.  ``seen`` counts statuses, equal ones too."""

    policies: dict[str, PolicyLock] = field(default_factory=dict)
    gateways: dict[str, GatewayLock] = field(default_factory=dict)
    eips: dict[str, EipLock] = field(default_factory=dict)
    seen: int = 0
    _places: dict[str, tuple[Document, Position]] = field(default_factory=dict)

    def add(
        self, known: dict[str, E], key: str, entry: E, what: str, place: tuple[Document, Position], found: Collector
    ) -> None:
        """An answer about ``what``; where another object gave another one, that is an error that names both places."""
        first = known.setdefault(key, entry)
        document, position = self._places.setdefault(what, place)
        if first != entry and document is not place[0]:
            found.error(
                "two-statuses",
                f"{what}: {_words(entry)} here, and {_words(first)} elsewhere",
                place[1],
                hint="leave out the one that does not hold, or export everything anew at one moment",
                related=(Related("the other is here", position),),
            )


def _words(entry: Entry) -> str:
    """What an answer says, in a few words."""
    addresses = () if isinstance(entry, EipLock) else tuple(filter(None, (entry.ipv4, entry.ipv6)))
    where = "" if isinstance(entry, GatewayLock) else entry.node
    via = f" of {entry.gateway}" if isinstance(entry, PolicyLock) and entry.gateway else ""
    return f"{' and '.join(addresses)}{via}{' on ' if where else ''}{where}".strip()


def load_statuses(paths: Iterable[Path], found: Collector) -> Lock:
    """The EIPs and nodes that ``kubectl get egresspolicies,egressclusterpolicies,egressgateways -A -o yaml`` shows.

    A policy without a status has no entry; one that names no gateway has the gateway ''.  A file without any
    status is an error, as it was exported to no use, and so are two statuses of one object that differ.
    """
    gathered = _Gathered()
    for path in find_files(paths, found):
        source = read_source(path, found)
        if source is None:
            continue
        errors, documents = found.errors, parse_yaml(source, found)
        before = gathered.seen
        for document in documents:
            for item in _items(document):
                _gather(item, gathered, found)
        if documents and before == gathered.seen and found.errors == errors:
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
    into.seen += 1
    key, place = f"{item.kind} {name}", document.at("status", "eip" if document.has("status", "eip") else "node")
    into.add(into.policies, key, PolicyLock(gateway, four, six, status.node or ""), key, (document, place), found)


def _gateway(item: _Object, document: Document, into: _Gathered, found: Collector) -> None:
    name = item.metadata.name
    pools = item.spec.ippools if item.spec is not None else None
    if pools is not None:
        four = _address(pools.ipv4DefaultEIP, document, found, "spec", "ippools", "ipv4DefaultEIP")
        six = _address(pools.ipv6DefaultEIP, document, found, "spec", "ippools", "ipv6DefaultEIP")
        if four or six:
            place = document.at("spec", "ippools", "ipv4DefaultEIP" if four else "ipv6DefaultEIP")
            what = f"the default EIP of EgressGateway {name}"
            into.add(into.gateways, name, GatewayLock(four, six), what, (document, place), found)
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
                into.seen += 1
                what, place = f"the EIP {named} of EgressGateway {name}", document.at(*path)
                into.add(into.eips, f"{name}/{named}", EipLock(node.name), what, (document, place), found)


def _address(text: str | None, document: Document, found: Collector, *path: str | int) -> str:
    """The canonical spelling of ``text``; '' where it is no address, with the reason reported."""
    if not text:
        return ""
    try:
        return format_address(*parse_address(text))
    except AddressError as problem:
        found.error("bad-address", f"{quoted('.'.join(map(str, path)))}: {problem}", document.at(*path))
        return ""
