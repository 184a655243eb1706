"""The command line: options to inputs, results to text, failures to exit codes.

Loading a command takes a third of a second.  So that a signal gives no traceback meanwhile, this module imports nothing
that the interpreter has not at hand, and the rest only when signals and standard streams are.
"""

import os
import sys

__all__ = ["main"]


def main() -> None:
    """Runs the command line and exits with its documented code; neither input nor a signal gives a traceback."""
    try:
        _run()
    except SystemExit as end:
        if isinstance(end.code, int):
            _leave(end.code)
        raise


def _leave(code: int) -> None:
    """The system takes the memory back at once; the interpreter would do it object by object of a large cluster."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:  # noqa: S112  # whoever reads has gone, which the exit code says already
            continue
    os._exit(code)


def _run() -> None:
    try:
        from egress_compiler.cli import signals

        signals.catch()
    except KeyboardInterrupt:
        os.write(2, b"egress-compiler: interrupted\n")
        os._exit(130)
    try:
        from egress_compiler.cli import streams

        streams.check()
        from egress_compiler.cli.app import main as run

        signals.unwind()
        run()
    except KeyboardInterrupt:
        signals.end()
    finally:
        signals.finish()
