"""What commands cost at Kubernetes' own limits: 5,000 nodes, 150,000 pods and 10,000 policies, from a slim snapshot.

`make bench PYTEST_ARGS="-k limits"`, or `python -m tests.bench.bench_limits [SIZE [followed]]`, 5 being the limits.
Each command is a process of its own: processor seconds, those of the kernel included, and the most memory that it had.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from egress_compiler.pipeline import compile_bundle
from tests.bench.large_input import NAMESPACES_FOR, NODES, PODS, POLICIES, write_input

LIMITS = 5.0
YARDSTICK = "import gc, json, sys; gc.disable(); json.load(open(sys.argv[1]))"


class Cost(NamedTuple):
    seconds: float
    mebibytes: float


def cost(*command: object, bytecode: Path | None = None) -> Cost:
    """With ``bytecode``, a directory that keeps compiled modules, as a program that pip installed has them."""
    environment = dict(os.environ)
    if bytecode is not None:
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        environment["PYTHONPYCACHEPREFIX"] = str(bytecode)
    with subprocess.Popen(
        [sys.executable, *map(str, command)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
    ) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, (command, process.returncode)
    return Cost(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def pod_of(size: float) -> str:
    """The second pod of the second node, as the first node's is finished."""
    number, namespaces = int(NODES * size) + 1, int(POLICIES * size) // NAMESPACES_FOR
    return f"team-{number % namespaces:03}/app-{number // namespaces % 10}-6764bb48cc-{number:05x}"


def measure(root: Path, size: float, membership: str = "compiled") -> dict[str, Cost]:
    """The commands at ``size``, after a small run of each that compiles the modules."""
    bytecode = root / "bytecode"
    _measure(root / "small", 0.02, membership, bytecode)
    return _measure(root, size, membership, bytecode)


def _measure(root: Path, size: float, membership: str, bytecode: Path) -> dict[str, Cost]:
    inputs = write_input(root, size, slim=True)
    out, pod, settings = root / "out", pod_of(size), root / "settings.yaml"
    settings.write_text(f"membership: {membership}\n")
    given = ["-m", "egress_compiler"]
    files = ["-p", *inputs.policies, "-c", *inputs.cluster, "-l", inputs.lock, "-s", settings]
    commands: dict[str, list[object]] = {
        "yardstick: json.load of the snapshot": ["-c", YARDSTICK, *inputs.cluster],
        "validate": [*given, "validate", *inputs.policies],
        "compile": [*given, "compile", *files, "-o", out],
        "compile, nothing to do": [*given, "compile", *files, "-o", out],
        "compile --check": [*given, "compile", *files, "-o", out, "--check"],
        "plan, nothing changes": [*given, "plan", *files, "--against", out],
        "status of one namespace": [*given, "status", *files, "-n", "team-000"],
        "explain one pod": [*given, "explain", pod, *files],
    }
    return {name: cost(*command, bytecode=bytecode) for name, command in commands.items()}


def show(size: float, costs: dict[str, Cost], root: Path) -> None:
    yard = costs["yardstick: json.load of the snapshot"].seconds
    counts = f"{int(NODES * size):,} nodes, {int(PODS * size):,} pods, {int(POLICIES * size):,} policies"
    made = [path.stat().st_size for path in (root / "out").rglob("*") if path.is_file()]
    snapshot = (root / "cluster.json").stat().st_size / 1e6
    print(f"\n{counts}: snapshot of {snapshot:.0f} MB, bundle of {sum(made) / 1e6:.0f} MB in {len(made):,} files\n")
    for name, kilobytes in sorted(_by_name(root / "out").items()):
        print(f"{name}: {kilobytes / 1000:.1f} MB")
    print("| | processor seconds | times the yardstick | MiB |\n|---|--:|--:|--:|")
    for name, one in costs.items():
        print(f"| {name} | {one.seconds:.1f} | {one.seconds / yard:.1f} | {one.mebibytes:.0f} |")


def _by_name(out: Path) -> dict[str, float]:
    """Kilobytes of the files of one name, and of those of its kind that other nodes have."""
    found: dict[str, float] = {}
    for path in out.rglob("*"):
        if path.is_file():
            found[path.name] = found.get(path.name, 0) + path.stat().st_size / 1e3
    return found


def test_a_slim_snapshot_compiles_to_the_same(tmp_path: Path) -> None:
    slim = compile_bundle(write_input(tmp_path / "slim", 0.02, slim=True))
    assert compile_bundle(write_input(tmp_path / "whole", 0.02)).files == slim.files


def test_a_bundle_for_nodes_that_follow_their_pods_costs_no_more(tmp_path: Path) -> None:
    costs = measure(tmp_path / "followed", LIMITS, "followed")
    show(LIMITS, costs, tmp_path / "followed")
    assert costs["compile"].seconds < 20 * costs["yardstick: json.load of the snapshot"].seconds
    assert sum(_by_name(tmp_path / "followed" / "out").values()) < 100_000


def test_questions_at_the_limits_of_kubernetes_cost_a_part_of_a_compile(tmp_path: Path) -> None:
    costs = measure(tmp_path, LIMITS)
    show(LIMITS, costs, tmp_path)
    for question in ("status of one namespace", "explain one pod"):
        assert costs[question].seconds < costs["compile"].seconds / 2
        assert costs[question].seconds < 10 * costs["yardstick: json.load of the snapshot"].seconds
    assert costs["status of one namespace"].mebibytes < 1024


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        given = float(sys.argv[1]) if sys.argv[1:] else LIMITS
        show(given, measure(Path(directory), given, *sys.argv[2:3]), Path(directory))
