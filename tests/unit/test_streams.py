"""Standard streams that are full, closed, or read by nobody."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ERRORS = Path(__file__).parents[1] / "errors"
COMMAND = [sys.executable, "-m", "egress_compiler"]
INPUT = ["-p", "shared/good.yaml", "-c", "shared/cluster.yaml"]
FULL = "error: standard output: No space left on device [unwritable]\n"

SPEAKING = [
    ["--help"],
    ["--version"],
    ["schema", "--crds"],
    ["validate", "shared/good.yaml"],
    ["validate", "two-sources.yaml", "--format", "json"],
    ["status", *INPUT],
    ["status", *INPUT, "--format", "sarif"],
    ["explain", "shop/web-1", *INPUT],
    ["plan", *INPUT, "--against", "TMP/bundle", "--new"],
    ["move", "10.6.1.60", "--to", "gw1", *INPUT, "-l", "TMP/lock.json", "--dry-run"],
    ["compile", *INPUT, "-l", "TMP/lock.json", "-o", "TMP/bundle"],
]


def run(arguments: list[str], tmp_path: Path, redirection: str) -> subprocess.CompletedProcess[str]:
    given = [argument.replace("TMP", str(tmp_path)) for argument in arguments]
    shell = ["bash", "-c", f'"$@" {redirection}', "bash", *COMMAND, *given]
    return subprocess.run(shell, cwd=ERRORS, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("arguments", SPEAKING, ids=" ".join)
def test_full_standard_output(arguments: list[str], tmp_path: Path) -> None:
    done = run(arguments, tmp_path, ">/dev/full")
    assert (done.returncode, done.stderr) == (1, FULL)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["validate", "shared/good.yaml"], 0),
        (["validate", "two-sources.yaml"], 1),
        (["validate", "no-namespace.yaml"], 1),
        (["valdate"], 64),
    ],
    ids=["nothing to tell", "error", "warning", "usage"],
)
def test_full_standard_error(arguments: list[str], code: int, tmp_path: Path) -> None:
    """What could not be told is a failure; it is told nowhere else."""
    done = run(arguments, tmp_path, "2>/dev/full")
    assert (done.returncode, done.stderr) == (code, "")


def test_both_full(tmp_path: Path) -> None:
    done = run(["schema"], tmp_path, ">/dev/full 2>&1")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")


@pytest.mark.parametrize("redirection", [">&-", "<&- >&- 2>&-", "2>&-"])
def test_closed_streams_are_nobodys(redirection: str, tmp_path: Path) -> None:
    done = run(["compile", *INPUT, "-l", "TMP/lock.json", "-o", "TMP/bundle"], tmp_path, redirection)
    assert done.returncode == 0
    again = run(["compile", *INPUT, "-l", "TMP/lock.json", "-o", "TMP/bundle", "--check"], tmp_path, "")
    assert again.returncode == 0, again.stdout


@pytest.mark.parametrize(("policies", "code"), [("shared/good.yaml", 0), ("two-sources.yaml", 1)])
def test_a_reader_that_has_seen_enough(policies: str, code: int) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [*COMMAND, "validate", policies, "--format", "json"]
    with os.fdopen(writing, "w") as nobody:
        done = subprocess.run(
            command, stdout=nobody, stderr=subprocess.PIPE, text=True, check=False, timeout=60, cwd=ERRORS
        )
    assert (done.returncode, done.stderr) == (code, "")
