"""Programs on this machine: found, run with a time limit, fed batches, left behind as daemons."""

import os
import selectors
import shutil
import signal
import subprocess
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import IO

from egress_compiler.lab.errors import LabError

TOOLS = {
    "bridge": "iproute2",
    "ip": "iproute2",
    "mount": "mount",
    "nft": "nftables",
    "nsenter": "util-linux",
    "setsid": "util-linux",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "sshd": "openssh-server",
    "unshare": "util-linux",
}
"""What a lab runs, with the Debian package that brings it."""

_SEARCH_PATH = os.pathsep.join([os.environ.get("PATH", "/usr/bin:/bin"), "/usr/sbin", "/sbin"])


def require_means() -> None:
    """LabError unless this process is root and all TOOLS are there."""
    if os.geteuid() != 0:
        raise LabError("the lab makes network namespaces and mounts, which takes root: run it with sudo")
    missing = {tool: package for tool, package in TOOLS.items() if shutil.which(tool, path=_SEARCH_PATH) is None}
    if missing:
        raise LabError(f"missing: {', '.join(missing)}; Debian has it in {', '.join(sorted(set(missing.values())))}")


def find(tool: str) -> str:
    """The absolute path of a tool; LabError when it is missing."""
    path = shutil.which(tool, path=_SEARCH_PATH)
    if path is None:
        raise LabError(f"{tool} is missing")
    return path


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment with the system tools in PATH, and `extra` over it."""
    return {**os.environ, "PATH": _SEARCH_PATH, **(extra or {})}


def run(
    argv: Sequence[str],
    *,
    stdin: str | None = None,
    check: bool = True,
    timeout: float | None = 30,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    keep: Collection[int] = (),
) -> subprocess.CompletedProcess[str]:
    """Runs to the end and returns what it wrote. It inherits the descriptors `keep`.

    LabError when it fails (unless `check` is off) or exceeds `timeout` seconds; it and its children are ended then.
    """
    process = start(
        argv,
        stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=env,
        cwd=cwd,
        keep=keep,
    )
    with process:
        try:
            out, err = process.communicate(stdin, timeout)
        except BaseException as error:
            end(process)
            if isinstance(error, subprocess.TimeoutExpired):
                raise LabError(f"{' '.join(argv)}: not done after {timeout:g} s") from error
            raise
    if check and process.returncode != 0:
        raise LabError(f"{' '.join(argv)}: exit status {process.returncode}: {(err or out).strip()}")
    return subprocess.CompletedProcess(list(argv), process.returncode, out, err)


def start(
    argv: Sequence[str],
    *,
    stdin: int | IO[str] | None = subprocess.DEVNULL,
    stdout: int | IO[str] | None = None,
    stderr: int | IO[str] | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    keep: Collection[int] = (),
) -> subprocess.Popen[str]:
    """Starts a program in a session of its own, so that `end` reaches its children too."""
    return subprocess.Popen(
        argv,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        env=environment(env),
        cwd=cwd,
        text=True,
        start_new_session=True,
        pass_fds=tuple(keep),
    )


def end(process: subprocess.Popen[str], number: signal.Signals = signal.SIGKILL) -> None:
    """Signals a process of `start` and its children; one that has ended is left alone."""
    if process.poll() is None:
        os.killpg(process.pid, number)


def daemon(argv: Sequence[str], log: Path, *, timeout: float = 10, env: Mapping[str, str] | None = None) -> str:
    """Starts a program that outlives this process, and returns the line with which it says that it is ready.

    Its messages go to `log`. LabError with their end when it says nothing within `timeout` seconds.
    """
    with log.open("a", encoding="utf-8") as messages:
        process = start(["setsid", "--fork", *argv], stdout=subprocess.PIPE, stderr=messages, env=env)
    with process, selectors.DefaultSelector() as selector:
        assert process.stdout is not None
        selector.register(process.stdout, selectors.EVENT_READ)
        line = process.stdout.readline() if selector.select(timeout) else ""
    if not line:
        tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-5:])
        raise LabError(f"{' '.join(argv)} did not start: {tail or 'no message'}")
    return line.strip()


def ip_batch(namespace: str | None, commands: Sequence[str], *, keep: Collection[int] = ()) -> None:
    """Runs `ip` commands in a network namespace, in order; LabError names the first that fails."""
    if not commands:
        return
    where = ["-n", namespace] if namespace else []
    done = run(["ip", *where, "-batch", "-"], stdin="\n".join(commands) + "\n", check=False, keep=keep)
    if done.returncode != 0:
        message = done.stderr.strip()
        number = message.rpartition("Command failed -:")[2]
        command = commands[int(number) - 1] if number.isdigit() else ""
        raise LabError(f"ip {command} (in {namespace or 'no namespace'}): {message}")
