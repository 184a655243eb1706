"""Paths to decoded text: which files a path stands for, and the limits they must keep."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from egress_compiler.diagnostics import Collector, printable
from egress_compiler.source import Position, SourceFile

POLICY_LIMIT = 16 * 1024 * 1024
CLUSTER_LIMIT = 2 * 1024 * 1024 * 1024
SUFFIXES = (".yaml", ".yml", ".json")


def find_files(paths: Iterable[Path], found: Collector, *, leave_out: Iterable[str] = ()) -> tuple[Path, ...]:
    """The files that ``paths`` stand for, directories searched for YAML and JSON, each once, sorted by name.

    Hidden files and the names in ``leave_out`` are passed over in directories.
    """
    passed_over = frozenset(leave_out)
    files: dict[Path, Path] = {}
    for path in paths:
        if path.is_dir():
            inside = [
                file
                for file in path.rglob("*")
                if file.suffix in SUFFIXES
                and file.name not in passed_over
                and not any(part.startswith(".") for part in file.relative_to(path).parts)
                and file.is_file()
            ]
            if not inside:
                found.error("no-files", f"no .yaml, .yml or .json file in {printable(str(path))}", None)
            files |= {file.resolve(): file for file in inside}
        elif path.exists():
            files[path.resolve()] = path
        else:
            found.error("no-files", f"{printable(str(path))} does not exist", None)
    return tuple(sorted(files.values()))


def read_bytes(path: Path, found: Collector, limit: int) -> bytes | None:
    """The file's content, or None with the reason reported."""
    try:
        size = path.stat().st_size
        if size > limit:
            found.error("file-too-large", f"{printable(str(path))} has {size} bytes; the limit is {limit}", None)
            return None
        return path.read_bytes()
    except OSError as problem:
        found.error("unreadable", f"{printable(str(path))} cannot be read: {problem.strerror}", None)
        return None


def read_source(path: Path, found: Collector, limit: int = POLICY_LIMIT) -> SourceFile | None:
    """The file decoded as UTF-8 (a byte order mark is dropped), or None with the reason reported."""
    content = read_bytes(path, found, limit)
    return None if content is None else decode(str(path), content, found)


def decode(name: str, content: bytes, found: Collector) -> SourceFile | None:
    try:
        return SourceFile(name, content.decode("utf-8-sig").replace("\r\n", "\n"))
    except UnicodeDecodeError as problem:
        good = content[: problem.start].decode("utf-8-sig", errors="replace")
        where = Position(SourceFile(name, good), good.count("\n") + 1, len(good) - good.rfind("\n"))
        found.error("not-utf8", "the file is not UTF-8 from here on", where, hint="save it as UTF-8")
        return None
