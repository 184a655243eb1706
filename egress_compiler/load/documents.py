"""Policy files to documents: parsed, Lists unwrapped, foreign kinds set aside."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from egress_compiler.diagnostics import Collector, quoted
from egress_compiler.document import Document
from egress_compiler.load.files import find_files, read_source
from egress_compiler.load.yaml_text import parse_yaml

API_GROUP = "egressgateway.spidernet.io"
LOCK_NAME = "egress.lock.json"


def load_documents(paths: Iterable[Path], found: Collector) -> tuple[Document, ...]:
    """Every object of the policy language in ``paths``; other kinds are left out with a warning each."""
    documents: list[Document] = []
    for path in find_files(paths, found, leave_out=(LOCK_NAME, "kustomization.yaml")):
        source = read_source(path, found)
        if source is not None:
            for document in parse_yaml(source, found):
                documents += _objects(document, found)
    return tuple(documents)


def _objects(document: Document, found: Collector) -> list[Document]:
    data = document.data
    if not isinstance(data, dict):
        found.error(
            "not-an-object", "a document must be a mapping with apiVersion, kind, metadata, spec", document.at()
        )
        return []
    kind, version = data.get("kind"), data.get("apiVersion")
    items = data.get("items")
    if isinstance(kind, str) and kind.endswith("List") and isinstance(items, list):
        objects: list[Document] = []
        for index, item in enumerate(items):
            objects += _objects(document.part(item, "items", index), found)
        return objects
    if isinstance(version, str) and not version.startswith(API_GROUP + "/"):
        found.warning(
            "foreign-kind",
            f"{quoted(str(kind))} of {quoted(version)} is no egress policy and is left out",
            document.at("kind"),
        )
        return []
    return [document]
