"""sshd in every node, in a machine of its own as far as files, processes and the host name go.

A node's /etc, /var/lib and /opt are overlays over this machine's, with the directories of `snapshot.DIRECTORIES`
empty. Its /run has nothing but the lab's directory. What it writes there lies on a tmpfs that ends with the node's last
process.
Its processes have a PID namespace whose first is sshd: killing that one is the death of the node, and `pkill` in one
node does not reach another.
"""

import time
from pathlib import Path

from egress_compiler.lab import processes, state
from egress_compiler.lab.errors import LabError
from egress_compiler.lab.run import daemon, find, run
from egress_compiler.lab.snapshot import DIRECTORIES, OURS
from egress_compiler.lab.topology import LabNode, LabTopology

PORT = 22
_PATIENCE = 10.0
"""Seconds in which sshd must listen."""


def make_keys(name: str, topology: LabTopology) -> None:
    """One host key and one user key for the lab, and the files in which both sides know each other."""
    path = state.directory(name) / "ssh"
    for key in ("host", "user"):
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"egress-lab-{name}-{key}", "-f", str(path / key)])
    (path / "authorized_keys").write_text((path / "user.pub").read_text(encoding="ascii"), encoding="ascii")
    host_key = " ".join((path / "host.pub").read_text(encoding="ascii").split()[:2])
    known = "".join(f"{','.join((node.name, *node.addresses))} {host_key}\n" for node in topology.nodes)
    (path / "known_hosts").write_text(known, encoding="ascii")


def start(name: str, topology: LabTopology, node: LabNode) -> None:
    """Starts a node's sshd and waits until it listens; LabError with its messages when it does not."""
    path = state.directory(name)
    config = path / "ssh" / f"sshd-{node.name}.conf"
    config.write_text(_config(path / "ssh", node), encoding="ascii")
    script = path / "nodes" / f"{node.name}.sh"
    script.write_text(_script(path, node, config), encoding="ascii")
    (path / "nodes" / node.name).mkdir(exist_ok=True)
    namespace = state.netns(name, node.name)
    inside = ["unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child", "sh", str(script)]
    log = state.log(name, f"sshd-{node.name}")
    pid = int(daemon(["ip", "netns", "exec", namespace, *inside], log))
    (path / "nodes" / f"{node.name}.pid").write_text(f"{pid}\n", encoding="ascii")
    limit = time.monotonic() + _PATIENCE
    while not processes.listens(pid, PORT):
        if time.monotonic() > limit or not processes.runs_in(pid, namespace):
            raise LabError(f"sshd of node {node.name} did not start: {log.read_text(encoding='utf-8').strip()}")
        time.sleep(0.005)


def first_process(name: str, node: str) -> int:
    """The process id, as this machine counts, of the node's first process; LabError when the node is dead."""
    try:
        pid = int((state.directory(name) / "nodes" / f"{node}.pid").read_text(encoding="ascii"))
    except (OSError, ValueError):
        raise LabError(f"node {node!r} of lab {name!r} does not run") from None
    if not processes.runs_in(pid, state.netns(name, node)):
        raise LabError(f"node {node!r} of lab {name!r} is powered off")
    return pid


def _config(keys: Path, node: LabNode) -> str:
    listen = "".join(f"ListenAddress {address}\n" for address in node.addresses)
    return (
        f"Port {PORT}\n{listen}"
        f"HostKey {keys}/host\n"
        f"AuthorizedKeysFile {keys}/authorized_keys\n"
        "PermitRootLogin prohibit-password\n"
        "PasswordAuthentication no\n"
        "KbdInteractiveAuthentication no\n"
        "StrictModes no\n"
        "UsePAM no\n"
        "UseDNS no\n"
        "PrintMotd no\n"
        "PidFile none\n"
        "MaxStartups 100\n"
        "MaxSessions 100\n"
        "Subsystem sftp internal-sftp\n"
    )


def _hidden(lower: str, upper: str) -> str:
    """Commands that hide what this machine has below ``lower`` in DIRECTORIES, by overlayfs's whiteouts in ``upper``.

    Made before the mount, so that no command here can remove anything but in the node.
    """
    below = [Path(path).relative_to(lower) for path in DIRECTORIES if path.startswith(f"{lower}/")]
    return "\n".join(f"mkdir -p {upper}/{path.parent}; mknod {upper}/{path} c 0 0" for path in below)


def _script(lab: Path, node: LabNode, config: Path) -> str:
    """What the node's first process does before it becomes sshd. Its one line of output is its process id."""
    scratch = lab / "nodes" / node.name
    run_directory = scratch / lab.relative_to("/")
    return f"""set -eu
umask 022
read -r pid _ < /proc/self/stat
mount -t tmpfs -o mode=755 egress-lab {scratch}
cd {scratch}
mkdir -p etc etc.work lib lib.work opt opt.work run/sshd run/lock {run_directory}
{_hidden("/etc", "etc")}
{_hidden("/var/lib", "lib")}
{_hidden("/opt", "opt")}
mount -t overlay -o lowerdir=/etc,upperdir={scratch}/etc,workdir={scratch}/etc.work egress-lab /etc
mount -t overlay -o lowerdir=/var/lib,upperdir={scratch}/lib,workdir={scratch}/lib.work egress-lab /var/lib
mount -t overlay -o lowerdir=/opt,upperdir={scratch}/opt,workdir={scratch}/opt.work egress-lab /opt
mount --bind {lab} {run_directory}
mount --rbind run /run
cd /
mkdir {" ".join(directory for directory in DIRECTORIES if directory not in OURS)}
mount -t proc proc /proc
echo {node.name} > /proc/sys/kernel/hostname
if grep -q '^root:!' /etc/shadow; then sed -i 's/^root:!/root:*/' /etc/shadow; fi
echo "$pid"
exec {find("sshd")} -D -e -f {config} > /dev/null
"""
