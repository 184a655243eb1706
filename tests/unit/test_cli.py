"""The command line as a user meets it: exit codes, what is written, what is said."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "quickstart"


def run(*arguments: object, env: dict[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "egress_compiler", *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=60, env={**os.environ, **(env or {})}
    )


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """A copy of the quickstart that a test may change."""
    return Path(shutil.copytree(EXAMPLE, tmp_path / "example"))


def inputs(example: Path) -> list[object]:
    return ["--policies", example / "policies", "--cluster", example / "cluster.json"]


def files_below(directory: Path) -> dict[str, bytes]:
    return {str(f.relative_to(directory)): f.read_bytes() for f in directory.rglob("*") if f.is_file()}


def test_compile_writes_the_bundle_and_the_lock_and_then_nothing(example: Path, tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    stale = run("compile", *inputs(example), "--out", out, "--check")
    assert (stale.returncode, out.exists()) == (2, False)
    first = run("compile", *inputs(example), "--out", out)
    assert first.returncode == 0, first.stderr
    written = files_below(tmp_path)
    assert "example/policies/egress.lock.json" in written
    times = {f: f.stat().st_mtime_ns for f in out.rglob("*")}
    again = run("compile", *inputs(example), "--out", out)
    assert again.returncode == 0
    assert files_below(tmp_path) == written
    assert {f: f.stat().st_mtime_ns for f in out.rglob("*")} == times
    assert run("compile", *inputs(example), "--out", out, "--check").returncode == 0


def test_manifest_names_every_file_of_every_node(example: Path, tmp_path: Path) -> None:
    run("compile", *inputs(example), "--out", tmp_path / "bundle")
    manifest = json.loads((tmp_path / "bundle" / "manifest.json").read_text())
    for node, entry in manifest["nodes"].items():
        assert set(files_below(tmp_path / "bundle" / "nodes" / node)) == set(entry["files"])
    assert manifest["nodes"]["egressgateway-worker2"]["role"] == "gateway"
    assert manifest["nodes"]["egressgateway-worker"]["role"] == "worker"


def test_a_node_that_left_takes_its_directory_along(example: Path, tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    run("compile", *inputs(example), "--out", out)
    cluster = json.loads((example / "cluster.json").read_text())
    cluster["items"] = [i for i in cluster["items"] if i["metadata"]["name"] != "egressgateway-worker3"]
    (example / "cluster.json").write_text(json.dumps(cluster))
    (out / "README.md").write_text("somebody's own")
    assert run("compile", *inputs(example), "--out", out).returncode == 0
    assert not (out / "nodes" / "egressgateway-worker3").exists()
    assert (out / "README.md").read_text() == "somebody's own"


def test_wrong_input_is_told_all_at_once_and_nothing_is_written(example: Path, tmp_path: Path) -> None:
    policy = example / "policies" / "test.yaml"
    policy.write_text(
        policy.read_text().replace("podSelector", "podSelecter").replace("default\nspec", "Default\nspec")
    )
    done = run("compile", *inputs(example), "--out", tmp_path / "bundle")
    assert done.returncode == 1
    assert f"{policy}:9:5: error: unknown field 'podSelecter' in spec.appliedTo [unknown-field]" in done.stderr
    assert f"{policy}:5:14: error: 'Default' is not possible as metadata.namespace [bad-name]" in done.stderr
    assert "did you mean 'podSelector'?" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "bundle").exists()
    assert not (example / "policies" / "egress.lock.json").exists()


def test_json_report(example: Path) -> None:
    policy = example / "policies" / "test.yaml"
    policy.write_text(policy.read_text().replace("egressGatewayName: default", "egressGatewayName: defualt"))
    done = run("status", *inputs(example), "--format", "json")
    assert done.returncode == 1
    (diagnostic,) = json.loads(done.stdout)["diagnostics"]
    assert diagnostic["code"] == "unknown-gateway"
    assert (diagnostic["line"], diagnostic["column"]) == (7, 22)
    assert diagnostic["hint"] == "did you mean 'default'?"


def test_status_is_the_table_of_the_guide(example: Path) -> None:
    done = run("status", *inputs(example))
    assert done.stdout.splitlines() == [
        "NAMESPACE   NAME   GATEWAY   IPV4           IPV6   EGRESSTUNNEL",
        "default     test   default   172.22.0.110          egressgateway-worker2",
    ]


@pytest.mark.parametrize("arguments", [["compile"], ["no-such-command"], ["status", "--policies"]])
def test_usage_errors(arguments: list[str]) -> None:
    done = run(*arguments)
    assert done.returncode == 64
    assert "Usage" in done.stderr


def test_the_bundle_directory_cannot_be_written(example: Path, tmp_path: Path) -> None:
    (tmp_path / "bundle").write_text("a file")
    done = run("compile", *inputs(example), "--out", tmp_path / "bundle")
    assert done.returncode not in (0, 70)
    assert "bundle" in done.stderr


def test_help_needs_no_optional_part() -> None:
    """Start-up imports neither the Kubernetes client nor Ansible nor the WebSocket library."""
    script = (
        "import sys, egress_compiler.cli; print(sorted({'kubernetes', 'ansible', 'websockets'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
