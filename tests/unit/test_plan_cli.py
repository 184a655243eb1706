"""``plan`` as a user, a workflow and a script meet it: exit codes, formats, and what cannot be compared."""

import json
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from egress_compiler.contract.plan import PLAN_VERSION

EXAMPLE = Path(__file__).parents[2] / "examples" / "dual-stack-ha"
INPUTS = ["-p", "policies", "-c", "cluster.json", "-s", "settings.yaml", "-l", "egress.lock.json"]


def run(where: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "egress_compiler", *arguments]
    return subprocess.run(command, cwd=where, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """A compiled copy of dual-stack-ha."""
    where = Path(shutil.copytree(EXAMPLE, tmp_path / "example", ignore=shutil.ignore_patterns("bundle")))
    assert run(where, "compile", *INPUTS, "--out", "bundle").returncode == 0
    return where


def plan(where: Path, *more: str) -> "subprocess.CompletedProcess[str]":
    return run(where, "plan", *INPUTS, "--against", "bundle", *more)


def edit(where: Path, file: str, old: str, new: str) -> None:
    text = (where / file).read_text()
    assert old in text
    (where / file).write_text(text.replace(old, new))


def tree(where: Path) -> dict[str, bytes]:
    return {str(path.relative_to(where)): path.read_bytes() for path in where.rglob("*") if path.is_file()}


def test_nothing_to_do_is_exit_0_everywhere(example: Path) -> None:
    done = plan(example, "--exit-code", "--forbid-disruptive")
    assert (done.returncode, done.stderr) == (0, "")
    assert "No changes: compile would write nothing." in done.stdout


def test_exit_codes_of_harmless_and_disruptive_changes(example: Path) -> None:
    before = tree(example)
    edit(example, "policies/shop.yaml", "      app: web", "      app: web\n  destSubnet: [0.0.0.0/0, '::/0']")
    after = tree(example)
    assert plan(example).returncode == 0
    assert plan(example, "--exit-code", "--forbid-disruptive").returncode == 2
    edit(example, "policies/payments.yaml", "10.6.1.62", "10.6.1.64")
    assert plan(example, "--exit-code").returncode == 2
    done = plan(example, "--exit-code", "--forbid-disruptive")
    assert done.returncode == 1
    assert "--forbid-disruptive refuses" in done.stderr
    assert tree(example).keys() == before.keys()
    assert {k: v for k, v in tree(example).items() if k.startswith("bundle")} == {
        k: v for k, v in after.items() if k.startswith("bundle")
    }


def test_a_plan_without_a_bundle_shows_everything_as_new(example: Path) -> None:
    shutil.rmtree(example / "bundle")
    done = plan(example, "--new", "--exit-code", "--forbid-disruptive")
    assert done.returncode == 2
    assert "there is no bundle yet" in done.stdout
    assert not (example / "bundle").exists()


def test_json_names_what_text_shows(example: Path) -> None:
    edit(example, "policies/payments.yaml", "10.6.1.62", "10.6.1.64")
    told = json.loads(plan(example, "--format", "json", "--diff").stdout)
    assert (told["empty"], told["disruptive"], told["diagnostics"]) == (False, True, [])
    (changed,) = told["policies"]
    assert (changed["name"], changed["before"]["ipv4"], changed["after"]["ipv4"]) == ("bank", "10.6.1.62", "10.6.1.64")
    (group,) = told["sources"]
    assert len(group["pods"]) == 2
    assert {flow["openConnections"] for flow in group["flows"]} == {"broken"}
    assert all(file["diff"] for node in told["nodes"] for file in node["files"])


def test_line_diffs_are_what_diff_prints(example: Path) -> None:
    edit(example, "policies/payments.yaml", "10.6.1.62", "10.6.1.64")
    text = plan(example, "--diff").stdout
    assert "--- nodes/gw1/nftables.nft\n+++ nodes/gw1/nftables.nft\n@@ " in text
    assert "-\t\t\t10.6.1.62,\n" in text
    assert "@@" not in plan(example).stdout


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        ("nodes/gw1/plan.json", '{"version": 99, "node": "gw1"}', "is of version 99, and this compiler reads version"),
        ("nodes/gw1/plan.json", f'{{"version": {PLAN_VERSION}, "node": "gw1"}}', "damaged: KeyError: 'role'"),
        ("nodes/gw1/plan.json", "not JSON", "cannot be read"),
        ("manifest.json", '{"version": 2}', "is of version 2"),
        ("status.yaml", "{ not: [yaml", "cannot be read"),
        ("status.yaml", "kind: EgressPolicy\nmetadata: 7\n", "cannot be read"),
    ],
)
def test_a_bundle_of_another_kind_is_an_error_that_names_the_file(
    example: Path, file: str, content: str, says: str
) -> None:
    (example / "bundle" / file).write_text(content)
    done = plan(example)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"bundle/{file}" in done.stderr
    assert says in done.stderr
    assert "[bundle-unreadable]" in done.stderr


def test_fields_that_nobody_knows_do_not_matter(example: Path) -> None:
    for path in (example / "bundle" / "nodes").glob("*/plan.json"):
        stored = json.loads(path.read_text())
        path.write_text(json.dumps(stored | {"fromTheFuture": {"a": 1}}))
    done = plan(example, "--forbid-disruptive", "--exit-code")
    assert done.returncode == 2
    assert "nobody's address or egress path changes" in done.stdout.lower()


def test_a_file_in_place_of_the_bundle_is_an_error(example: Path) -> None:
    done = run(example, "plan", *INPUTS, "--against", "cluster.json")
    assert done.returncode == 1, done.stdout
    assert "[bundle-unreadable]" in done.stderr


@pytest.mark.parametrize("nothing", ["missing", "empty", "no manifest", "damaged manifest"])
def test_what_is_no_bundle_is_an_error_unless_it_is_said_to_be_new(example: Path, nothing: str) -> None:
    """A mistyped directory would make everything look new, and a plan that is never disruptive."""
    bundle, manifest = example / "bundle", example / "bundle" / "manifest.json"
    if nothing == "damaged manifest":
        manifest.write_text(manifest.read_text()[:-10])
    elif nothing == "no manifest":
        manifest.unlink()
    else:
        shutil.rmtree(bundle)
    if nothing == "empty":
        bundle.mkdir()
    done = plan(example, "--forbid-disruptive")
    assert (done.returncode, done.stdout) == (1, "")
    assert ("[bundle-unreadable]" if nothing == "damaged manifest" else "[no-bundle]") in done.stderr
    said = plan(example, "--new")
    assert (said.returncode, said.stderr) == (0, "")
    assert "there is no bundle yet" in said.stdout
    assert "3 policies are new" in said.stdout or "4 policies are new" in said.stdout


@pytest.mark.parametrize("part", ["status.yaml", "nodes/gw1/plan.json", "nodes/gw1"])
def test_a_bundle_with_a_part_missing_cannot_be_compared_with(example: Path, part: str) -> None:
    path = example / "bundle" / part
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    for more in ([], ["--new"]):
        done = plan(example, *more)
        assert (done.returncode, done.stdout) == (1, "")
        assert f"bundle is no whole bundle: {part.removesuffix('/plan.json')}" in done.stderr


def test_new_is_no_harm_where_there_is_a_bundle(example: Path) -> None:
    assert plan(example, "--new").stdout == plan(example).stdout


def test_against_is_needed(example: Path) -> None:
    assert run(example, "plan", *INPUTS).returncode == 64


def test_colour_on_a_terminal_and_not_with_no_color(example: Path) -> None:
    edit(example, "policies/payments.yaml", "10.6.1.62", "10.6.1.64")
    coloured, plain = (_on_a_terminal(example, env) for env in ({}, {"NO_COLOR": "1"}))
    assert "\x1b[33m" in coloured
    assert "\x1b[" not in plain
    assert "\x1b[" not in plan(example).stdout


def _on_a_terminal(where: Path, env: dict[str, str]) -> str:
    controller, terminal = pty.openpty()
    command = [sys.executable, "-m", "egress_compiler", "plan", *INPUTS, "--against", "bundle"]
    environment = {name: value for name, value in os.environ.items() if name != "NO_COLOR"} | env | {"TERM": "xterm"}
    with subprocess.Popen(command, cwd=where, stdout=terminal, stderr=terminal, env=environment) as process:
        os.close(terminal)
        parts = []
        while True:
            try:
                part = os.read(controller, 65536)
            except OSError:  # Linux says so when the last writer has gone
                break
            if not part:
                break
            parts.append(part)
        process.wait(timeout=60)
    os.close(controller)
    return b"".join(parts).decode()
