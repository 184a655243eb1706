"""kubectl output decoded into the few fields that matter.

JSON goes through msgspec, which skips what is not asked for; YAML through the strict parser into the same
structs.  Both may be single objects, Lists, or several documents.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from egress_compiler.diagnostics import Collector, printable
from egress_compiler.document import Document
from egress_compiler.load.files import CLUSTER_LIMIT, decode, read_bytes
from egress_compiler.load.yaml_text import parse_yaml
from egress_compiler.source import Position, SourceFile


class Metadata(msgspec.Struct):
    name: str = ""
    namespace: str | None = None
    labels: dict[str, str] | None = None


class TypedAddress(msgspec.Struct):
    type: str
    address: str


class Container(msgspec.Struct):
    command: list[str] | None = None
    args: list[str] | None = None


class Spec(msgspec.Struct):
    podCIDR: str | None = None
    podCIDRs: list[str] | None = None
    nodeName: str | None = None
    hostNetwork: bool | None = None
    clusterIP: str | None = None
    clusterIPs: list[str] | None = None
    cidr: str | None = None
    cidrs: list[str] | None = None
    disabled: bool | None = None
    containers: list[Container] | None = None


class PodIP(msgspec.Struct):
    ip: str | None = None


class Status(msgspec.Struct):
    phase: str | None = None
    podIP: str | None = None
    podIPs: list[PodIP] | None = None
    addresses: list[TypedAddress] | None = None


class Object(msgspec.Struct):
    kind: str = ""
    metadata: Metadata = msgspec.field(default_factory=Metadata)
    spec: Spec = msgspec.field(default_factory=Spec)
    status: Status = msgspec.field(default_factory=Status)
    data: dict[str, str] | None = None


class _ObjectList(msgspec.Struct):
    items: list[Object]
    kind: str = ""


class _RawList(msgspec.Struct):
    items: list[msgspec.Raw] | None = None


class _Kind(msgspec.Struct):
    kind: str = ""


KINDS = frozenset({"Node", "Pod", "Namespace", "Service", "ServiceCIDR", "IPPool", "ConfigMap"})

_list_decoder = msgspec.json.Decoder(_ObjectList)
_raw_list_decoder = msgspec.json.Decoder(_RawList)
_kind_decoder = msgspec.json.Decoder(_Kind)
_object_decoder = msgspec.json.Decoder(Object)


@dataclass(frozen=True, slots=True)
class ObjectFile:
    """One decoded file; ``content`` stays at hand to find the place of a value that turns out wrong."""

    name: str
    content: bytes
    objects: tuple[Object, ...]

    def find(self, owner: str, value: str) -> Position:
        """The first place of ``value`` after the first place of ``owner``; the file's start where it is not found."""
        text = self.content.decode("utf-8", errors="replace")
        owner, value = (json.dumps(word)[1:-1] if word not in text else word for word in (owner, value))
        start = max(0, text.find(f'"{owner}"'), text.find(f" {owner}\n"))
        index = text.find(value, start)
        if index < 0:
            index = max(0, text.find(value))
        source = SourceFile(self.name, text)
        return Position(source, text.count("\n", 0, index) + 1, index - text.rfind("\n", 0, index), len(value))


def load_objects(path: Path, found: Collector) -> ObjectFile | None:
    """The objects of a file whose kind matters; None after reporting what is wrong with the file."""
    content = read_bytes(path, found, CLUSTER_LIMIT)
    if content is None:
        return None
    name = str(path)
    if content.lstrip()[:1] in (b"{", b"["):
        try:
            return ObjectFile(name, content, tuple(o for o in _decode_json(content) if o.kind in KINDS))
        except (msgspec.DecodeError, UnicodeDecodeError) as problem:
            _report(name, content, str(problem), found)
            return None
    source = decode(name, content, found)
    if source is None:
        return None
    objects: list[Object] = []
    for document in parse_yaml(source, found):
        objects += _from_yaml(document, found)
    return ObjectFile(name, content, tuple(objects))


def _decode_json(content: bytes) -> Iterator[Object]:
    try:
        return iter(_list_decoder.decode(content).items)
    except msgspec.ValidationError:
        # A foreign kind, or a single object: look at each item's kind before its fields.
        return _decode_items(content)


def _decode_items(content: bytes) -> Iterator[Object]:
    items = _raw_list_decoder.decode(content).items
    if items is None:
        if _kind_decoder.decode(content).kind in KINDS:
            yield _object_decoder.decode(content)
        return
    for index, item in enumerate(items):
        if _kind_decoder.decode(item).kind in KINDS:
            try:
                yield _object_decoder.decode(item)
            except msgspec.ValidationError as problem:
                raise msgspec.ValidationError(str(problem).replace("`$", f"`$.items[{index}]")) from None


def _from_yaml(document: Document, found: Collector) -> Iterator[Object]:
    data = document.data
    if not isinstance(data, dict):
        found.error("not-an-object", "a Kubernetes object must be a mapping", document.at())
        return
    items = data.get("items")
    if isinstance(items, list):
        for index, item in enumerate(items):
            yield from _from_yaml(document.part(item, "items", index), found)
    elif data.get("kind") in KINDS:
        try:
            yield msgspec.convert({key: value for key, value in data.items() if value is not None}, Object)
        except msgspec.ValidationError as problem:
            message, path = _split(str(problem))
            found.error("bad-cluster-object", message, document.at(*path))


_STEP = re.compile(r"\.([^.\[\]`]+)|\[(\d+)\]")


def _split(problem: str) -> tuple[str, tuple[str | int, ...]]:
    """msgspec's message without its path, and the path."""
    message, _, path = problem.partition(" - at `$")
    steps = tuple(int(index) if index else key for key, index in _STEP.findall(path))
    return message.replace("`", "'"), steps


def _report(name: str, content: bytes, problem: str, found: Collector) -> None:
    message, path = _split(problem)
    source = decode(name, content, found)
    if source is None:
        return
    quiet = Collector()
    documents = parse_yaml(source, quiet)
    if path and documents:
        found.error("bad-cluster-object", message, documents[0].at(*path))
    elif quiet.found:
        found.error("json-syntax", f"this is not JSON: {printable(message)}", quiet.found[0].position)
    else:
        found.error("json-syntax", f"this is not JSON: {printable(message)}", Position(source, 1, 1))
