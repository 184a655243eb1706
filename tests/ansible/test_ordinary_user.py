"""A node as many have it: an ordinary user with sudo logs in, and Python is the oldest that is promised."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from egress_compiler.lab import Lab
from tests.ansible.conftest import Node, playbook
from tests.ansible.test_playbooks import tallies

pytestmark = pytest.mark.lab
USER = """
useradd --no-create-home --home-dir /run/ops --shell /bin/sh --password '*' ops
mkdir -m 700 /run/ops && chown ops: /run/ops
echo 'ops ALL=(root) NOPASSWD: ALL' >/etc/sudoers.d/ops
chmod 440 /etc/sudoers.d/ops
echo "127.0.0.1 $(hostname)" >>/etc/hosts
"""


def oldest_python() -> str:
    """3.9 where this machine has one, as the system's or by pyenv; else the one that runs the tests."""
    versions = Path(os.environ["PYENV_ROOT"]) / "versions"
    for candidate in ["/usr/bin/python3.9", *map(str, sorted(versions.glob("3.9.*/bin/python3.9")))]:
        if shutil.which(candidate) and subprocess.run([candidate, "-c", ""], check=False).returncode == 0:
            return candidate
    return sys.executable


@pytest.mark.skipif(shutil.which("sudo") is None, reason="needs sudo")
def test_an_ordinary_user_with_sudo_and_an_old_python_will_do(lab: Lab, worker: Node, bundle_dir: Path) -> None:
    before = worker.state()
    worker.shell(USER)
    for path in (lab.state_dir, lab.state_dir / "ssh"):
        path.chmod(0o711)  # sshd reads the authorized keys as the user who logs in
    given = {
        "ansible_user": "ops",
        "ansible_remote_tmp": "/run/ops/ansible",
        "ansible_python_interpreter": oldest_python(),
        "egress_bundle": str(bundle_dir),
    }
    arguments = ["--limit", worker.name, "-e", json.dumps(given)]
    assert [tallies(playbook(lab, "apply", *arguments).stdout)[worker.name] for _ in range(2)] == [1, 0]
    playbook(lab, "verify", *arguments)
    assert tallies(playbook(lab, "absent", *arguments).stdout)[worker.name] == 1
    assert before.diff(worker.state()) == ""
