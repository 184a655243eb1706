"""kubectl output decoded into the few fields that matter.

JSON goes through msgspec, which skips what is not asked for; YAML through the strict parser into the same
structs.  Both may be single objects, Lists, or several documents.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path as FilePath
from typing import NamedTuple

import msgspec

from egress_compiler.diagnostics import Collector
from egress_compiler.document import Document, Path
from egress_compiler.load.files import CLUSTER_LIMIT, POLICY_LIMIT, decode, first_byte, read_bytes, shown
from egress_compiler.load.json_text import parse_json
from egress_compiler.load.yaml_text import parse_yaml
from egress_compiler.source import Origin, Position, SourceFile

YAML_LIMIT = 4 * POLICY_LIMIT
"""A larger cluster would take the YAML parser minutes."""


# No object of these is in a cycle, and most are gone as soon as they were looked at: ``gc=False`` makes them cheaper.


class Metadata(msgspec.Struct, gc=False):
    name: str = ""
    namespace: str | None = None
    labels: dict[str, str] | None = None
    deletionTimestamp: str | None = None


class TypedAddress(msgspec.Struct, gc=False):
    type: str
    address: str


class Variable(msgspec.Struct, gc=False):
    name: str = ""
    value: str | None = None


class Container(msgspec.Struct, gc=False):
    name: str | None = None
    command: list[str] | None = None
    args: list[str] | None = None
    env: msgspec.Raw = msgspec.Raw()
    """Read where somebody asks: of most pods nobody does, and they have many."""


class Ipam(msgspec.Struct, gc=False):
    podCIDRs: list[str] | None = None


class Endpoint(msgspec.Struct, gc=False):
    addresses: list[str] | None = None


class EndpointAddress(msgspec.Struct, gc=False):
    ip: str | None = None


class Subset(msgspec.Struct, gc=False):
    addresses: list[EndpointAddress] | None = None
    notReadyAddresses: list[EndpointAddress] | None = None


class Taint(msgspec.Struct, gc=False):
    key: str = ""
    value: str | None = None


class Spec(msgspec.Struct, gc=False):
    podCIDR: str | None = None
    podCIDRs: list[str] | None = None
    nodeName: str | None = None
    hostNetwork: bool | None = None
    clusterIP: str | None = None
    clusterIPs: list[str] | None = None
    externalIPs: list[str] | None = None
    cidr: str | None = None
    cidrs: list[str] | None = None
    allowedUses: list[str] | None = None
    containers: list[Container] | None = None
    ipam: Ipam | None = None
    cidrBlock: str | None = None
    vpc: str | None = None
    vlan: str | None = None
    taints: list[Taint] | None = None


class IngressPoint(msgspec.Struct, gc=False):
    ip: str | None = None


class LoadBalancer(msgspec.Struct, gc=False):
    ingress: list[IngressPoint] | None = None


class PodIP(msgspec.Struct, gc=False):
    ip: str | None = None


class Condition(msgspec.Struct, gc=False):
    type: str = ""
    status: str = ""


class NodeInfo(msgspec.Struct, gc=False):
    operatingSystem: str | None = None
    kubeletVersion: str | None = None


class Status(msgspec.Struct, gc=False):
    phase: str | None = None
    podIP: str | None = None
    podIPs: list[PodIP] | None = None
    addresses: list[TypedAddress] | None = None
    loadBalancer: LoadBalancer | None = None
    conditions: list[Condition] | None = None
    nodeInfo: NodeInfo | None = None


class Object(msgspec.Struct, gc=False):
    apiVersion: str = ""
    kind: str = ""
    metadata: Metadata = msgspec.field(default_factory=Metadata)
    spec: Spec = msgspec.field(default_factory=Spec)
    status: Status = msgspec.field(default_factory=Status)
    data: dict[str, str] | None = None
    endpoints: list[Endpoint] | None = None
    subsets: list[Subset] | None = None


class _RawList(msgspec.Struct, gc=False):
    items: list[msgspec.Raw] | None = None
    kind: str | None = None
    apiVersion: str | None = None


class _Kind(msgspec.Struct, gc=False):
    apiVersion: str | None = None
    kind: str | None = None


CORE = frozenset({"Node", "Pod", "Namespace", "Service", "ConfigMap", "Endpoints"})
GROUPS = {
    "ServiceCIDR": ("networking.k8s.io/",),
    "IPPool": ("crd.projectcalico.org/", "projectcalico.org/"),
    "EndpointSlice": ("discovery.k8s.io/",),
    "CiliumNode": ("cilium.io/",),
    "Subnet": ("kubeovn.io/",),
}
"""Kind to the API groups that are meant: others have a Service or an IPPool of their own."""
HELPFUL = frozenset({"ConfigMap", "Endpoints", "EndpointSlice", "CiliumNode", "Subnet"})
"""They tell what others tell as well, or what a setting does."""

_raw_list_decoder = msgspec.json.Decoder(_RawList)
_kind_decoder = msgspec.json.Decoder(_Kind)
_object_decoder = msgspec.json.Decoder(Object)

_BETWEEN = re.compile(rb"\}[ \t]*\r?\n\s*(?=\{)")
"""Between two objects that were written one after the other; no string and no valid object has this in it.

The brace is part of it, not looked back at, as a pattern that begins with one byte is searched six times as fast.
"""


@lru_cache(maxsize=1024)
def wanted(version: str | None, kind: str | None) -> bool:
    """Whether an object of this kind tells something about the cluster; without a version the kind is believed."""
    if not version or version == "v1":
        return kind in CORE or kind in GROUPS
    return version.startswith(GROUPS.get(kind or "", ()))


@dataclass(frozen=True)
class _JsonFile:
    name: str
    content: bytes = field(repr=False)

    @cached_property
    def source(self) -> SourceFile:
        return SourceFile(self.name, self.content.decode("utf-8-sig", "replace"))


class JsonItem(NamedTuple):
    """The ``number``-th item of the List in ``file`` from byte ``start`` on, or the single object there."""

    file: _JsonFile
    start: int
    end: int
    number: int | None

    def at(self, *path: str | int) -> Position:
        """Looked for only when asked for: an object with an error is the exception."""
        first, last = self._extent()
        text = self.file.content[first:last].decode("utf-8", "replace")
        before = self.file.content[:first].decode("utf-8-sig", "replace")
        line, column = before.count("\n"), len(before) - before.rfind("\n") - 1
        source = SourceFile(self.file.name, text)
        document = parse_json(source)
        place = document.at(*path) if document is not None else Position(source, 1, 1)
        shift = column if place.line == 1 else 0
        return Position(self.file.source, line + place.line, place.column + shift, place.length)

    def _extent(self) -> tuple[int, int]:
        if self.number is None:
            return self.start, self.end
        chunk = self.file.content[self.start : self.end]
        first = after = 0
        for raw in (_raw_list_decoder.decode(chunk).items or ())[: self.number + 1]:
            # Items stand in order and nothing but commas between them, so the next occurrence is the item itself.
            first = chunk.find(bytes(raw), after)
            after = first + len(bytes(raw))
        return self.start + first, self.start + after


class Located(NamedTuple):
    """An object and where it was found."""

    object: Object
    origin: Origin


def load_objects(path: FilePath, found: Collector) -> Iterator[Located]:
    """The objects of a file whose kind matters, one after the other; what is wrong with the file is reported.

    A large cluster's objects at once would be several times the file.
    """
    content = read_bytes(path, found, CLUSTER_LIMIT, streams=True)
    if content is None:
        return
    if first_byte(content) in (b"{", b"["):
        yield from _from_json(_JsonFile(shown(path), content), found)
        return
    if len(content) > YAML_LIMIT:
        hint = "export with 'kubectl get ... -o json', which is read a hundred times faster"
        message = f"{shown(path)} is not JSON, and too large for YAML: more than {YAML_LIMIT // 1024**2} MiB"
        found.error("too-large", message, None, hint=hint)
        return
    source = decode(shown(path), content, found)
    for document in parse_yaml(source, found) if source is not None else ():
        yield from _from_yaml(document, found)


def _from_json(file: _JsonFile, found: Collector) -> Iterator[Located]:
    content = file.content
    start = 3 if content.startswith(b"\xef\xbb\xbf") else 0
    whole = _whole(content)
    cuts = [] if whole is not None else [match.end() for match in _BETWEEN.finditer(content)]
    for first, last in zip([start, *cuts], [*cuts, len(content)], strict=True):
        try:
            yield from _decode(file, first, last, whole, found)
        except UnicodeDecodeError:
            decode(file.name, content, found)
        except (msgspec.DecodeError, RecursionError) as problem:
            _report_syntax(file, first, str(problem), found)


def _whole(content: bytes) -> _RawList | None:
    """The List, or single object, where it is one JSON value: told sooner than where one ends and the next begins."""
    try:
        return _raw_list_decoder.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _decode(file: _JsonFile, start: int, end: int, whole: _RawList | None, found: Collector) -> Iterator[Located]:
    """The items of the List, or the single object, that stands there.  Raises what msgspec does.

    ``whole`` is what all of the file was decoded to, where that was possible.
    """
    content = file.content if (start, end) == (0, len(file.content)) else file.content[start:end]
    try:
        decoded = _raw_list_decoder.decode(content) if whole is None else whole
    except msgspec.ValidationError:
        found.error(
            "not-an-object",
            "this must be a Kubernetes object or a List of them",
            JsonItem(file, start, end, None).at(),
            hint="export with 'kubectl get ... -o json'",
        )
        return
    items, of_items = decoded.items, _kind_of_items(decoded.kind) if decoded.items is not None else ""
    texts: Iterable[tuple[int | None, bytes | msgspec.Raw]] = (
        enumerate(items) if items is not None else [(None, content)]
    )
    for number, text in texts:
        # As JsonItem(...) and Located(...), without a call in between: a large cluster has hundreds of thousands.
        origin = tuple.__new__(JsonItem, (file, start, end, number))
        try:
            item = _object_decoder.decode(text)
        except msgspec.ValidationError as problem:
            # Foreign kinds have other fields, or the same with other types.
            _report_misfit(text, str(problem), origin, of_items, found)
            continue
        item.kind = item.kind or of_items
        if wanted(item.apiVersion, item.kind):
            yield tuple.__new__(Located, (item, origin))


def _kind_of_items(kind: object) -> str:
    """The raw API leaves kind and apiVersion out of the items of a NodeList."""
    return kind.removesuffix("List") if isinstance(kind, str) else ""


def _report_misfit(text: bytes | msgspec.Raw, problem: str, origin: JsonItem, of_items: str, found: Collector) -> None:
    name = of_items
    try:
        kind = _kind_decoder.decode(text)
        name = kind.kind or of_items
        if not wanted(kind.apiVersion, name):
            return
    except msgspec.ValidationError as worse:
        name, problem = "", str(worse)
    _report_object(name, problem, origin, found)


def _from_yaml(document: Document, found: Collector, of_list: str = "") -> Iterator[Located]:
    data = document.data
    if not isinstance(data, dict):
        found.error("not-an-object", "this must be a Kubernetes object or a List of them", document.at())
        return
    items = data.get("items")
    if isinstance(items, list):
        for index, item in enumerate(items):
            yield from _from_yaml(document.part(item, "items", index), found, _kind_of_items(data.get("kind")))
        return
    if not data.get("kind"):
        data = {**data, "kind": of_list}
    if wanted(*(value if isinstance(value := data.get(key), str) else "" for key in ("apiVersion", "kind"))):
        try:
            yield Located(_object_decoder.decode(msgspec.json.encode(data)), document)
        except msgspec.ValidationError as problem:
            _report_object(str(data.get("kind")), str(problem), document, found)


_STEP = re.compile(r"\.([^.\[\]`]+)|\[(\d+)\]")
_TYPES = {
    "str": "a string",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "a mapping",
    "null": "nothing",
}


class WrongType(NamedTuple):
    """msgspec's complaint in our words; ``steps`` lead to the value."""

    message: str
    steps: Path


def wrong_type(problem: str) -> WrongType:
    """What ``problem``, which ends in the value's path, says."""
    message, _, path = problem.partition(" - at `$")
    steps = tuple(int(index) if index else key for key, index in _STEP.findall(path))
    types = re.fullmatch(r"Expected `(\w+)[^`]*`, got `(\w+)[^`]*`", message)
    if types is not None:
        wanted_type, given = (_TYPES.get(name, name) for name in types.groups())
        # msgspec does not say which entry of a mapping it is.
        message = f"must {'have values that are' if path.endswith('[...]`') else 'be'} {wanted_type}, not {given}"
    name = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps).lstrip(".")
    return WrongType(f"{name or 'the object'} {message}", steps)


def _report_object(kind: str, problem: str, origin: Origin, found: Collector) -> None:
    """A warning for what the cluster's picture is whole without."""
    wrong = wrong_type(problem)
    report = found.warning if kind in HELPFUL else found.error
    hint = "no API server writes this: export the cluster again with 'kubectl get ... -o json'"
    report("bad-cluster-object", wrong.message, origin.at(*wrong.steps), hint=hint)


def _report_syntax(file: _JsonFile, start: int, problem: str, found: Collector) -> None:
    offset = re.search(r" \(byte (\d+)\)", problem)
    message = problem[: offset.start()].removeprefix("JSON is malformed: ") if offset else problem
    message = "it ends too early" if "truncated" in problem else message
    end = start + int(offset[1]) if offset else len(file.content)
    if "recursion" in problem:
        message, end = "nested too deeply", start
    before = file.content[:end].decode("utf-8-sig", "replace")
    where = Position(file.source, before.count("\n") + 1, len(before) - before.rfind("\n"))
    hint = "the file is cut off: export it again" if "truncated" in problem else ""
    found.error("json-syntax", f"this is not JSON: {message}", where, hint=hint)
