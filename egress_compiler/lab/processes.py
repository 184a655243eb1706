"""The processes of a lab, found by the network namespace that they are in."""

import contextlib
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from egress_compiler.lab.errors import LabError
from egress_compiler.lab.state import NETNS_ROOT

_PATIENCE = 5.0
"""Seconds in which killed processes must be gone."""


def in_namespaces(names: Sequence[str]) -> list[int]:
    """The processes that run in any of these namespaces."""
    wanted = {identity for identity in map(_of_namespace, names) if identity is not None}
    pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return sorted(pid for pid in pids if _of_process(pid) in wanted)


def runs_in(pid: int, name: str) -> bool:
    """Whether a process lives, and in this namespace."""
    identity = _of_process(pid)
    return identity is not None and identity == _of_namespace(name)


def kill_all(names: Sequence[str]) -> None:
    """Kills every process of these namespaces and waits until they are gone; LabError when some will not go."""
    limit = time.monotonic() + _PATIENCE
    while pids := in_namespaces(names):
        if time.monotonic() > limit:
            raise LabError(f"processes {pids} of the lab do not end")
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


def listens(pid: int, port: int) -> bool:
    """Whether something listens on a TCP port in the network namespace of a process."""
    for table in ("tcp", "tcp6"):
        try:
            rows = Path(f"/proc/{pid}/net/{table}").read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for row in rows:
            _, local, _, state = row.split()[:4]
            if state == _LISTEN and int(local.rpartition(":")[2], 16) == port:
                return True
    return False


_LISTEN = "0A"
"""TCP_LISTEN in /proc/net/tcp, see proc_net_tcp.txt of the kernel."""

_Identity = tuple[int, int]


def _of_namespace(name: str) -> _Identity | None:
    return _identity(NETNS_ROOT / name)


def _of_process(pid: int) -> _Identity | None:
    return _identity(Path(f"/proc/{pid}/ns/net"))


def _identity(path: Path) -> _Identity | None:
    """Device and inode; a process that is ending has none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
