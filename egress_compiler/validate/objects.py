"""Which documents are objects of the language, and that no name stands twice."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from egress_compiler.diagnostics import Collector, Related, nearest, quoted
from egress_compiler.document import Document
from egress_compiler.model.policy import Ref
from egress_compiler.validate.schemas import KINDS

GENERATED_KINDS = frozenset({"EgressEndpointSlice", "EgressClusterEndpointSlice", "EgressTunnel"})
"""The compiler's answers: in an export of a whole cluster they are passed over."""
DEFAULT_NAMESPACE = "default"
CONNECTIONS_KEY = "egressgateway.spidernet.io/connections"
FALLBACK_KEY = "egressgateway.spidernet.io/fallback"
DESCRIPTION_KEYS = ("egressgateway.spidernet.io/description", "description")


def known_objects(documents: Iterable[Document], found: Collector) -> list[Document]:
    """Those of a kind that users write, each name once."""
    return _unique(_known(documents, found), found)


def _known(documents: Iterable[Document], found: Collector) -> Iterable[Document]:
    for document in documents:
        data: Any = document.data
        kind = data.get("kind")
        if isinstance(kind, str) and kind in KINDS:
            yield document
        elif document.faulty("kind") or (isinstance(kind, str) and kind in GENERATED_KINDS):
            continue
        elif kind is None:
            hint = f"kinds are {', '.join(KINDS)}"
            found.error("missing-field", "the object has no 'kind'", document.at(), hint=hint)
        elif not isinstance(kind, str):
            hint = f"kinds are {', '.join(KINDS)}"
            found.error("wrong-type", "kind must be a string", document.at("kind"), hint=hint)
        else:
            hint = nearest(kind, KINDS) or f"kinds are {', '.join(KINDS)}"
            found.error("unknown-kind", f"unknown kind {quoted(kind)}", document.at("kind"), hint=hint)


def _unique(documents: Iterable[Document], found: Collector) -> list[Document]:
    seen: dict[Ref, Document] = {}
    unique: list[Document] = []
    for document in documents:
        ref = object_ref(document)
        first = seen.setdefault(ref, document)
        if first is not document and ref.name:
            related = (Related("first defined here", first.at("metadata", "name")),)
            place = document.at("metadata", "name")
            hint = "rename one of them, or delete it"
            found.error("duplicate-object", f"{ref} is defined twice", place, hint=hint, related=related)
        else:
            unique.append(document)
    return unique


def object_ref(document: Document) -> Ref:
    """What the object calls itself, right or wrong; the name is empty where it has none."""
    data: Any = document.data
    kind = str(data["kind"])
    metadata: Any = data.get("metadata")
    named: Mapping[str, Any] = metadata if isinstance(metadata, dict) else {}
    name = named.get("name")
    namespace = str(named.get("namespace") or DEFAULT_NAMESPACE) if kind == "EgressPolicy" else ""
    return Ref(kind, namespace, name if isinstance(name, str) else "")


def specs(documents: Iterable[Document]) -> dict[Ref, Any]:
    """The spec of each object as it is written, for those who print the object again."""
    written: dict[Ref, Any] = {}
    for document in documents:
        data: Any = document.data
        written[object_ref(document)] = data.get("spec", {})
    return written


def description(data: Mapping[str, Any]) -> str:
    """The user's words for the object, on one line."""
    annotations = data.get("metadata", {}).get("annotations", {})
    text = next((annotations[key] for key in DESCRIPTION_KEYS if annotations.get(key)), "")
    return " ".join(str(text).split())


def no_namespace(document: Document, kind: str, found: Collector) -> None:
    """An error where an object of the cluster names a namespace."""
    data: Any = document.data
    if data.get("metadata", {}).get("namespace"):
        hint = "leave the field out" + (", or make it an EgressPolicy" if kind == "EgressClusterPolicy" else "")
        found.error(
            "cluster-scoped",
            f"an {kind} belongs to the whole cluster, not to a namespace",
            document.key_at("metadata", "namespace"),
            hint=hint,
        )
