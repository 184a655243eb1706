"""What every command does that writes: alone, in the words of diagnostics, and after what an earlier run has left."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from egress_compiler.commit import HalfWritten, heal, interrupted
from egress_compiler.diagnostics import Collector, Diagnostic, InvalidInput, printable
from egress_compiler.exclusive import Busy, sole_writer


@contextmanager
def writing(out: Path, lock_path: Path) -> Iterator[tuple[Diagnostic, ...]]:
    """This run alone writes there, from reading the lock file on; gives warnings of what an earlier one has left."""
    with _sole(out, lock_path):
        found = Collector()
        with told():
            complete = heal(out)
        if complete is not None:
            outcome = "all its files were in place" if complete else "the bundle was put back as it was before that run"
            message = f"{printable(str(out))}: an earlier run was cut off while it wrote; {outcome}"
            found.warning("interrupted-write", message, None)
        yield found.found


def cut_off(out: Path) -> tuple[Diagnostic, ...]:
    """For those who write nothing: a warning where an earlier run has left a bundle that is half its own."""
    found = Collector()
    if interrupted(out):
        message = f"{printable(str(out))}: an earlier run was cut off while it wrote"
        found.warning("interrupted-write", message, None, hint="compile again: that puts it right")
    return found.found


@contextmanager
def _sole(out: Path, lock_path: Path) -> Iterator[None]:
    def waiting(directory: Path) -> None:
        where = printable(str(directory))
        click.echo(f"egress-compiler: another run is writing to {where}; waiting for its end", err=True)

    alone = sole_writer(out, lock_path, waiting)
    with told():
        alone.__enter__()
    try:
        yield
    finally:
        alone.__exit__(None, None, None)


@contextmanager
def told() -> Iterator[None]:
    """What cannot be written is a diagnostic."""
    found = Collector()
    try:
        yield
    except HalfWritten as problem:
        cause = problem.__cause__ if isinstance(problem.__cause__, OSError) else problem
        found.error(
            "unwritable",
            f"{_file(cause)} cannot be written: {cause.strerror}; and what was written before it could not be taken "
            f"back: {_file(problem)}: {problem.strerror}",
            None,
            hint="mend what is in the way, and compile again: that takes it back",
        )
        raise InvalidInput(found.found, nothing_written=False) from None
    except OSError as problem:
        found.error("unwritable", f"{_file(problem)} cannot be written: {problem.strerror}", None)
        raise InvalidInput(found.found) from None
    except Busy as problem:
        hint = "wait for its end, or see what keeps it"
        found.error("unwritable", printable(str(problem)), None, hint=hint)
        raise InvalidInput(found.found) from None


def _file(problem: OSError) -> str:
    return printable(str(problem.filename or "a file"))
