"""examples/gitops: it is up to date, its workflow's own commands do what they promise, and so do the hooks."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "gitops"
INPUTS = (
    "--policies policies --cluster cluster.json --settings settings.yaml "
    "--inventory inventory/nodes.yml --lock egress.lock.json"
)
pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")


def ours(where: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "egress_compiler", *arguments]
    return subprocess.run(command, cwd=where, capture_output=True, text=True, check=False, timeout=60)


def test_bundle_and_lock_file_are_up_to_date(update_golden: bool) -> None:
    if update_golden:
        assert ours(EXAMPLE, "compile", *INPUTS.split(), "--out", "bundle").returncode == 0
    done = ours(EXAMPLE, "compile", *INPUTS.split(), "--out", "bundle", "--check")
    assert done.returncode == 0, f"{done.stdout}{done.stderr}'make golden' rewrites it"


class Runner:
    """Runs the workflow's steps in a clone, as GitHub does: bash -e, its variables, its programs by name."""

    def __init__(self, directory: Path) -> None:
        self.workflow: Any = yaml.safe_load((EXAMPLE / ".github/workflows/egress.yml").read_text())
        self.temp = directory / "temp"
        self.programs = directory / "bin"
        self.comments = directory / "comments"
        self.clone = directory / "clone"
        for path in (self.temp, self.programs, self.comments):
            path.mkdir()
        self._program("egress-compiler", f'exec "{sys.executable}" -m egress_compiler "$@"')
        self._program("pip", 'test "$1" = install')
        self._program("gh", GH)
        self.environment = {
            "PATH": f"{self.programs}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"),
            "HOME": os.environ["HOME"],
            "RUNNER_TEMP": str(self.temp),
            "GITHUB_STEP_SUMMARY": str(self.temp / "summary.md"),
            "COMMENTS": str(self.comments),
            **self.workflow["env"],
        }
        origin = directory / "origin"
        shutil.copytree(EXAMPLE, origin)
        self.git(origin, "init", "--quiet", "--initial-branch=main")
        self.commit(origin)
        self.git(directory, "clone", "--quiet", "--no-local", str(origin), str(self.clone))
        self.git(self.clone, "checkout", "--quiet", "-b", "change")

    def _program(self, name: str, script: str) -> None:
        (self.programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (self.programs / name).chmod(0o755)

    def git(self, where: Path, *arguments: str) -> None:
        config = ["-c", "user.name=test", "-c", "user.email=test@example.com", "-c", "commit.gpgsign=false"]
        environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
        subprocess.run(["git", *config, *arguments], cwd=where, check=True, env=environment, capture_output=True)

    def commit(self, where: Path) -> None:
        self.git(where, "add", "--all", "--force")
        self.git(where, "commit", "--quiet", "-m", "change")

    def step(self, name: str) -> "subprocess.CompletedProcess[str]":
        step = next(s for s in self.workflow["jobs"]["egress"]["steps"] if s.get("name", "").startswith(name))
        own = {key: re.sub(r"\$\{\{ (.*?) \}\}", lambda m: VALUES[m[1]], v) for key, v in step.get("env", {}).items()}
        assert "${{" not in step["run"]  # what an expression puts into a script, a branch's name could run
        return subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
            cwd=self.clone,
            env=self.environment | own,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def edit(self, file: str, old: str, new: str) -> None:
        text = (self.clone / file).read_text()
        assert old in text
        (self.clone / file).write_text(text.replace(old, new))


VALUES = {"github.base_ref": "main", "github.token": "t", "github.repository": "o/r", "github.event.number": "7"}
GH = """\
# The two calls of the workflow: find the own comment, then change it or make one.
case "$1 $2" in
"api repos/"*) ls "$COMMENTS" ;;
"api --method") cp "${6#body=@}" "$COMMENTS/1" ;;
"pr comment") cp "$7" "$COMMENTS/1"; echo made >> "$COMMENTS/../made" ;;
*) exit 9 ;;
esac"""


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    return Runner(tmp_path)


def test_a_harmless_change_passes_and_has_one_comment_however_often_it_is_pushed(runner: Runner) -> None:
    runner.edit("policies/shop.yaml", "        app: web", "        app: web\n  priority: 900")
    assert ours(runner.clone, "compile", *INPUTS.split(), "--out", "bundle").returncode == 0
    names = ("Install", "The policies", "Plan", "Plan as", "Bundle and", "Nobody")
    for name in (*names, "Plan as"):
        done = runner.step(name)
        assert done.returncode == 0, f"{name}: {done.stdout}{done.stderr}"
    comment = (runner.comments / "1").read_text()
    assert comment == (runner.temp / "plan.md").read_text() == (runner.temp / "summary.md").read_text()
    assert comment.startswith("<!-- egress-compiler plan -->\n### Egress plan\n")
    assert (runner.comments.parent / "made").read_text() == "made\n"


def test_a_disruptive_change_is_planned_and_refused(runner: Runner) -> None:
    runner.edit("policies/billing.yaml", "192.0.2.70", "192.0.2.71")
    assert ours(runner.clone, "compile", *INPUTS.split(), "--out", "bundle").returncode == 0
    assert runner.step("Plan").returncode == 0
    assert "<code>192.0.2.70</code> | <code>192.0.2.71</code> | **break" in (runner.temp / "plan.md").read_text()
    assert runner.step("Bundle and").returncode == 0
    done = runner.step("Nobody")
    assert done.returncode == 1
    assert "--forbid-disruptive refuses" in done.stderr


def test_a_stale_bundle_fails(runner: Runner) -> None:
    runner.edit("policies/billing.yaml", "203.0.113.0/24", "203.0.113.0/25")
    done = runner.step("Bundle and")
    assert done.returncode == 2
    assert "would change" in done.stdout


def test_an_invalid_policy_fails_with_its_place(runner: Runner) -> None:
    runner.edit("policies/billing.yaml", "destSubnet", "destSubnets")
    done = runner.step("The policies")
    assert done.returncode == 1
    assert done.stdout.startswith("::error file=policies/billing.yaml,line=16,col=3")
    assert "did you mean 'destSubnet'?" in done.stdout


# ---------------------------------------------------------------------------------------------------- pre-commit hooks


@pytest.mark.parametrize("file", [ROOT / ".pre-commit-hooks.yaml", EXAMPLE / ".pre-commit-config.yaml"])
def test_hooks_run_as_pre_commit_runs_them(file: Path) -> None:
    """Entry and arguments in the repository's root; those of the example, or the defaults."""
    hooks = {hook["id"]: hook for hook in yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())}
    assert list(hooks) == ["egress-validate", "egress-compile-check"]
    used = yaml.safe_load(file.read_text())
    for hook in used if isinstance(used, list) else used["repos"][0]["hooks"]:
        entry = hooks[hook["id"]]["entry"].split()
        assert entry[0] == "egress-compiler"
        assert hooks[hook["id"]]["pass_filenames"] is False
        done = ours(EXAMPLE, *entry[1:], *hook["args"])
        if file == EXAMPLE / ".pre-commit-config.yaml" or hook["id"] == "egress-validate":
            assert done.returncode == 0, done.stdout + done.stderr
        else:  # the defaults know nothing of the inventory
            assert done.returncode == 2, done.stdout + done.stderr
