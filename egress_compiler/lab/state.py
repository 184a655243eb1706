"""What of a lab lies on this machine: the names of its namespaces, its directory, the lock between labs."""

import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from egress_compiler.lab.errors import LabError
from egress_compiler.lab.run import run
from egress_compiler.lab.topology import LabTopology

ROOT = Path("/run/egress-lab")
NETNS_ROOT = Path("/run/netns")

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")
_NETNS_MARK = ROOT / ".netns-mount"
_LONGEST_HOST = 200


def check_name(name: str) -> None:
    """LabError unless the name can be that of a lab."""
    if not _NAME.fullmatch(name):
        raise LabError(f"{name!r} is no name for a lab: lower-case letters, digits and hyphens, at most 32")


def prefix(name: str) -> str:
    """How the namespaces of a lab begin, and those of no other lab: a hyphen in the lab's name becomes `_`."""
    return f"egl-{name.replace('-', '_')}-"


def netns(name: str, host: str) -> str:
    """The namespace of a host; `namespace/pod` becomes `namespace_pod`, a very long name ends in its digest."""
    flat = host.replace("/", "_")
    if len(flat) > _LONGEST_HOST:
        flat = flat[:_LONGEST_HOST] + hashlib.sha256(flat.encode()).hexdigest()[:12]
    return prefix(name) + flat


def namespaces(name: str) -> list[str]:
    """The namespaces of a lab that exist, whatever its directory says."""
    if not NETNS_ROOT.is_dir():
        return []
    return sorted(path.name for path in NETNS_ROOT.iterdir() if path.name.startswith(prefix(name)))


def directory(name: str) -> Path:
    """Where a lab keeps its keys, inventory, logs and process ids."""
    check_name(name)
    return ROOT / name


def log(name: str, what: str) -> Path:
    """The log file of one of a lab's daemons."""
    return directory(name) / "log" / f"{what.replace('/', '_')}.log"


@contextmanager
def machine_lock() -> Iterator[int]:
    """Held while namespaces come and go: labs that start and stop at the same time must not meet there.

    Yields the descriptor that holds it. A child that inherits it holds the lock too, also when this process is killed.
    """
    descriptor = os.open(ROOT.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def create(name: str, topology: LabTopology) -> Path:
    """Makes the directory of a new lab. The caller holds the machine lock and has seen that there is none."""
    if not ROOT.is_dir():
        ROOT.mkdir(mode=0o700)
        if not _netns_mounted():
            _NETNS_MARK.touch()
    path = directory(name)
    for sub in ("", "ssh", "log", "nodes"):
        (path / sub).mkdir(mode=0o700)
    save(name, topology)
    return path


def save(name: str, topology: LabTopology) -> None:
    """What `load` reads, from now on. The caller holds the machine lock."""
    path = directory(name) / "topology.json"
    fresh = path.with_suffix(".new")
    fresh.write_bytes(msgspec.json.format(msgspec.json.encode(topology)))
    fresh.replace(path)


def load(name: str) -> LabTopology:
    """The topology of a running lab; LabError when there is no such lab."""
    path = directory(name) / "topology.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=LabTopology)
    except FileNotFoundError:
        raise LabError(f"no lab {name!r} is up") from None
    except msgspec.MsgspecError as error:
        raise LabError(f"{path}: {error}; take the lab down and up again") from error


def remove(name: str) -> None:
    """Removes a lab's directory, and with the last lab what the first one added to the machine.

    The caller holds the machine lock. Nothing there is no error.
    """
    for path in reversed(_mounts_below(directory(name))):
        run(["umount", str(path)])
    shutil.rmtree(directory(name), ignore_errors=True)
    if not ROOT.is_dir() or any(path.is_dir() for path in ROOT.iterdir()):
        return
    if _NETNS_MARK.exists():
        _remove_netns_mount()
        _NETNS_MARK.unlink()
    ROOT.rmdir()


def _remove_netns_mount() -> None:
    """Undoes what the first `ip netns add` of a machine does, unless somebody else uses it by now."""
    if _netns_mounted() and not any(NETNS_ROOT.iterdir()):
        run(["umount", str(NETNS_ROOT)])
        NETNS_ROOT.rmdir()


def _netns_mounted() -> bool:
    """Whether /run/netns is the mount of itself that iproute2 makes of it: to stat(2) that looks like no mount."""
    return NETNS_ROOT in _mount_points()


def _mounts_below(path: Path) -> list[Path]:
    """Disks of the lab's machines, outer ones first."""
    return [mount for mount in _mount_points() if path in mount.parents]


def _mount_points() -> list[Path]:
    mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    return [Path(line.split(" ")[4]) for line in mounts]
