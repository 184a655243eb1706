"""Root file systems of Debian releases, made by debootstrap once and kept below build/.

The mirror is the one that this machine's apt uses. A tree is made beside its place and moved there when it is whole,
under a lock: runs side by side, and a run that is killed, leave either a whole tree or none.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import urllib.error
import urllib.request
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2] / "build" / "systemd"
RELEASES = ("bookworm", "trixie", "sid")
"""systemd 252, 257 and whatever is newest; nftables from 1.0.6, keepalived from 2.2.7."""
PACKAGES = (
    "systemd-sysv",
    "dbus",
    "python3",
    "nftables",
    "iproute2",
    "keepalived",
    "conntrack",
    "conntrackd",
    "openssh-server",
    "kmod",
    "procps",
)
_PREPARE = """
systemctl enable systemd-networkd.service ssh.service
systemctl disable nftables.service keepalived.service conntrackd.service
systemctl mask systemd-firstboot.service getty.target
rm -f /etc/ssh/ssh_host_* /etc/machine-id
"""
"""Run in a new tree: what a node of ours has running, and no identity."""
_PATIENCE = 15
_SECONDS = 900


class Unreachable(Exception):
    """The mirror cannot be read: that says nothing about us."""


def tree(release: str) -> Path:
    """The tree of a release, made now where it is not there yet; `Unreachable` where it cannot be."""
    key = hashlib.sha256("\n".join((*PACKAGES, _PREPARE)).encode()).hexdigest()[:12]
    path = ROOT / f"{release}-{key}"
    ROOT.mkdir(parents=True, exist_ok=True)
    with (ROOT / f"{release}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.is_dir():
            for old in ROOT.glob(f"{release}-*"):
                shutil.rmtree(old)
            _make(release, ROOT / f"{release}-new").rename(path)
    return path


def _make(release: str, path: Path) -> Path:
    mirror = _mirror()
    _look(f"{mirror}/dists/{release}/InRelease")
    packages = ROOT / "packages"
    packages.mkdir(exist_ok=True)
    options = ["--variant=minbase", f"--include={','.join(PACKAGES)}", f"--cache-dir={packages}"]
    done = _run(["debootstrap", *options, release, str(path), mirror])
    if done.returncode != 0 and ("download" in done.stdout or "retriev" in done.stdout):
        raise Unreachable(f"debootstrap {release}: {done.stdout.splitlines()[-1]}")
    assert done.returncode == 0, done.stdout[-4000:]
    done = _run(["chroot", str(path), "sh", "-ec", _PREPARE])
    assert done.returncode == 0, done.stdout[-4000:]
    return path


def _run(command: list[str]) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, **_proxy(), "DEBIAN_FRONTEND": "noninteractive"}
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=_SECONDS,
        env=environment,
    )


@cache
def _mirror() -> str:
    """Of Debian's main archive, as apt has it; `Unreachable` where apt has none, as on another distribution."""
    listing = _run(["apt-get", "indextargets", "--format", "$(ORIGIN)|$(LABEL)|$(REPO_URI)", "Created-By: Packages"])
    for line in listing.stdout.splitlines():
        origin, _, rest = line.partition("|")
        label, _, uri = rest.partition("|")
        if (origin, label) == ("Debian", "Debian") and uri.startswith(("http:", "https:", "file:")):
            return uri.rstrip("/")
    raise Unreachable("none of apt's sources here is Debian's main archive")


@cache
def _proxy() -> dict[str, str]:
    """apt's own, for programs that look for it in the environment."""
    names = {"http_proxy": "Acquire::http::Proxy", "https_proxy": "Acquire::https::Proxy"}
    asked = [word for variable, option in names.items() for word in (variable, option)]
    done = subprocess.run(["apt-config", "shell", *asked], capture_output=True, text=True, check=False)
    pairs = (line.partition("=") for line in done.stdout.splitlines())
    return {name: value.strip("'") for name, _, value in pairs if value.strip("'") not in ("", "DIRECT")}


def _look(url: str) -> None:
    proxies = {name.removesuffix("_proxy"): value for name, value in _proxy().items()} or None
    opener = urllib.request.build_opener(urllib.request.ProxyHandler(proxies))
    try:
        opener.open(url, timeout=_PATIENCE).close()
    except (urllib.error.URLError, OSError) as error:
        raise Unreachable(f"{url}: {error}") from error
