"""Standard output and standard error, whose failures are told apart from those of other files."""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import Any, TextIO


class Undeliverable(Exception):
    """Standard output takes no more; ``problem`` says why."""

    def __init__(self, problem: OSError) -> None:
        super().__init__(f"standard output: {problem.strerror}")
        self.problem = problem

    @property
    def nobody_reads(self) -> bool:
        """It is a pipe whose reader has seen enough."""
        return self.problem.errno == errno.EPIPE


class _Output(io.FileIO):
    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as problem:
            raise Undeliverable(problem) from None


class _Error(io.FileIO):
    """What cannot be told here cannot be told at all: it is noted, and the command goes on."""

    lost = False

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as problem:
            _Error.lost = _Error.lost or problem.errno != errno.EPIPE
            return len(data)


def check() -> None:
    """Puts the checked streams in place.

    A stream that the program was started without stays without: what belongs to nobody must not go to a file that
    is opened later and gets its number.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if sys.stdout is not None:
        sys.stdout = _text(_Output(1, "w", closefd=False), sys.stdout)
    if sys.stderr is not None:
        sys.stderr = _text(_Error(2, "w", closefd=False), sys.stderr)


def _text(raw: io.FileIO, like: TextIO) -> TextIO:
    buffered = io.BufferedWriter(raw)
    return io.TextIOWrapper(buffered, like.encoding, like.errors, line_buffering=True)


def flush() -> None:
    """All of what was said goes out now.  Raises Undeliverable."""
    if sys.stdout is not None:
        sys.stdout.flush()


def discard() -> None:
    """What standard output has not taken yet goes nowhere, without a second complaint at the interpreter's end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def error_lost() -> bool:
    """Whether a message could not be told; not so where nobody reads any more."""
    return _Error.lost
