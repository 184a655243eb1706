"""Options and gates that all tests share: golden files, and what a lab test needs of the machine."""

import atexit
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import pytest

# Tests do not depend on the machine: what the environment says to Python, Ansible, git and the terminal is taken out
# before anything is imported that reads it. `.ci/odd-machine.sh` tries it.
_OF_THE_USER = ("ANSIBLE_", "GIT_", "LC_", "LANG", "XDG_", "SSH_")
_ALSO = {"COLUMNS", "EDITOR", "FORCE_COLOR", "KUBECONFIG", "LINES", "NO_COLOR", "PAGER", "PYTHONWARNINGS", "VISUAL"}


def _private_environment() -> None:
    """An empty home directory, UTC, UTF-8 and the usual umask. Workers of xdist inherit it from who started them."""
    os.umask(0o022)
    if "PYTEST_XDIST_WORKER" in os.environ:
        return
    for name in [name for name in os.environ if name.startswith(_OF_THE_USER) or name in _ALSO]:
        del os.environ[name]
    os.environ.setdefault("PYENV_ROOT", str(Path.home() / ".pyenv"))  # where a Python of the nodes' may be
    home = tempfile.mkdtemp(prefix="egress-home-")
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    Path(home, ".ansible.cfg").touch()  # comes before that of the machine, and after that of the directory
    os.environ |= {
        "HOME": home,
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "GIT_CONFIG_NOSYSTEM": "1",
        # As where the wheel is installed, which has the collection beside the compiler: inventories may be its own.
        "ANSIBLE_COLLECTIONS_PATH": str(Path(__file__).resolve().parents[1] / "collections"),
    }


_private_environment()

# Programs that the lab runs; the packages that bring them are in .ci/bootstrap.sh.
LAB_PROGRAMS = (
    *("bridge", "conntrack", "conntrackd", "ip", "iptables", "keepalived", "nft", "ssh", "sshd", "sysctl"),
    *("/usr/lib/cni/bridge", "/usr/lib/cni/host-local", "/usr/lib/cni/ptp"),
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden",
        action="store_true",
        help="write the golden files from what the code answers now, instead of comparing; read the diff afterwards",
    )


@pytest.fixture(scope="session")
def update_golden(pytestconfig: pytest.Config) -> bool:
    """True when golden files are to be rewritten rather than compared."""
    return bool(pytestconfig.getoption("--update-golden"))


@cache
def lab_obstacle() -> str | None:
    """Why lab tests cannot run on this machine, or None."""
    if os.geteuid() != 0:
        return "needs root"
    search = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"))
    missing = [program for program in LAB_PROGRAMS if shutil.which(program, path=search) is None]
    if missing:
        return f"needs {', '.join(missing)}"
    probe = subprocess.run(["unshare", "--net", "--mount", "true"], capture_output=True, text=True, check=False)
    if probe.returncode != 0:
        return f"needs network namespaces: {probe.stderr.strip()}"
    return None


# trylast: after -m and -k have deselected, so that `-m "not lab"` needs nothing.
@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip lab tests with the reason where they cannot run; with EGRESS_REQUIRE_LAB=1 (CI as root) end the run."""
    lab_items = [item for item in items if item.get_closest_marker("lab")]
    obstacle = lab_obstacle() if lab_items else None
    if obstacle is None:
        return
    if os.environ.get("EGRESS_REQUIRE_LAB") == "1":
        pytest.exit(f"EGRESS_REQUIRE_LAB=1, but {len(lab_items)} lab tests cannot run here: {obstacle}", returncode=1)
    for item in lab_items:
        item.add_marker(pytest.mark.skip(reason=f"lab: {obstacle}"))
