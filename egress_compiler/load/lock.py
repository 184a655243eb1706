"""The lock file, read and written: JSON with one allocation a line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from egress_compiler.diagnostics import Collector
from egress_compiler.load.files import read_source
from egress_compiler.load.yaml_text import parse_yaml
from egress_compiler.model.lock import LOCK_VERSION, EipLock, GatewayLock, GoneLock, Lock, PolicyLock, SlotLock
from egress_compiler.source import Position
from egress_compiler.validate.shape import check_shape


def load_lock(path: Path, found: Collector) -> Lock:
    """The allocations of earlier runs; none where the file does not exist.  A broken file is an error."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return Lock()
    except (OSError, ValueError):
        pass  # reading it says why
    errors = found.errors
    source = read_source(path, found)
    documents = parse_yaml(source, found) if source is not None else ()
    for other in documents[1:]:
        found.error(
            "two-documents",
            "this is a second document, and a lock file has one",
            other.at(),
            hint="take back what compile wrote",
        )
    if not documents and source is not None and found.errors == errors:
        hint = "take back what was there, or delete the file to allocate everything afresh: EIPs may move"
        found.error("empty-lock", "the lock file is empty", Position(source, 1, 1), hint=hint)
    document = check_shape(documents[0], "lock", found) if documents else None
    data: Any = document.data if document is not None else {}
    if found.errors > errors:
        return Lock()
    return Lock(
        nodes=data.get("nodes", {}),
        slots={key: SlotLock(**entry) for key, entry in data.get("slots", {}).items()},
        gateways={
            key: GatewayLock(entry.get("ipv4DefaultEIP", ""), entry.get("ipv6DefaultEIP", ""))
            for key, entry in data.get("gateways", {}).items()
        },
        eips={key: EipLock(**entry) for key, entry in data.get("eips", {}).items()},
        policies={key: PolicyLock(**entry) for key, entry in data.get("policies", {}).items()},
        answers=data.get("answers", {}),
        last_answer=data.get("lastAnswer"),
        gone={key: GoneLock(**entry) for key, entry in data.get("gone", {}).items()},
        underlay=6 if data.get("underlay") == "ipv6" else 4,
        good={key: documents[0].part(entry, "good", key) for key, entry in data.get("good", {}).items()},
        document=document,
    )


def lock_text(lock: Lock) -> str:
    """The file's text: sections and entries sorted, an entry a line, so that a diff shows what moved."""
    sections: dict[str, Mapping[str, object]] = {
        "nodes": lock.nodes,
        "gateways": {
            key: _filled({"ipv4DefaultEIP": entry.ipv4, "ipv6DefaultEIP": entry.ipv6})
            for key, entry in lock.gateways.items()
        },
        "slots": {key: {"slot": s.slot, "vrid": s.vrid, "vip": s.vip} for key, s in lock.slots.items()},
        "eips": {
            key: _filled({"node": e.node, "pinned": e.pinned, "meanwhile": e.meanwhile}) for key, e in lock.eips.items()
        },
        "policies": {
            key: _filled({"gateway": p.gateway, "ipv4": p.ipv4, "ipv6": p.ipv6, "node": p.node, "kept": p.kept})
            for key, p in lock.policies.items()
        },
        "answers": lock.answers,
    }
    if lock.gone:
        sections["gone"] = {
            key: _filled({"number": g.number, "gateway": g.gateway, "ipv4": g.ipv4, "ipv6": g.ipv6, "node": g.node})
            for key, g in lock.gone.items()
        }
    if lock.good:
        sections["good"] = {key: document.data for key, document in lock.good.items()}
    parts = [f'  "version": {LOCK_VERSION}']
    if lock.underlay == 6:
        parts.append('  "underlay": "ipv6"')
    if lock.last_answer:
        parts.append(f'  "lastAnswer": {lock.last_answer}')
    for name, entries in sections.items():
        lines = [f"    {json.dumps(key)}: {json.dumps(entries[key])}" for key in sorted(entries)]
        parts.append(f'  "{name}": {{\n' + ",\n".join(lines) + "\n  }" if lines else f'  "{name}": {{}}')
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _filled(entry: Mapping[str, object]) -> dict[str, object]:
    return {key: value for key, value in entry.items() if value}
