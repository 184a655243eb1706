# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""Programs on the node: argument lists only, never a shell made from input, always with a time limit."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

SEARCH_PATH = ":".join(("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"))
LIMIT = 60
"""Seconds for one program; a table of 150,000 elements loads in 2."""


class NodeError(Exception):
    """The node cannot be read, or not be brought to its plan; the text says why."""

    failed_command: dict[str, Any] | None = None
    """What failed, as data: argv, status, stderr."""


class CommandFailed(NodeError):
    """A program failed. ``status`` is None when it was ended because it took too long."""

    def __init__(self, argv: Sequence[str], status: int | None, stderr: str, line: str = "") -> None:
        shown = " ".join(shlex.quote(word) for word in argv) + (" <<< " + shlex.quote(line) if line else "")
        how = "not done after %d s" % LIMIT if status is None else "exit status %d" % status
        super().__init__("%s: %s: %s" % (shown, how, stderr.strip() or "no message"))
        self.failed_command = {"argv": list(argv), "line": line, "status": status, "stderr": stderr.strip()}


@dataclass(frozen=True)
class Finished:
    status: int
    stdout: str
    stderr: str


def find(tool: str) -> str | None:
    """The absolute path of a program, or None."""
    return shutil.which(tool, path=SEARCH_PATH)


def run(argv: Sequence[str], stdin: str = "", check: bool = True) -> Finished:
    """Runs a program to its end.

    CommandFailed when it takes too long, and when it fails unless ``check`` is off. NodeError when it is missing.
    """
    path = find(argv[0])
    if path is None:
        raise NodeError("%s is not installed on this node" % argv[0])
    environment = {**os.environ, "PATH": SEARCH_PATH, "LC_ALL": "C"}
    try:
        done = subprocess.run(
            [path, *argv[1:]],
            input=stdin.encode(),
            capture_output=True,
            env=environment,
            cwd="/",
            timeout=LIMIT,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise CommandFailed(argv, None, (error.stderr or b"").decode(errors="replace")) from error
    finished = Finished(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))
    if check and finished.status != 0:
        raise CommandFailed(argv, finished.status, finished.stderr or finished.stdout)
    return finished


def batch(argv: Sequence[str], lines: Sequence[str]) -> CommandFailed | None:
    """Feeds ``lines`` to ``ip`` or ``bridge``; all are tried, and the first that failed comes back, not raised.

    The caller decides by what the kernel holds afterwards: "File exists" is no failure when the object is right.
    """
    if not lines:
        return None
    whole = [*argv, "-force", "-batch", "-"]
    done = run(whole, "".join(line + "\n" for line in lines), check=False)
    if done.status == 0:
        return None
    number = re.search(r"Command failed -:(\d+)", done.stderr)
    line = lines[int(number.group(1)) - 1] if number else ""
    return CommandFailed(whole, done.status, done.stderr, line)


def daemon(argv: Sequence[str]) -> None:
    """Starts a program that puts itself into the background, holding none of this process's files or terminal.

    An open pipe would keep the SSH connection, and with it the Ansible task, waiting for the daemon's end.
    """
    path = find(argv[0])
    if path is None:
        raise NodeError("%s is not installed on this node" % argv[0])
    try:
        done = subprocess.run(
            [path, *argv[1:]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={"PATH": SEARCH_PATH, "LC_ALL": "C"},
            cwd="/",
            close_fds=True,
            start_new_session=True,
            timeout=LIMIT,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise CommandFailed(argv, None, "") from error
    if done.returncode != 0:
        raise CommandFailed(argv, done.returncode, "it writes its messages to the system log")
