"""Paths to decoded text: which files a path stands for, and the limits they must keep.

A pipe is read where the user named it (``-``, ``<(command)``, a FIFO), and waited for; one that merely lies in a
directory could keep a run waiting, and a device might never end: those are refused.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from egress_compiler.diagnostics import Collector
from egress_compiler.source import Position, SourceFile

POLICY_LIMIT = 16 * 1024 * 1024
JSON_LIMIT = 512 * 1024 * 1024
"""Of policies as JSON, which kubectl writes and nobody by hand: a big cluster's export is one List."""
CLUSTER_LIMIT = 2 * 1024 * 1024 * 1024
CHUNK = 1024 * 1024
SUFFIXES = (".yaml", ".yml", ".json")
STDIN = Path("-")

_streams: dict[tuple[int, int], bytes] = {}
"""What came out of pipes, by device and inode: a pipe gives it once, and a run may ask twice."""

_NOT_REGULAR = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISDIR, "a directory"),
)
_REASONS = {
    errno.ENOENT: "does not exist",
    errno.ELOOP: "is a loop of symbolic links",
    errno.EACCES: "must not be read: permission denied",
    errno.ENAMETOOLONG: "is too long for a path",
    errno.ENOTDIR: "does not exist: what should be a directory on the way is a file",
}


def shown(path: Path) -> str:
    """The path for messages, whatever bytes it has."""
    if path == STDIN:
        return "<stdin>"
    return str(path).encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def find_files(paths: Iterable[Path], found: Collector, *, leave_out: Iterable[str] = ()) -> tuple[Path, ...]:
    """The files that ``paths`` stand for, directories searched for YAML and JSON, each once, sorted by name.

    Hidden files and the names in ``leave_out`` are passed over in directories, links to directories not followed.
    """
    passed_over = frozenset(leave_out)
    files: dict[Path, Path] = {}
    for path in paths:
        try:
            is_directory = path != STDIN and stat.S_ISDIR(path.stat().st_mode)
        except (OSError, ValueError) as problem:
            _report(path, problem, found)
            continue
        inside = sorted(_walk(path, passed_over, found)) if is_directory else [path]
        if not inside:
            hint = "name the directory that holds the files, or a file"
            found.error("no-files", f"no .yaml, .yml or .json file in {shown(path)}", None, hint=hint)
            found.missing("documents")
        for file in inside:
            if not is_directory or _regular(file, found):
                files.setdefault(Path(os.path.realpath(file)), file)
    return tuple(sorted(files.values()))


def _regular(path: Path, found: Collector) -> bool:
    """Whether a file of a directory can be read without waiting; a link to nothing is reported when it is read."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return True
    if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        _report_kind(path, mode, found)
        return False
    return True


def _walk(top: Path, passed_over: frozenset[str], found: Collector) -> Iterator[Path]:
    def unreadable(problem: OSError) -> None:
        _report(Path(problem.filename), problem, found)

    for directory, names, files in os.walk(top, onerror=unreadable):
        names[:] = [name for name in names if not name.startswith(".")]
        for name in files:
            if name.endswith(SUFFIXES) and not name.startswith(".") and name not in passed_over:
                yield Path(directory) / name


def _report(path: Path, problem: OSError | ValueError, found: Collector) -> None:
    """``problem`` in words; the path is the user's, so it has no position."""
    number = problem.errno if isinstance(problem, OSError) else None
    why = _REASONS.get(number or 0) or f"cannot be read: {getattr(problem, 'strerror', None) or problem}"
    found.error("unreadable", f"{shown(path)} {why}", None)
    found.missing("documents")


def read_bytes(path: Path, found: Collector, limit: int, *, json_limit: int = 0, streams: bool = False) -> bytes | None:
    """The file's content, or None with the reason reported.  Never takes more than ``limit``.

    What begins like JSON may have ``json_limit``.  With ``streams`` pipes are read, too, to their end; else it never
    waits.
    """
    try:
        handle = os.dup(0) if streams and path == STDIN else _opened(path, streams=streams)
        try:
            content = _read(handle, path, limit, json_limit, found, streams=streams)
        finally:
            os.close(handle)
    except (OSError, ValueError) as problem:
        _report(path, problem, found)
        return None
    return content


def _opened(path: Path, *, streams: bool) -> int:
    """Without O_NONBLOCK a pipe without a writer would keep us waiting for one, as it should where it was named."""
    waits = streams and stat.S_ISFIFO(path.stat().st_mode)
    return os.open(path, os.O_RDONLY | (0 if waits else os.O_NONBLOCK) | os.O_NOCTTY | os.O_CLOEXEC)


def _read(handle: int, path: Path, limit: int, json_limit: int, found: Collector, *, streams: bool) -> bytes | None:
    """Everything; None after reporting that it is too much, or no regular file."""
    status = os.fstat(handle)
    stream = streams and _is_stream(status.st_mode, path)
    if not stat.S_ISREG(status.st_mode) and not stream:
        _report_kind(path, status.st_mode, found)
        return None
    key = (status.st_dev, status.st_ino)
    if stream and key in _streams:
        return _streams[key]
    # One more than the size tells the end; files under /proc say that their size is 0.
    parts, total, wanted = list[bytes](), 0, min(status.st_size, limit) + 1
    while part := os.read(handle, wanted):
        parts.append(part)
        total += len(part)
        if total > limit and json_limit > limit and first_byte(parts[0]) in (b"{", b"["):
            limit = json_limit
        if total > limit:
            _too_large(path, limit, found)
            return None
        wanted = CHUNK
    content = b"".join(parts)
    if stream:
        _streams[key] = content
    return content


def _is_stream(mode: int, path: Path) -> bool:
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or (path == STDIN and stat.S_ISCHR(mode))


def first_byte(content: bytes) -> bytes:
    """The first byte that is no space; of the first kilobyte, as the rest may be large."""
    return content[:1024].removeprefix(b"\xef\xbb\xbf").lstrip()[:1]


def _report_kind(path: Path, mode: int, found: Collector) -> None:
    kind = next((name for test, name in _NOT_REGULAR if test(mode)), "no regular file")
    hint = "" if kind == "a directory" else "save what comes out of it as a file, and name that"
    found.error("unreadable", f"{shown(path)} is {kind}, not a file", None, hint=hint)
    found.missing("documents")


def _too_large(path: Path, limit: int, found: Collector) -> None:
    size = f"{limit // 1024**2:,} MiB"
    found.error("too-large", f"{shown(path)} has more than {size}", None, hint="is it the right file? Else split it")
    found.missing("documents")


def read_source(path: Path, found: Collector, limit: int = POLICY_LIMIT) -> SourceFile | None:
    """The file decoded as UTF-8 (a byte order mark is dropped), or None with the reason reported."""
    content = read_bytes(path, found, limit, json_limit=JSON_LIMIT, streams=True)
    return None if content is None else decode(shown(path), content, found)


def decode(name: str, content: bytes, found: Collector) -> SourceFile | None:
    """Text whose line ends are all ``\\n``; Windows' and old Macs' mean the same."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        _not_utf8(name, content, problem, found)
        return None
    return SourceFile(name, _plain_ends(text))


def _plain_ends(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def _not_utf8(name: str, content: bytes, problem: UnicodeDecodeError, found: Collector) -> None:
    found.missing("documents")
    good = _plain_ends(content[: problem.start].decode("utf-8-sig", errors="replace"))
    where = Position(SourceFile(name, good), good.count("\n") + 1, len(good) - good.rfind("\n"))
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        encoding = "UTF-32" if content[:4] in (b"\xff\xfe\0\0", b"\0\0\xfe\xff") else "UTF-16"
        found.error("not-utf8", f"the file is {encoding}, not UTF-8", where, hint="save it as UTF-8")
        return
    byte = content[problem.start]
    found.error("not-utf8", f"the byte 0x{byte:02x} here is not UTF-8", where, hint="save the file as UTF-8")
