"""The bundle: all files of a compilation, and the only code that writes them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from egress_compiler.allocate import Allocation
from egress_compiler.commit import FileChange, replace_file, write_together
from egress_compiler.contract.members import MEMBERS
from egress_compiler.document import Document
from egress_compiler.exclusive import sole_writer
from egress_compiler.known_files import KnownFiles
from egress_compiler.model.policy import DEFAULT_GATEWAY_LABEL
from egress_compiler.model.settings import Settings
from egress_compiler.nodes import NODES, Nodes, descriptions
from egress_compiler.render.documents import documents_text
from egress_compiler.resolve import Resolved
from egress_compiler.status import endpoint_slices, status_objects, tunnels

BUNDLE_VERSION = 1
MANIFEST = "manifest.json"
ENDPOINT_SLICES = "endpointslices.yaml"
AT_TOP = (ENDPOINT_SLICES, MEMBERS)
"""Files that a bundle has or has not, as the settings say."""


class Compiled(Protocol):
    """What of a compilation is written."""

    @property
    def files(self) -> Mapping[str, str]: ...
    @property
    def lock_path(self) -> Path: ...
    @property
    def lock_text(self) -> str: ...


def bundle_files(
    nodes: Nodes, resolved: Resolved, allocation: Allocation, settings: Settings, documents: Sequence[Document]
) -> dict[str, str]:
    """Relative path to text of every file of the bundle, sorted.

    Of files that nodes have all alike the manifest tells each node, and the bundle has one, at its top.
    """
    plans = [nodes.plan(node) for node in nodes.names]
    files = {
        "status.yaml": documents_text([*status_objects(resolved, allocation), *tunnels(plans, resolved, allocation)]),
    }
    shared = nodes.shared_files()
    files |= shared
    if not resolved.followed:
        files[ENDPOINT_SLICES] = documents_text(endpoint_slices(resolved, settings.endpoint_slice_size))
    of_all = {name: _digest(text) for name, text in shared.items()}
    entries: dict[str, object] = {}
    for plan in plans:
        texts = nodes.files(plan.node)
        files |= {f"{NODES}/{plan.node}/{name}": text for name, text in texts.items()}
        digests = dict(sorted(({name: _digest(text) for name, text in texts.items()} | of_all).items()))
        entries[plan.node] = {"role": plan.role, "digest": _digest(json.dumps(digests)), "files": digests}
    manifest = {"version": BUNDLE_VERSION, "digest": input_digest(documents, resolved, settings), "nodes": entries}
    files[MANIFEST] = json.dumps(manifest, indent=2) + "\n"
    return dict(sorted(files.items()))


def _digest(text: str) -> str:
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def input_digest(documents: Sequence[Document], resolved: Resolved, settings: Settings) -> str:
    """Of what the input means: neither the order of objects and of sets nor the names of files change it."""
    digest = hashlib.sha256()
    encode = msgspec.json.Encoder(order="sorted").encode
    for part in _input(documents, resolved, settings):
        digest.update(encode(part) + b"\n")
    return f"sha256:{digest.hexdigest()}"


def _input(documents: Sequence[Document], resolved: Resolved, settings: Settings) -> Iterator[object]:
    cluster = resolved.cluster
    yield from sorted(map(_meaning, documents))
    yield descriptions(resolved)
    yield from ((n.name, n.labels, repr((n.addresses, n.pod_cidrs))) for n in cluster.nodes)
    if resolved.followed:
        # Of a namespace the bundle has nothing but the gateway that its policies leave by.
        named = ((n.name, n.labels.get(DEFAULT_GATEWAY_LABEL)) for n in cluster.namespaces)
        yield from (pair for pair in named if pair[1])
    else:
        yield from ((p.key, p.labels, p.node, [f"{f} {value:x}" for f, value in p.addresses]) for p in cluster.pods)
        yield from ((n.name, n.labels) for n in cluster.namespaces)
    yield from (repr(resolved.inside), repr(settings))


def _meaning(document: Document) -> str:
    """An object without its status and what the API server notes about it; every list of the language is a set."""
    data: Any = document.data
    names = {key: data["metadata"].get(key) for key in ("namespace", "name", "uid")}
    return json.dumps([data["kind"], names, _sorted(data.get("spec"))], sort_keys=True)


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(item) for key, item in value.items()}
    return sorted(json.dumps(_sorted(item), sort_keys=True) for item in value) if isinstance(value, list) else value


def changes(compiled: Compiled, out: Path, *, thorough: bool = False) -> tuple[FileChange, ...]:
    """What writing would change, the lock file included; sorted by path.  Only files of ours under ``out`` count.

    Files that are known to be as they should are not read; ``thorough`` reads every one.
    """
    pending = _changes(compiled.files, out, None if thorough else KnownFiles(out))
    return _in_order([*pending.values(), *_changed(compiled.lock_path, compiled.lock_text)])


def _changes(files: Mapping[str, str], out: Path, known: KnownFiles | None) -> dict[str, FileChange]:
    """By name what differs below ``out``.  There are tens of thousands of files: a Path is made where one changes."""
    digests, found, top = _digests(files), dict[str, FileChange](), str(out)
    for name, text in files.items():
        digest = digests.get(name)
        if known is not None and digest is not None and known.has(name, digest):
            continue
        before = _read(f"{top}/{name}")
        if before != text:
            found[name] = FileChange(out / name, before, text)
        elif known is not None and digest is not None:
            known.note(name, digest)
    return found | {name: FileChange(out / name, _read(f"{top}/{name}"), None) for name in _stale(out, files)}


def _changed(path: Path, text: str) -> tuple[FileChange, ...]:
    """One file, where it differs."""
    before = _read(str(path))
    return (FileChange(path, before, text),) if before != text else ()


def _digests(files: Mapping[str, str]) -> dict[str, str]:
    """Of the nodes' files, by their names in the bundle; the manifest has them."""
    nodes = json.loads(files[MANIFEST])["nodes"]
    every = ((_place(node, name), digest) for node, e in nodes.items() for name, digest in e["files"].items())
    return dict(every)


def _place(node: str, name: str) -> str:
    """Where the bundle has a file of a node's."""
    return name if name == MEMBERS else f"{NODES}/{node}/{name}"


def _stale(out: Path, wanted: Container[str]) -> set[str]:
    """Of the nodes' files that the manifest in ``out`` lists those that nobody wants: nothing else there is ours."""
    try:
        nodes = json.loads((out / MANIFEST).read_bytes())["nodes"]
        listed = {_place(node, name) for node, entry in nodes.items() for name in entry["files"]}
        stale = {name for name in listed if name not in wanted}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return set()
    inside = (out / NODES).resolve()
    of_nodes = {name for name in stale if (out / name).is_file() and (out / name).resolve().is_relative_to(inside)}
    return of_nodes | {name for name in AT_TOP if name not in wanted and (out / name).is_file()}


def write(compiled: Compiled, out: Path) -> tuple[FileChange, ...]:
    """Writes what differs, bundle and lock file together or neither; tells what it wrote.  Raises OSError, Busy."""
    with sole_writer(out, compiled.lock_path):
        return _write(compiled, out, _changed(compiled.lock_path, compiled.lock_text))


def write_files(compiled: Compiled, out: Path) -> tuple[FileChange, ...]:
    """The same without the lock file, for a bundle beside the one that is committed."""
    with sole_writer(out):
        return _write(compiled, out, ())


def _write(compiled: Compiled, out: Path, lock: tuple[FileChange, ...]) -> tuple[FileChange, ...]:
    known = KnownFiles(out)
    pending = _changes(compiled.files, out, known)
    manifest = [pending[MANIFEST]] if MANIFEST in pending else []
    others = _in_order(change for name, change in pending.items() if name != MANIFEST)
    write_together([*others, *manifest], out, *lock)
    digests = _digests(compiled.files)
    for name in pending:
        if name in digests:
            known.note(name, digests[name])
    known.save()
    return _in_order([*pending.values(), *lock])


def write_lock(compiled: Compiled) -> bool:
    """Writes the lock file alone where it differs; whether it did.  Raises OSError, Busy."""
    with sole_writer(compiled.lock_path.parent):
        if _read(str(compiled.lock_path)) == compiled.lock_text:
            return False
        replace_file(compiled.lock_path, compiled.lock_text)
        return True


def _in_order(found: Iterable[FileChange]) -> tuple[FileChange, ...]:
    """As paths are sorted, by their parts."""
    return tuple(sorted(found, key=lambda change: str(change.path).split("/")))


def _read(path: str) -> str | None:
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - to make a Path takes as long as to find no file
            return file.read().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return None
