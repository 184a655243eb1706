"""The command line: options to inputs, results to text, failures to exit codes.

Loading all of it takes half a second.  So that a signal gives no traceback meanwhile, this module imports nothing that
the interpreter has not at hand, and the rest only when signals and standard streams are.
"""

import os

__all__ = ["main"]


def main() -> None:
    """Runs the command line and exits with its documented code; neither input nor a signal gives a traceback."""
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
