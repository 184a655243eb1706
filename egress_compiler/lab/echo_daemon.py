"""The echo service as a daemon in a host of the lab."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from egress_compiler.lab import state
from egress_compiler.lab.run import daemon

ARGV = (sys.executable, "-P", "-m", "egress_compiler.lab.echo")

_IMPORT_ROOT = Path(__file__).parents[2]
"""Where this package lies, for a process that starts in another directory."""


def start(name: str, host: str, command: Sequence[str]) -> None:
    """Runs the command that starts the service in a host; returns when it listens, LabError when it does not."""
    search = os.pathsep.join(filter(None, [str(_IMPORT_ROOT), os.environ.get("PYTHONPATH", "")]))
    daemon(command, state.log(name, f"echo-{host}"), env={"PYTHONPATH": search})
