"""How long a compilation takes, stage by stage, at a size that is large for a cluster and at a tenth of it.

`make bench`, or `python -m tests.bench.bench_compile [SIZE…]`, 1 being 1,000 nodes, 30,000 pods and 2,000 policies.
The times are the processor's, as other work on the machine makes the clock's say less; the yardstick, measured in the
same run, is merely decoding the same cluster file.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, TypeVar

import msgspec
import pytest

from egress_compiler import bundle, pipeline
from egress_compiler.cli.plan import plan_against
from egress_compiler.diagnostics import Collector
from egress_compiler.explain import as_text as explain_text
from egress_compiler.explain import explain_address, explain_pod
from egress_compiler.net import parse_address
from egress_compiler.pipeline import Compilation, Inputs, compile_bundle, without_cycle_collection
from egress_compiler.plan import as_markdown
from egress_compiler.validate.schemas import fast_check, slow_check
from tests.bench.large_input import NODES, PODS, POLICIES, policies, write_input, write_policies

T = TypeVar("T")
Times = dict[str, float]
STAGES = {
    "load_documents": "load: policies",
    "load_cluster": "load: cluster",
    "validate_policies": "validate",
    "resolve": "resolve",
    "classify": "classify",
    "analyze": "analyze",
    "allocate": "allocate",
    "bundle_files": "lower and render",
    "lock_text": "lock file",
}
WHOLE, JSON, MSGSPEC = "compile, all stages", "yardstick: json.loads", "yardstick: msgspec"
FAST, SLOW = "schemas of all policies", "the same by jsonschema"
LIMIT = 10.0
"""Processor seconds for the whole compilation at full size."""


@contextmanager
def timed(times: Times, name: str) -> Iterator[None]:
    start = process_time()
    try:
        yield
    finally:
        times[name] = times.get(name, 0.0) + process_time() - start


def timing(times: Times, name: str, action: Callable[[], T]) -> T:
    with timed(times, name):
        return action()


@contextmanager
def timed_stages(times: Times) -> Iterator[None]:
    """Measures each stage that the pipeline calls, in the order in which it calls them."""

    def timed_stage(name: str, stage: Callable[..., object]) -> Callable[..., object]:
        def run(*args: object, **options: object) -> object:
            with timed(times, STAGES[name]):
                return stage(*args, **options)

        return run

    patch = pytest.MonkeyPatch()
    for name in STAGES:
        patch.setattr(pipeline, name, timed_stage(name, getattr(pipeline, name)))
    try:
        yield
    finally:
        patch.undo()


def yardsticks(content: bytes, times: Times) -> None:
    """As fast as they can be: before the heap is full of other things."""
    timing(times, JSON, lambda: json.loads(content))
    timing(times, MSGSPEC, lambda: msgspec.json.decode(content))


def schemas(documents: list[dict[str, Any]], times: Times) -> None:
    kinds = {document["kind"] for document in documents}
    fast = {kind: fast_check(kind.lower()) for kind in kinds}
    slow = {kind: slow_check(kind.lower()) for kind in kinds}
    assert timing(times, FAST, lambda: all(fast[document["kind"]](document) for document in documents))
    assert timing(times, SLOW, lambda: all(slow[document["kind"]].is_valid(document) for document in documents))


def changed(documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A large pull request: one policy of fifty goes, one of ten gets another priority, one of 25 useNodeIP."""
    kept = [document for number, document in enumerate(documents) if number % 50 != 7]
    for number, document in enumerate(kept):
        if document["kind"] != "EgressGateway":
            document["spec"] |= {"priority": 50} if number % 10 == 0 else {}
            document["spec"] |= {"egressIP": {"useNodeIP": True}} if number % 25 == 0 else {}
    return kept


def reading(compilation: Compilation, inputs: Inputs, root: Path, size: float, times: Times) -> None:
    """The commands that change nothing: plan without and with changes, and explain."""
    out = root / "out"
    timing(times, "plan, nothing changes", lambda: plan_against(compilation, out))
    write_policies(root / "changed", changed(list(policies(size))))
    after = compile_bundle(Inputs((root / "changed",), inputs.cluster, lock=inputs.lock))
    timing(times, "plan, much changes", lambda: as_markdown(plan_against(after, out)))
    timing(times, "plan, with line diffs", lambda: as_markdown(plan_against(after, out, diffs=True)))
    pod = after.resolved.cluster.pods[-1].key
    explanation = timing(times, "explain POD", lambda: explain_pod(after, pod, None, Collector()))
    assert explanation is not None
    timing(times, "explain POD", lambda: explain_text(explanation))
    timing(times, "explain --eip", lambda: explain_address(after, parse_address("10.10.250.0")))


@without_cycle_collection()
def measure(size: float, root: Path) -> Times:
    """The times at one size, in processor seconds, in the order of the work; as commands, it looks for no cycles."""
    root.mkdir(parents=True)
    inputs = write_input(root, size)
    content = inputs.cluster[0].read_bytes()
    times: Times = {}
    yardsticks(content, times)
    schemas(list(policies(size)), times)
    start = perf_counter()
    with timed_stages(times), timed(times, WHOLE):
        compilation = compile_bundle(inputs)
    clock = perf_counter() - start
    timing(times, "write the bundle", lambda: bundle.write(compilation, root / "out"))
    again = timing(times, "compile with the lock", lambda: compile_bundle(inputs))
    timing(times, "write, nothing to do", lambda: bundle.write(again, root / "out"))
    reading(again, inputs, root, size, times)
    made = sum(map(len, compilation.files.values())) / 1e6
    counted = f"{int(NODES * size):,} nodes, {int(PODS * size):,} pods, {int(POLICIES * size):,} policies"
    written = f"{len(compilation.files):,} files, {made:.0f} MB out"
    print(f"{counted}: {len(content) / 1e6:.0f} MB in, {written}; compiled in {clock:.1f} s by the clock")
    return times


def show(small: Mapping[str, float], large: Mapping[str, float]) -> None:
    """As docs/performance.md has it."""
    print("\n| | a tenth | full size | growth | of compile | times json.loads |\n|---|--:|--:|--:|--:|--:|")
    for name, seconds in large.items():
        growth = f"{seconds / small[name]:.1f}" if small[name] >= 0.01 else ""
        part, ratio = seconds / large[WHOLE], seconds / large[JSON]
        print(f"| {name} | {small[name]:.2f} s | {seconds:.2f} s | {growth} | {part:.0%} | {ratio:.2f} |")


def test_compile_takes_seconds_and_grows_linearly(tmp_path: Path) -> None:
    print()
    measure(0.01, tmp_path / "warm")
    small = measure(0.1, tmp_path / "small")
    large = measure(1.0, tmp_path / "large")
    show(small, large)
    assert large[WHOLE] / small[WHOLE] < 15
    assert large[WHOLE] < LIMIT
    assert large["plan, much changes"] < LIMIT
    assert large[FAST] < large[WHOLE] / 10


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        found = [measure(float(text), Path(directory) / text) for text in ["0.01", *(sys.argv[1:] or ["0.1", "1"])]]
        show(found[1], found[-1])
