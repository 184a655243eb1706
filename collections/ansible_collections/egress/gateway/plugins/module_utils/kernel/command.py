# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""Programs on the node: argument lists only, never a shell made from input, always with a time limit."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

SEARCH_PATH = ":".join(("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"))
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_LIBC = ctypes.CDLL(None)


class NodeError(Exception):
    """The node cannot be read, or not be brought to its plan; the text says why."""

    failed_command: dict[str, Any] | None = None
    """What failed, as data: argv, status, stderr."""


class CommandFailed(NodeError):
    """A program failed. ``status`` is None when it was ended because it took too long."""

    def __init__(self, argv: Sequence[str], status: int | None, stderr: str, line: str = "") -> None:
        shown = " ".join(shlex.quote(word) for word in argv) + (" <<< " + shlex.quote(line) if line else "")
        how = "exit status %s" % status
        if status is None:
            how = "not done after %d s" % limits.seconds
        elif status < 0:
            how = "ended by signal %d" % -status
        super().__init__("%s: %s: %s" % (shown, how, stderr.strip() or "no message"))
        self.failed_command = {"argv": list(argv), "line": line, "status": status, "stderr": stderr.strip()}


@dataclass(frozen=True)
class Finished:
    status: int
    stdout: str
    stderr: str


class _Limits:
    seconds = 60
    """For one program; a table of 150,000 elements loads in 2."""


limits = _Limits()


def find(tool: str) -> str | None:
    """The absolute path of a program, or None."""
    return shutil.which(tool, path=SEARCH_PATH)


def run(argv: Sequence[str], stdin: str | bytes = "", check: bool = True) -> Finished:
    """Runs a program to its end.

    CommandFailed when it takes too long or is killed, and when it fails unless ``check`` is off. NodeError when it is
    missing. A program that takes too long is ended with all that it started. One that is given changes on its standard
    input does not outlive this process: they would meet those of the next run.
    """
    process = subprocess.Popen(
        [_path(argv[0]), *argv[1:]],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PATH": SEARCH_PATH, "LC_ALL": "C"},
        cwd="/",
        start_new_session=True,
        preexec_fn=_die_with_parent if stdin else None,  # costs some milliseconds
    )
    with process:
        try:
            output, errors = process.communicate(
                stdin if isinstance(stdin, bytes) else stdin.encode(), timeout=limits.seconds
            )
        except subprocess.TimeoutExpired as error:
            _end_group(process)
            raise CommandFailed(argv, None, (error.stderr or b"").decode(errors="replace")) from error
        except BaseException:
            _end_group(process)
            raise
    finished = Finished(process.returncode, output.decode(errors="replace"), errors.decode(errors="replace"))
    if finished.status < 0 or (check and finished.status != 0):
        raise CommandFailed(argv, finished.status, finished.stderr or finished.stdout)
    return finished


def _path(tool: str) -> str:
    path = find(tool)
    if path is None:
        raise NodeError("%s is not installed on this node" % tool)
    return path


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """The program and what it started, which holds its pipes too; nobody waits for what the killed had to say."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()


def _die_with_parent() -> None:
    """Run in the child before the program: one system call, and nothing that allocates."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def batch(argv: Sequence[str], lines: Sequence[str]) -> CommandFailed | None:
    """Feeds ``lines`` to ``ip`` or ``bridge``; all are tried, and the first that failed comes back, not raised.

    The caller decides by what the kernel holds afterwards: "File exists" is no failure when the object is right.
    """
    if not lines:
        return None
    whole = [*argv, "-force", "-batch", "-"]
    try:
        done = run(whole, "".join(line + "\n" for line in lines), check=False)
    except CommandFailed as error:
        return error
    if done.status == 0:
        return None
    number = re.search(r"Command failed -:(\d+)", done.stderr)
    line = lines[int(number.group(1)) - 1] if number else ""
    return CommandFailed(whole, done.status, done.stderr, line)


def detach(argv: Sequence[str]) -> None:
    """Starts a program that stays in the foreground, and leaves it to itself, as ``daemon`` does with others."""
    subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={"PATH": SEARCH_PATH, "LC_ALL": "C"},
        cwd="/",
        start_new_session=True,
    )


def daemon(argv: Sequence[str]) -> None:
    """Starts a program that puts itself into the background, holding none of this process's files or terminal.

    An open pipe would keep the SSH connection, and with it the Ansible task, waiting for the daemon's end.
    """
    try:
        done = subprocess.run(
            [_path(argv[0]), *argv[1:]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={"PATH": SEARCH_PATH, "LC_ALL": "C"},
            cwd="/",
            close_fds=True,
            start_new_session=True,
            timeout=limits.seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise CommandFailed(argv, None, "") from error
    if done.returncode != 0:
        raise CommandFailed(argv, done.returncode, "it writes its messages to the system log")
