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
    """The collection's playbook of this file name against the lab's nodes, with the bundle in ``egress_bundle``.

    Without ``capture`` Ansible's output goes to this process's own.  The caller looks at the return code.
    """
    config = SOURCE_TREE / "ansible.cfg"  # the wheel has none
    ansible = Path(sys.executable).with_name("ansible-playbook")
    if not ansible.is_file():
        raise LabError(f"{ansible} is not there: install ansible-core beside egress-compiler")
    command = [
        str(ansible),
        "-i",
        str(lab.inventory),
        f"egress.gateway.{Path(playbook).stem}",
        "-e",
        f"egress_bundle={bundle}",
        *arguments,
    ]
    process = lab.popen(
        "controller",
        command,
        env={**os.environ, **({"ANSIBLE_CONFIG": str(config)} if config.is_file() else {})},
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
