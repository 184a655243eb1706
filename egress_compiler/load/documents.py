"""Policy files to documents: parsed, Lists unwrapped, foreign kinds set aside."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from egress_compiler.diagnostics import Collector, counted, listing, quoted, similar
from egress_compiler.document import Document
from egress_compiler.load.files import find_files, read_source
from egress_compiler.load.yaml_text import parse_yaml
from egress_compiler.source import Position

API_GROUP = "egressgateway.spidernet.io"
LOCK_NAME = "egress.lock.json"
OWN_KINDS = frozenset(
    {
        "EgressGateway",
        "EgressPolicy",
        "EgressClusterPolicy",
        "EgressClusterInfo",
        "EgressEndpointSlice",
        "EgressClusterEndpointSlice",
        "EgressTunnel",
    }
)
"""Of whatever version: a policy with a mistyped apiVersion must not pass for something else."""


def load_documents(paths: Iterable[Path], found: Collector) -> tuple[Document, ...]:
    """Every object of the policy language in ``paths``; other kinds are left out, with a warning a file."""
    documents: list[Document] = []
    for path in find_files(paths, found, leave_out=(LOCK_NAME, "kustomization.yaml", "kustomization.yml")):
        source = read_source(path, found)
        if source is None:
            continue
        errors, parsed = found.errors, parse_yaml(source, found)
        if not parsed and found.errors == errors:
            found.warning("empty-file", "there is no object in this file", Position(source, 1, 1))
        foreign: list[Document] = []
        for document in parsed:
            documents += _objects(document, foreign, found)
        if foreign:
            _report_foreign(foreign, found)
    return tuple(documents)


def _objects(document: Document, foreign: list[Document], found: Collector) -> list[Document]:
    data = document.data
    if not isinstance(data, dict):
        found.error(
            "not-an-object", "an object must be a mapping with apiVersion, kind, metadata and spec", document.at()
        )
        found.missing("documents")
        return []
    kind, version = data.get("kind"), data.get("apiVersion")
    if isinstance(kind, str) and kind.endswith("List") and kind not in OWN_KINDS:
        of_items = {"apiVersion": version, "kind": kind.removesuffix("List")} if version and kind != "List" else {}
        return _unwrapped(document, data.get("items"), of_items, foreign, found)
    if isinstance(version, str) and isinstance(kind, str) and _foreign(version, kind):
        foreign.append(document)
        return []
    return [document]


def _foreign(version: str, kind: str) -> bool:
    """Whether this is an object of another API, and none of ours whose kind or group is mistyped."""
    group = version.partition("/")[0]
    return not similar(group, (API_GROUP,)) and not (kind.lower().startswith("eg") and similar(kind, OWN_KINDS))


def _unwrapped(
    document: Document, items: object, of_items: Mapping[str, object], foreign: list[Document], found: Collector
) -> list[Document]:
    """The items; the raw API leaves out of an EgressPolicyList's what ``of_items`` says."""
    if items is None:
        return []
    if not isinstance(items, list):
        found.error("wrong-type", "the items of a List must be a list", document.at("items"))
        found.missing("documents")
        return []
    objects: list[Document] = []
    for index, item in enumerate(items):
        whole = {**of_items, **item} if isinstance(item, dict) else item
        objects += _objects(document.part(whole, "items", index), foreign, found)
    return objects


def _report_foreign(foreign: list[Document], found: Collector) -> None:
    kinds = sorted({quoted(str(d.data.get("kind"))) for d in foreign if isinstance(d.data, dict)})
    found.warning(
        "foreign-kind",
        f"{counted(len(foreign), 'object')} of other kinds ({listing(kinds)}) in this file "
        f"{'is' if len(foreign) == 1 else 'are'} left out",
        foreign[0].at("kind"),
        hint=f"the compiler reads the kinds of {API_GROUP}",
    )
