"""Scenarios through the whole pipeline, from files as a user would have them."""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from hypothesis import event, reject

from egress_compiler.diagnostics import InvalidInput
from egress_compiler.pipeline import Compilation, Inputs, compile_bundle
from tests.properties.oracle import Oracle
from tests.properties.strategies import Json, Scenario

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def compiled(
    scenario: Scenario, lock: str | None = None, order: random.Random | None = None, *, rebalance: bool = False
) -> Compilation:
    """Compiles ``scenario``, with the lock file's text of an earlier run, shuffled by ``order`` where given.

    Raises InvalidInput.
    """
    with written(scenario, lock, order) as inputs:
        return compile_bundle(replace(inputs, rebalance=rebalance))


@contextmanager
def written(scenario: Scenario, lock: str | None = None, order: random.Random | None = None) -> Iterator[Inputs]:
    """The files of ``scenario``, for as long as the context lasts."""
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        (root / "policies").mkdir()
        (root / "cluster").mkdir()
        for number, part in enumerate(_parts(scenario.documents, order)):
            text = "".join(f"---\n{json.dumps(item)}\n" for item in part)
            (root / "policies" / f"{number}.yaml").write_text(text)
        for number, part in enumerate(_parts(scenario.objects, order)):
            content = {"apiVersion": "v1", "kind": "List", "items": part}
            (root / "cluster" / f"{number}.json").write_text(json.dumps(content))
        settings = root / "settings.yaml"
        settings.write_text(json.dumps(scenario.settings))
        lock_path = root / "egress.lock.json"
        if lock is not None:
            lock_path.write_text(lock)
        yield Inputs((root / "policies",), (root / "cluster",), settings=settings, lock=lock_path)


def compiled_or_reject(scenario: Scenario, lock: str | None = None, order: random.Random | None = None) -> Compilation:
    """The same for hypothesis: what the compiler refuses is no example."""
    try:
        return compiled(scenario, lock, order)
    except InvalidInput as problem:
        event("refused: " + ", ".join(sorted({d.code for d in problem.diagnostics if d.severity == "error"})))
        reject()


def _parts(items: Sequence[Json], order: random.Random | None) -> list[list[Json]]:
    """All in one file; or shuffled, into one to three files."""
    if order is None:
        return [list(items)]
    shuffled = [_shuffled(item, order) for item in order.sample(list(items), len(items))]
    count = order.randint(1, 3)
    return [part for start in range(count) if (part := shuffled[start::count])] or [[]]


SETS = frozenset(
    {"ipv4", "ipv6", "destSubnet", "podSubnet", "values", "matchExpressions", "extraCidr", "cidrs", "podCIDRs"}
)
"""Lists whose order means nothing."""


def _shuffled(value: Any, order: random.Random, key: str = "") -> Any:
    """The same object with its mappings, and the lists that are sets, in another order."""
    if isinstance(value, dict):
        names = order.sample(sorted(value), len(value))
        return {name: _shuffled(value[name], order, name) for name in names}
    if isinstance(value, list):
        items = [_shuffled(item, order) for item in value]
        return order.sample(items, len(items)) if key in SETS else items
    return value


def status_of(compilation: Compilation) -> list[Json]:
    return list(yaml.load_all(compilation.files["status.yaml"], Loader=_Loader))


def oracle_of(scenario: Scenario, compilation: Compilation) -> Oracle:
    return Oracle(scenario.documents, scenario.objects, scenario.settings, status_of(compilation))
