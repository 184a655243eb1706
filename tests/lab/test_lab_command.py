"""The lab's commands and the demo, as a user types them."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from egress_compiler.lab import down

pytestmark = pytest.mark.lab
ROOT = Path(__file__).parents[2]
NAME = f"test-{os.getpid()}-command"


def run(*arguments: str, timeout: float = 240) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", *arguments], cwd=ROOT, capture_output=True, text=True, check=False, timeout=timeout
    )


def lab(command: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return run("egress_compiler", "lab", command, *arguments, "--name", NAME)


@pytest.fixture(autouse=True)
def gone_afterwards() -> Iterator[None]:
    yield
    down(NAME)


NOBODY = """\
apiVersion: egressgateway.spidernet.io/v1beta1
kind: EgressPolicy
metadata:
  name: nobody
  namespace: default
spec:
  egressGatewayName: default
  appliedTo:
    podSelector:
      matchLabels: {app: nobody}
"""


def test_from_up_to_down(tmp_path: Path) -> None:
    example = Path(shutil.copytree(ROOT / "examples" / "quickstart", tmp_path / "example"))
    (example / "policies" / "nobody.yaml").write_text(NOBODY)
    up = lab("up", str(example))
    assert up.returncode == 0, up.stderr
    assert "EgressPolicy default/nobody selects no pod [selects-nothing]" in up.stderr
    assert lab("up", "examples/quickstart").returncode == 1
    assert lab("probe", "--before").returncode == 0
    assert lab("probe").returncode == 3
    applied = lab("apply")
    assert applied.returncode == 0, applied.stdout + applied.stderr
    assert "[selects-nothing]" in applied.stderr
    assert lab("apply", "--tags", "no-such-tag", "--limit", "no-such-host").returncode == 3
    probed = lab("probe", "--format", "json")
    assert probed.returncode == 0, probed.stdout
    assert "172.22.0.110" in {row["seen"] for row in json.loads(probed.stdout)}
    failover = lab("failover", "--seconds", "4")
    assert failover.returncode == 0, failover.stdout + failover.stderr
    assert "172.22.0.110" in failover.stdout
    assert lab("apply", "--absent").returncode == 0
    assert lab("probe", "--before").returncode == 0
    assert lab("down").returncode == 0
    assert lab("probe").returncode == 1


def test_the_demo_says_that_everything_was_as_expected() -> None:
    done = run("egress_compiler.demo")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Everything was as expected" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_the_demo_without_root_is_the_dry_run() -> None:
    script = (
        "import os, runpy; os.geteuid = lambda: 1000; runpy.run_module('egress_compiler.demo', run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "Without root" in done.stdout
    assert "10.6.1.61" in done.stdout
