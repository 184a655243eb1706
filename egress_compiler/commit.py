"""Files that change together or not at all.

What is new is written in full, and synced, beside its place first; a journal names every step; then renames put all in
place, the last of which makes it count.  Where a step fails those before it are taken back.  What a run leaves that was
cut off in between, by a crash or a loss of power, the next one takes back (``heal``).

    OUT/.egress-compiler/journal.json   the steps; there while they are taken
    OUT/.egress-compiler/new/N          what step N brings
    OUT/.egress-compiler/old/N          what it replaces or takes away
    .NAME.new                           what is new of a file elsewhere, beside it: no rename crosses file systems
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import json
import os
import shutil
import signal
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

STAGE = ".egress-compiler"
MANY = 500
"""Files that are synced at once, with all that others write to the same file system."""
_JOURNAL = "journal.json"
_STOPPING = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})


class HalfWritten(OSError):
    """A step failed, and so did taking back those before it; ``heal`` takes them back when the cause is gone."""


@dataclass(frozen=True, slots=True)
class FileChange:
    """One file that differs; ``before`` is None where it is new, ``after`` None where it goes."""

    path: Path
    before: str | None
    after: str | None


class _Step(NamedTuple):
    """``new`` takes the place of ``path``, or with None nothing does; ``old`` is what stood there, None for nothing."""

    path: Path
    new: Path | None
    old: Path | None


def replace_file(path: Path, text: str) -> None:
    """Writes one file in one step, the one that a link leads to; the directories that it needs are made.

    Raises OSError that names it; then all is as it was.  What is no file, such as /dev/stdout, is written to.
    """
    if path.exists() and not path.is_file():
        try:
            path.write_text(text, encoding="utf-8")
        except OSError as problem:
            raise _naming(path, problem) from problem
        return
    place = Path(os.path.realpath(path))
    new = place.with_name(f".{place.name}.new")
    made = _missing_directories(place.parent)
    try:
        _require_writable(place)
        place.parent.mkdir(parents=True, exist_ok=True)
        _write(new, text)
        new.replace(place)
    except BaseException as problem:
        with suppress(OSError):
            new.unlink()
        _remove_empty(made)
        if isinstance(problem, OSError):
            raise OSError(problem.errno, problem.strerror, str(path)) from None
        raise
    _sync_directory(place.parent)


def write_together(changes: Sequence[FileChange], out: Path, beside: FileChange | None = None) -> None:
    """Makes ``changes``, all under ``out``, in their order but what goes first; and last the one ``beside`` it.

    Raises OSError that names the file; then all is as it was, but for HalfWritten.
    """
    ordered = sorted(changes, key=lambda change: change.after is not None)
    if not ordered:
        if beside is not None:
            replace_file(beside.path, beside.after or "")
        return
    stage = out / STAGE
    new, old = stage / "new", stage / "old"
    steps = [
        _Step(
            change.path,
            new / str(number) if change.after is not None else None,
            old / str(number) if os.path.lexists(change.path) else None,
        )
        for number, change in enumerate(ordered)
    ]
    made = _missing_directories(out)
    try:
        for step in steps:
            if step.old is not None and not step.path.is_symlink():
                _require_writable(step.path)
        _prepare(steps, ordered, stage)
        directories = _missing_directories(*(step.path.parent for step in steps if step.new is not None))
        _write_journal(stage, steps, directories, out, beside)
        with _uninterrupted():
            _take(steps, directories, beside)
            _clear(stage)
            _remove_emptied((step.path.parent for step in steps if step.new is None), out)
    except HalfWritten:
        raise
    except BaseException as problem:
        _clear(stage)
        _remove_empty(made)
        if isinstance(problem, OSError) and str(problem.filename).startswith(str(stage)):
            raise OSError(problem.errno, problem.strerror, str(out)) from problem
        raise


def heal(out: Path) -> bool | None:
    """Ends what a run that was cut off has left under ``out``: None where that is nothing.

    True where all its steps were taken, False where they had to be taken back.  Raises OSError.
    """
    stage = out / STAGE
    try:
        journal = json.loads((stage / _JOURNAL).read_bytes())
        steps = [_recorded(number, out, *step) for number, step in enumerate(journal["steps"])]
        directories = [_inside(name, out) for name in journal["directories"]]
        beside = journal["beside"]
    except (OSError, ValueError, KeyError, TypeError):
        # Nothing of what a run without a whole journal has staged was put in place.
        shutil.rmtree(stage, ignore_errors=True)
        return None
    complete = not os.path.lexists(steps[-1].new or steps[-1].path) and (beside is None or _has(*beside))
    if not complete:
        _take_back(steps, directories)
    _clear(stage)
    return complete


def interrupted(out: Path) -> bool:
    """Whether a run was cut off in the middle of its steps, and ``heal`` has not been called since."""
    return (out / STAGE / _JOURNAL).exists()


def _recorded(number: int, out: Path, name: str, brings: bool, replaces: bool) -> _Step:
    stage = out / STAGE
    old = stage / "old" / str(number) if replaces else None
    return _Step(_inside(name, out), stage / "new" / str(number) if brings else None, old)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _has(path: str, digest: str) -> bool:
    with suppress(OSError, UnicodeDecodeError):
        return _digest(Path(path).read_text(encoding="utf-8")) == digest
    return False


def _inside(name: str, out: Path) -> Path:
    """A journal comes with a directory that others may have written: it leads nowhere else.  Raises ValueError."""
    if Path(name).is_absolute() or os.path.normpath(name) != name or name.startswith(".."):
        raise ValueError(name)
    return out / name


def _require_writable(path: Path) -> None:
    """A rename asks only the directory: a file that its owner has made read-only would be replaced all the same."""
    with suppress(FileNotFoundError):
        os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC))


def _prepare(steps: Sequence[_Step], changes: Sequence[FileChange], stage: Path) -> None:
    """What is new beside its place, and what is old as a second name for the same file, or a copy."""
    for name in ("new", "old"):
        (stage / name).mkdir(parents=True, exist_ok=True)
    with _syncing(stage, len(steps)) as one_by_one:
        for step, change in zip(steps, changes, strict=True):
            try:
                if step.new is not None:
                    _write(step.new, change.after or "", sync=one_by_one)
                if step.old is not None:
                    _keep(step.path, step.old)
            except OSError as problem:
                raise _naming(change.path, problem) from problem


@contextmanager
def _syncing(directory: Path, files: int) -> Iterator[bool]:
    """All that is written meanwhile is synced at the end; True where whoever writes a file has to sync it.

    So it is for few files, and where the C library has no syncfs(2), which takes a third of the time for many.  It
    tells of what could not be written since ``directory`` was opened.
    """
    syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None) if files >= MANY else None
    if syncfs is None:
        yield True
        return
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield False
        if syncfs(handle) != 0:
            number = ctypes.get_errno()
            if number not in (errno.ENOSYS, errno.EPERM):
                raise OSError(number, os.strerror(number), str(directory))
            os.sync()  # a sandbox has the library and not the call
    finally:
        os.close(handle)


def _keep(path: Path, old: Path) -> None:
    try:
        os.link(path, old, follow_symlinks=False)
    except OSError:
        shutil.copy2(path, old, follow_symlinks=False)


def _write(path: Path, text: str, *, sync: bool = True) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o666), "wb") as file:
        file.write(text.encode())
        file.flush()
        os.fchmod(file.fileno(), 0o755 if text.startswith("#!") else 0o644)
        if sync:
            os.fsync(file.fileno())


def _write_journal(
    stage: Path, steps: Iterable[_Step], directories: Iterable[Path], out: Path, beside: FileChange | None
) -> None:
    top = f"{out}/"
    journal = {
        "steps": [(str(step.path).removeprefix(top), step.new is not None, step.old is not None) for step in steps],
        "directories": [str(directory.relative_to(out)) for directory in directories],
        "beside": (os.path.realpath(beside.path), _digest(beside.after or "")) if beside is not None else None,
    }
    whole = stage / f"{_JOURNAL}.new"
    _write(whole, json.dumps(journal))
    whole.replace(stage / _JOURNAL)
    _sync_directory(stage)


def _take(steps: Sequence[_Step], directories: Iterable[Path], beside: FileChange | None) -> None:
    try:
        for directory in directories:
            directory.mkdir(exist_ok=True)
        for step in steps:
            if step.new is None:
                step.path.unlink()
            else:
                _put(step.new, step.path)
        _sync_directory(steps[-1].path.parent)
        if beside is not None:
            replace_file(beside.path, beside.after or "")
    except OSError as problem:
        try:
            _take_back(steps, directories)
        except OSError as further:
            raise HalfWritten(further.errno, further.strerror, str(further.filename)) from problem
        raise


def _put(new: Path, path: Path) -> None:
    try:
        new.replace(path)
    except OSError as problem:
        raise _naming(path, problem) from problem


def _take_back(steps: Iterable[_Step], directories: Iterable[Path]) -> None:
    with _uninterrupted():
        for step in reversed([*steps]):
            if step.old is None:
                step.path.unlink(missing_ok=True)
            elif os.path.lexists(step.old):
                # Nothing happens where both are the same file, as the step was not taken.
                step.old.replace(step.path)
        _remove_empty(directories)


def _clear(stage: Path) -> None:
    """Removes what was staged; the journal first, as it must never name what is not there."""
    with suppress(OSError):
        (stage / _JOURNAL).unlink()
    shutil.rmtree(stage, ignore_errors=True)


def _missing_directories(*wanted: Path) -> list[Path]:
    """Those that are to be made so that ``wanted`` are there, outer ones first."""
    missing: dict[Path, None] = {}
    for directory in dict.fromkeys(wanted):
        chain: list[Path] = []
        while directory not in missing and not directory.exists():
            chain.append(directory)
            directory = directory.parent
        missing |= dict.fromkeys(reversed(chain))
    return [*missing]


def _remove_empty(directories: Iterable[Path]) -> None:
    for directory in reversed([*directories]):
        with suppress(OSError):
            directory.rmdir()


def _remove_emptied(directories: Iterable[Path], stop: Path) -> None:
    with suppress(OSError):
        for directory in sorted({*directories}, reverse=True):
            while directory != stop and not any(directory.iterdir()):
                directory.rmdir()
                directory = directory.parent


def _sync_directory(directory: Path) -> None:
    with suppress(OSError):  # some file systems cannot
        handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _naming(path: Path, problem: OSError) -> OSError:
    """The same, naming ``path`` and not what stands in for it."""
    return OSError(problem.errno, problem.strerror, str(path))


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Signals that end a program wait until the steps are taken, or taken back."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
