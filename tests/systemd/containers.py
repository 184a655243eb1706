"""Nodes of a lab that are real systems: systemd-nspawn boots a release's tree in the node's network namespace.

What a node writes stays on its disk, an overlay over the tree, for as long as the lab is up: it survives `Lab.poweroff`
and `Lab.power_on`. What its kernel knew does not, as those make a new network namespace.
"""

import itertools
import os
import shlex
import time
from dataclasses import dataclass
from pathlib import Path

from egress_compiler.lab import LabError, LabNode, LabTopology, processes, state
from egress_compiler.lab.build import routes_to_others
from egress_compiler.lab.machine import Machine
from egress_compiler.lab.run import daemon, run
from egress_compiler.lab.sshd import PORT
from egress_compiler.lab.topology import prefix_length

_PATIENCE = 90.0
"""Seconds for a boot; it takes three to five on an idle machine."""
_boots = itertools.count()


def obstacle() -> str | None:
    """Why no container can boot here, or None."""
    if "overlay" not in Path("/proc/filesystems").read_text(encoding="ascii"):
        return "needs overlayfs"
    if _control_groups() is None:
        return "needs a writable cgroup2 hierarchy"
    return None


def containers(tree: Path) -> Machine:
    """Nodes that boot this tree, and know how the playbooks find that out."""
    return Machine(_Boot(tree), "/usr/bin/python3", "auto", has_network=True)


@dataclass(frozen=True)
class _Boot:
    tree: Path

    def __call__(self, name: str, topology: LabTopology, node: LabNode) -> None:
        disk = state.directory(name) / "nodes" / node.name
        if not disk.is_dir():
            _make_disk(disk, state.directory(name) / "ssh", topology, node)
        log = state.log(name, f"boot-{node.name}")
        script = _script(name, node, disk, self.tree, log)
        container = int(daemon(["unshare", "--mount", "--propagation=slave", "sh", "-ec", script], log))
        limit = time.monotonic() + _PATIENCE
        first = _until_booted(container, limit, log)
        (disk.parent / f"{node.name}.pid").write_text(f"{first}\n", encoding="ascii")
        while not processes.listens(first, PORT):
            if time.monotonic() > limit:
                raise LabError(f"sshd of node {node.name} did not start: {_tail(log)}")
            time.sleep(0.05)


def _until_booted(container: int, limit: float, log: Path) -> int:
    """The process id of the container's first process, when systemd has started all that it starts at boot."""
    while time.monotonic() < limit:
        first = _child(container)
        if first is not None:
            enter = ["nsenter", f"--target={first}", "--mount", "--uts", "--net", "--pid"]
            done = run([*enter, "systemctl", "is-system-running"], check=False)
            if done.stdout.strip() in ("running", "degraded"):
                return first
        elif not Path(f"/proc/{container}").exists():
            break
        time.sleep(0.1)
    raise LabError(f"the container does not boot: {_tail(log)}")


def _child(container: int) -> int | None:
    """The only child of systemd-nspawn that is the first of its PID namespace."""
    try:
        children = Path(f"/proc/{container}/task/{container}/children").read_text(encoding="ascii").split()
        for child in children:
            status = Path(f"/proc/{child}/status").read_text(encoding="ascii")
            numbers = next(line for line in status.splitlines() if line.startswith("NSpid:")).split()[1:]
            if len(numbers) > 1 and numbers[-1] == "1":
                return int(child)
    except (OSError, StopIteration):
        pass
    return None


def _make_disk(disk: Path, keys: Path, topology: LabTopology, node: LabNode) -> None:
    """A tmpfs, as what is below may be an overlay itself; `state.remove` unmounts it. ``seed`` goes over the tree."""
    disk.mkdir()
    run(["mount", "-t", "tmpfs", "-o", "mode=755", "egress-lab", str(disk)])
    for part in ("upper", "work", "root"):
        (disk / part).mkdir()
    public = (keys / "host.pub").read_text(encoding="ascii")
    files = {
        "etc/hostname": (f"{node.name}\n", 0o644),
        "etc/machine-id": (f"{os.urandom(16).hex()}\n", 0o444),
        "etc/hosts": (f"127.0.0.1 localhost\n127.0.1.1 {node.name}\n", 0o644),
        "etc/ssh/ssh_host_ed25519_key": ((keys / "host").read_text(encoding="ascii"), 0o600),
        "etc/ssh/ssh_host_ed25519_key.pub": (public, 0o644),
        "etc/ssh/sshd_config.d/lab.conf": ("UseDNS no\nMaxStartups 100\nMaxSessions 100\n", 0o644),
        "etc/systemd/network/10-uplink.network": (uplink(topology, node), 0o644),
        "root/.ssh/authorized_keys": ((keys / "user.pub").read_text(encoding="ascii"), 0o600),
    }
    seed = disk / "seed"
    for file, (text, mode) in files.items():
        path = seed / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="ascii")
        path.chmod(mode)
    for directory in ("root", "root/.ssh"):
        (seed / directory).chmod(0o700)


def uplink(topology: LabTopology, node: LabNode) -> str:
    """The node's uplink for systemd-networkd, with the routes to the other nodes' pods."""
    families = {":" in address for address in node.addresses}
    lines = ["[Match]", f"Name={node.interface}", "", "[Network]", "IPv6AcceptRA=no", "LinkLocalAddressing=ipv6"]
    lines += [f"Address={address}/{prefix_length(topology, address)}" for address in node.addresses]
    lines += [f"Gateway={via}" for via in topology.outside.gateways if (":" in via) in families]
    for cidr, via in routes_to_others(topology, node):
        lines += ["", "[Route]", f"Destination={cidr}", f"Gateway={via}"]
    return "\n".join(lines) + "\n"


def _script(name: str, node: LabNode, disk: Path, tree: Path, log: Path) -> str:
    """What becomes systemd-nspawn, in a mount namespace of its own. Its one line of output is its process id.


    Its mounts follow this machine's, or they would keep network namespaces alive. One control group a boot: systemd
    wants one that nobody has used, and leaves its own below it.
    """
    groups = _control_groups()
    assert groups is not None
    group = groups / f"{state.prefix(name)}{node.name}-{os.getpid()}-{next(_boots)}"
    namespace = state.NETNS_ROOT / state.netns(name, node.name)
    options = f"lowerdir={tree},upperdir={disk}/upper,workdir={disk}/work"
    container = [
        "systemd-nspawn",
        "--quiet",
        "--register=no",
        "--keep-unit",
        "--link-journal=no",
        "--resolv-conf=off",
        "--timezone=off",
        "--console=pipe",
        f"--machine={node.name}",
        f"--directory={disk}/root",
        f"--network-namespace-path={namespace}",
        "--capability=CAP_NET_ADMIN,CAP_NET_RAW",
        "--boot",
    ]
    return f"""umask 022
for old in {groups}/{state.prefix(name)}{node.name}-*; do
    [ ! -d $old ] || find $old -depth -type d -exec rmdir {{}} + 2> /dev/null || true
done
mount -t overlay -o {shlex.quote(options)} egress-lab {disk}/root
[ ! -d {disk}/seed ] || {{ cp -a {disk}/seed/. {disk}/root/; rm -r {disk}/seed; }}
mkdir {group}
echo 0 > {group}/cgroup.procs
export SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 SYSTEMD_NSPAWN_API_VFS_WRITABLE=network SYSTEMD_NSPAWN_LOCK=0
echo $$
exec {shlex.join(container)} < /dev/null >> {log} 2>&1
"""


def remove_control_groups(name: str) -> None:
    """Of the boots of a lab that is down."""
    groups = _control_groups()
    for group in groups.glob(f"{state.prefix(name)}*") if groups else ():
        for path in sorted((path for path in (group, *group.rglob("*")) if path.is_dir()), reverse=True):
            _remove(path)


def _remove(group: Path) -> None:
    """systemd-nspawn ends some time after the container's last process."""
    limit = time.monotonic() + 10
    while group.is_dir():
        try:
            group.rmdir()
        except OSError:
            if time.monotonic() > limit:
                raise
            time.sleep(0.05)


def _control_groups() -> Path | None:
    """Where cgroup2 is mounted, on a hybrid machine too; None where this process may not make a group."""
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        if " - cgroup2 " in line:
            path = Path(line.split(" ")[4])
            return path if os.access(path, os.W_OK) and os.statvfs(path).f_flag & os.ST_RDONLY == 0 else None
    return None


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-10:])
