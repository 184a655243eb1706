"""No input gives anything but a result or InvalidInput, and nothing is written where it is InvalidInput.

``EGRESS_FUZZ_EXAMPLES=10000 pytest --timeout=0 tests/fuzz`` for longer.
"""

import json
import re
import shutil
from contextlib import suppress
from functools import cache
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from egress_compiler import bundle
from egress_compiler.cli.app import app
from egress_compiler.diagnostics import Collector, InvalidInput, as_github, as_text
from egress_compiler.load import load_cluster, load_documents, load_lock, load_settings, load_uplinks
from egress_compiler.load.statuses import load_statuses
from egress_compiler.model.settings import Settings
from egress_compiler.pipeline import Compilation, Inputs, compile_bundle
from egress_compiler.validate import validate_policies
from egress_compiler.validate.schemas import NAMES, fast_check, slow_check
from tests.fuzz.inputs import (
    BYTES,
    CLUSTER,
    HOSTILE,
    INVENTORY,
    JSON_BYTES,
    LOCK,
    POLICIES,
    SETTINGS,
    STATUSES,
    VALUES,
    Json,
    examples,
    policies_text,
    scratched,
    spoilt,
)

TEMPLATES = Path(bundle.__file__).parent / "render" / "templates"
_SAFE_LINE = re.compile(r"[^\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e]*")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


def check_report(found: Collector) -> None:
    """Every finding can be shown: on one line of its own, with nothing in it that acts on a screen or a runner."""
    for diagnostic in found.found:
        text = as_text(diagnostic)
        assert all(_SAFE_LINE.fullmatch(line) and not line.lstrip().startswith("::") for line in text.split("\n"))
        assert "##[" not in text
        assert "\n" not in as_github(diagnostic)


@examples(300)
@given(BYTES)
def test_policies_of_any_bytes(place: Path, content: bytes) -> None:
    (place / "p.yaml").write_bytes(content)
    found = Collector()
    validate_policies(load_documents([place / "p.yaml"], found), found)
    check_report(found)


@examples(200)
@given(JSON_BYTES)
def test_clusters_of_any_bytes(place: Path, content: bytes) -> None:
    (place / "c.json").write_bytes(content)
    found = Collector()
    load_cluster([place / "c.json"], found)
    check_report(found)


@examples(200)
@given(st.one_of(BYTES, spoilt(SETTINGS).map(lambda data: yaml.safe_dump(data).encode())))
def test_settings_of_any_bytes(place: Path, content: bytes) -> None:
    (place / "s.yaml").write_bytes(content)
    found = Collector()
    load_settings(place / "s.yaml", found)
    check_report(found)


@examples(200)
@given(st.one_of(BYTES, spoilt(LOCK).map(lambda data: json.dumps(data).encode())))
def test_lock_files_of_any_bytes(place: Path, content: bytes) -> None:
    (place / "l.json").write_bytes(content)
    found = Collector()
    load_lock(place / "l.json", found)
    check_report(found)


@examples(100)
@given(st.one_of(BYTES, spoilt(STATUSES).map(lambda data: json.dumps(data).encode())))
def test_statuses_of_any_bytes(place: Path, content: bytes) -> None:
    (place / "e.yaml").write_bytes(content)
    found = Collector()
    load_statuses([place / "e.yaml"], found)
    check_report(found)


@examples(20)
@given(st.one_of(BYTES, spoilt(INVENTORY).map(lambda data: yaml.safe_dump(data).encode())))
def test_inventories_of_any_bytes(place: Path, content: bytes) -> None:
    (place / "i.yml").write_bytes(content)
    found = Collector()
    load_uplinks(place / "i.yml", Settings(), found)
    check_report(found)


RUN: dict[str, Json] = {
    "policies.yaml": POLICIES,
    "cluster.json": CLUSTER,
    "settings.yaml": SETTINGS,
    "lock.json": LOCK,
    "inventory.yml": INVENTORY,
    "statuses.json": STATUSES,
}
"""What a run reads, by file."""


def run_text(name: str, data: Json) -> str:
    """The file's text: several documents, JSON or YAML as its name says."""
    if name == "policies.yaml":
        return policies_text(data)
    return json.dumps(data) if name.endswith(".json") else yaml.safe_dump(data, allow_unicode=True)


def write_run(place: Path, **contents: bytes | Json) -> Inputs:
    """A valid run, with other bytes or other data in the files that are named (by their stems)."""
    for name, data in RUN.items():
        content = contents.get(name.partition(".")[0], data)
        (place / name).write_bytes(content if isinstance(content, bytes) else run_text(name, content).encode())
    return Inputs(
        (place / "policies.yaml",),
        (place / "cluster.json",),
        inventory=place / "inventory.yml",
        settings=place / "settings.yaml",
        lock=place / "lock.json",
        import_status=(place / "statuses.json",),
    )


def _shape(line: str) -> str:
    return re.sub(r"\d+", "0", line)


@cache
def _script_lines() -> frozenset[str]:
    """What the templates of scripts can give, numbers aside."""
    templates = [TEMPLATES / name for name in ("watch.j2", "notify.sh.j2")]
    lines = [line for path in templates for line in path.read_text(encoding="utf-8").split("\n")]
    return frozenset(_shape(re.sub(r"\{\{.*?\}\}", "0", line)) for line in lines)


def check_files(compilation: Compilation) -> None:
    """Whatever words of the user are in a file are harmless there."""
    for name, text in compilation.files.items():
        assert re.fullmatch(r"[a-z0-9./_-]+", name, re.IGNORECASE), name
        assert ".." not in name
        for line in text.split("\n"):
            assert _SAFE_LINE.fullmatch(line), (name, line)
            if name.endswith(("/watch", "/notify.sh")):
                # Scripts have words of the user in comments only, and code that is the template's own.
                assert line.lstrip().startswith("#") or _shape(line) in _script_lines(), (name, line)
                continue
            code = line.partition("#")[0] if not name.endswith((".json", ".yaml")) else ""
            assert not re.search(
                r"[$`{]{2}|\$\(|reboot|/etc/passwd|flush ruleset|/bin/sh", re.sub('"[^"]*"', "", code)
            ), (
                name,
                line,
            )


def test_the_valid_run_compiles(place: Path) -> None:
    """Else the tests below would spoil what is spoilt already."""
    compilation = compile_bundle(write_run(place))
    assert "10.6.1.60" in compilation.lock_text
    check_files(compilation)


@examples(150)
@given(spoilt(POLICIES))
def test_spoilt_policies_compile_or_are_refused(place: Path, documents: list[Json]) -> None:
    with suppress(InvalidInput):
        check_files(compile_bundle(write_run(place, policies=documents)))


@examples(100)
@given(spoilt({name.partition(".")[0]: data for name, data in RUN.items() if name != "policies.yaml"}))
def test_a_spoilt_cluster_compiles_or_is_refused(place: Path, run: Json) -> None:
    """The cluster, or the settings, lock, inventory and statuses beside it; one that is gone is empty."""
    stems = [name.partition(".")[0] for name in RUN if name != "policies.yaml"]
    with suppress(InvalidInput):
        check_files(compile_bundle(write_run(place, **{stem: run.get(stem, {}) for stem in stems})))


@examples(100)
@given(
    st.sampled_from(sorted(RUN)).flatmap(lambda name: st.tuples(st.just(name), scratched(run_text(name, RUN[name]))))
)
def test_a_run_with_one_file_scratched_compiles_or_is_refused(place: Path, scratch: tuple[str, bytes]) -> None:
    name, content = scratch
    with suppress(InvalidInput):
        check_files(compile_bundle(write_run(place, **{name.partition(".")[0]: content})))


@examples(40)
@given(spoilt(POLICIES), st.booleans())
def test_nothing_is_written_on_error(place: Path, documents: list[Json], written_before: bool) -> None:
    """Neither where there is no bundle yet, nor where there is one, its lock file beside it."""
    out = place / "out"
    shutil.rmtree(out, ignore_errors=True)
    if written_before:
        bundle.write(compile_bundle(write_run(place)), out)
    inputs = write_run(place, policies=documents)
    before = _state(place)
    options = ["-p", inputs.policies[0], "-c", inputs.cluster[0], "-s", inputs.settings, "-l", inputs.lock]
    options += ["-i", inputs.inventory, "--import-status", inputs.import_status[0], "--out", out]
    checked = CliRunner().invoke(app, ["compile", *map(str, options), "--check"])
    assert checked.exit_code in (0, 2) or isinstance(checked.exception, InvalidInput)
    if isinstance(checked.exception, InvalidInput):
        real = CliRunner().invoke(app, ["compile", *map(str, options)])
        assert isinstance(real.exception, InvalidInput)
    assert _state(place) == before


def _state(place: Path) -> dict[Path, tuple[int, bytes]]:
    """Of every file and directory: when it was changed, and what is in it."""
    return {p: (p.stat().st_mtime_ns, p.read_bytes() if p.is_file() else b"") for p in sorted(place.rglob("*"))}


VALID: dict[str, Json] = {
    "egressgateway": POLICIES[0],
    "egresspolicy": POLICIES[1],
    "egressclusterpolicy": POLICIES[2],
    "egressclusterinfo": POLICIES[3],
    "settings": SETTINGS,
    "lock": LOCK,
}


@examples(200)
@given(st.data())
def test_the_fast_schema_check_agrees_with_jsonschema(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(NAMES))
    value = data.draw(spoilt(VALID[name]) | VALUES)
    assert fast_check(name)(value) == slow_check(name).is_valid(value)


@pytest.mark.parametrize("name", NAMES)
def test_the_valid_examples_are_valid_for_both(name: str) -> None:
    assert fast_check(name)(VALID[name])
    assert slow_check(name).is_valid(VALID[name])


PLACES: dict[str, tuple[str, tuple[str | int, ...]]] = {
    "description": ("policies", (1, "metadata", "annotations", "egressgateway.spidernet.io/description")),
    "description of a gateway": ("policies", (0, "metadata", "annotations")),
    "label": ("policies", (1, "metadata", "labels")),
    "policy name": ("policies", (1, "metadata", "name")),
    "namespace": ("policies", (1, "metadata", "namespace")),
    "gateway name": ("policies", (1, "spec", "egressGatewayName")),
    "destination": ("policies", (1, "spec", "destSubnet", 0)),
    "node name": ("cluster", ("items", 0, "metadata", "name")),
    "node label": ("cluster", ("items", 0, "metadata", "labels", "x")),
    "pod name": ("cluster", ("items", 3, "metadata", "name")),
    "pod namespace": ("cluster", ("items", 3, "metadata", "namespace")),
    "node of a pod": ("cluster", ("items", 3, "spec", "nodeName")),
    "service name": ("cluster", ("items", 5, "metadata", "name")),
    "pod address": ("cluster", ("items", 3, "status", "podIPs", 0, "ip")),
    "interface": ("settings", ("interface",)),
    "node in the lock": ("lock", ("eips", "internet/10.6.1.60", "node")),
}


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("where", PLACES)
def test_hostile_text_is_refused_or_harmless(where: str, text: str, tmp_path: Path) -> None:
    run: Json = json.loads(json.dumps({"policies": POLICIES, "cluster": CLUSTER, "settings": SETTINGS, "lock": LOCK}))
    file, (*above, last) = PLACES[where]
    parent = run[file]
    for step in above:
        parent = parent[step]
    parent[last] = {"description": text, "x": text} if last in ("annotations", "labels") else text
    inputs = write_run(tmp_path, **run)
    with suppress(InvalidInput):
        compilation = compile_bundle(inputs)
        check_files(compilation)
        bundle.write(compilation, tmp_path / "out")
        written = {path.relative_to(tmp_path / "out") for path in (tmp_path / "out").rglob("*") if path.is_file()}
        assert written == {Path(name) for name in compilation.files}
