"""The unmodified playbooks, run from the lab's controller over SSH."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from egress_compiler.lab.errors import LabError
from egress_compiler.lab.lab import Lab

SOURCE_TREE = Path(__file__).parents[2]
TIMEOUT = 300.0


def run_playbook(
    lab: Lab, playbook: str, bundle: Path, arguments: Sequence[str] = (), *, capture: bool = True
) -> "subprocess.CompletedProcess[str]":
    """``playbooks/PLAYBOOK`` of the source tree against the lab's nodes, with the bundle in ``egress_bundle``.

    Without ``capture`` Ansible's output goes to this process's own.  The caller looks at the return code.
    """
    path = SOURCE_TREE / "playbooks" / playbook
    if not path.is_file():
        raise LabError(f"{path} is not there: the playbooks come with the source tree")
    ansible = Path(sys.executable).with_name("ansible-playbook")
    if not ansible.is_file():
        raise LabError(f"{ansible} is not there: install ansible-core beside egress-compiler")
    command = [str(ansible), "-i", str(lab.inventory), str(path), "-e", f"egress_bundle={bundle}", *arguments]
    process = lab.popen(
        "controller",
        command,
        cwd=SOURCE_TREE,
        env={**os.environ, "ANSIBLE_CONFIG": str(SOURCE_TREE / "ansible.cfg")},
        stdout=subprocess.PIPE if capture else None,
        stderr=subprocess.STDOUT if capture else None,
    )
    with process:
        try:
            out, _ = process.communicate(timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            raise LabError(f"{playbook} did not end within {TIMEOUT:g} s") from None
    return subprocess.CompletedProcess(command, process.returncode, out or "", "")
