"""docs/dry-run.md shows what its commands really print."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs" / "dry-run.md"
BLOCK = re.compile(r"(?<=^```console\n).*?(?=^```$)", re.MULTILINE | re.DOTALL)


def test_every_example_is_as_it_is_printed(tmp_path: Path, update_golden: bool) -> None:
    shutil.copytree(ROOT / "examples" / "gitops", tmp_path / "repository")
    program = tmp_path / "egress-compiler"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m egress_compiler "$@"\n')
    program.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    settings: list[str] = []

    def printed(match: re.Match[str]) -> str:
        """The block's commands, each with what it prints; variables of earlier blocks are still set."""
        lines: list[str] = []
        for command in re.findall(r"^\$ (.*)$", match[0], re.MULTILINE):
            done = subprocess.run(
                ["bash", "-c", "\n".join([*settings, command])],
                cwd=tmp_path / "repository",
                env=environment,
                capture_output=True,
                text=True,
                check=False,
                timeout=60,
            )
            assert (done.returncode, done.stderr) == (0, ""), command
            if re.match(r"[A-Z]+=", command):
                settings.append(command)
            lines += [f"$ {command}", *done.stdout.splitlines()]
        return "\n".join(lines) + "\n"

    text = DOCS.read_text()
    now = BLOCK.sub(printed, text)
    if update_golden:
        DOCS.write_text(now)
    assert DOCS.read_text() == now, "docs/dry-run.md differs; 'make golden' rewrites it"
