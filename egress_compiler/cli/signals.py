"""Ctrl-C, SIGTERM and SIGHUP: one line and the shell's exit code, whenever they come.

While modules load, the program ends on the spot: nothing is to be undone, and half-made modules make odd exceptions.
Later a KeyboardInterrupt unwinds what runs.  Whatever becomes of it on its way - libraries swallow it, or make another
exception of it - the program ends as it was told to.
"""

from __future__ import annotations

import os
import sys
from types import FrameType
from typing import NoReturn

try:
    import contextlib
    import signal
except KeyboardInterrupt:
    os._exit(130)

_WORDS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated", signal.SIGHUP: "hung up"}
_received: list[int] = []
_unwinding = False


def catch() -> None:
    """From now on.  A signal that the program's starter ignores (nohup, a shell's &) stays ignored."""
    for number in _WORDS:
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, _stop)
    sys.unraisablehook = _unraisable


def unwind() -> None:
    """All is loaded: from now on a signal lets what runs clean up."""
    global _unwinding
    _unwinding = True


def finish() -> None:
    """All is done but leaving: from now on a signal ends the program on the spot again."""
    global _unwinding
    _unwinding = False


def received() -> bool:
    return bool(_received)


def end() -> NoReturn:
    """Says what ended the program, and ends it."""
    finish()
    sys.exit(_tell(_received[-1] if _received else signal.SIGINT))


def _stop(number: int, frame: FrameType | None) -> None:
    if not _unwinding:
        os._exit(_tell(number) if not _received else 128 + number)
    _received.append(number)
    raise KeyboardInterrupt


def _tell(number: int) -> int:
    """The exit code, as shells give it."""
    with contextlib.suppress(OSError):
        os.write(2, f"egress-compiler: {_WORDS[signal.Signals(number)]}\n".encode())
    return 128 + number


def _unraisable(found: sys.UnraisableHookArgs) -> None:
    """An exception that has nowhere to go, as it came while an object was finalized."""
    if not issubclass(found.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(found)
