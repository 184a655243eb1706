"""Where a program runs: the command that puts it into a host of the lab."""

from collections.abc import Sequence
from pathlib import Path

from egress_compiler.lab import sshd, state
from egress_compiler.lab.errors import LabError
from egress_compiler.lab.topology import LabTopology


def command(name: str, topology: LabTopology, host: str, argv: Sequence[str], cwd: Path | None = None) -> list[str]:
    """`argv` as run in a host: a node's name, `namespace/pod`, `outside`, `controller` or `fabric`.

    In a node it sees the node's files, processes and host name too, else only the host's network. LabError when there
    is no such host, or the node is powered off.
    """
    if host not in topology.hosts:
        raise LabError(f"no host {host!r} in lab {name!r}; there are {', '.join(topology.hosts)}")
    if any(host == node.name for node in topology.nodes):
        pid = sshd.first_process(name, host)
        where = [] if cwd is None else [f"--wd={cwd.absolute()}"]
        return ["nsenter", f"--target={pid}", "--mount", "--uts", "--net", "--pid", *where, "--", *argv]
    return ["ip", "netns", "exec", state.netns(name, host), *argv]
