"""No input gives anything but a result or InvalidInput, and nothing is written where it is InvalidInput.

``EGRESS_FUZZ_EXAMPLES=10000 pytest tests/fuzz`` for longer.
"""

import json
import re
from contextlib import suppress
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
    JSON_BYTES,
    LOCK,
    POLICIES,
    SETTINGS,
    VALUES,
    Json,
    examples,
    policies_text,
    spoilt,
)

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
@given(BYTES)
def test_statuses_of_any_bytes(place: Path, content: bytes) -> None:
    (place / "e.yaml").write_bytes(content)
    found = Collector()
    load_statuses([place / "e.yaml"], found)
    check_report(found)


INVENTORY: Json = {
    "all": {
        "vars": {"egress_mtu": 1500, "egress_uplink_cidrs": ["10.6.1.0/24"]},
        "hosts": {"gate": {"egress_interface": "eth0"}, "worker": {"egress_node_name": "worker"}},
    }
}


@examples(20)
@given(st.one_of(BYTES, spoilt(INVENTORY).map(lambda data: yaml.safe_dump(data).encode())))
def test_inventories_of_any_bytes(place: Path, content: bytes) -> None:
    (place / "i.yml").write_bytes(content)
    found = Collector()
    load_uplinks(place / "i.yml", Settings(), found)
    check_report(found)


def write_run(
    place: Path, policies: str, cluster: Json = CLUSTER, settings: Json = SETTINGS, lock: Json = LOCK
) -> Inputs:
    (place / "policies.yaml").write_text(policies, encoding="utf-8", newline="")
    (place / "cluster.json").write_text(json.dumps(cluster))
    (place / "settings.yaml").write_text(yaml.safe_dump(settings))
    (place / "lock.json").write_text(json.dumps(lock))
    return Inputs(
        (place / "policies.yaml",),
        (place / "cluster.json",),
        settings=place / "settings.yaml",
        lock=place / "lock.json",
    )


def check_files(compilation: Compilation) -> None:
    """Whatever words of the user are in a file are harmless there."""
    for name, text in compilation.files.items():
        assert re.fullmatch(r"[a-z0-9./_-]+", name, re.IGNORECASE), name
        assert ".." not in name
        for line in text.split("\n"):
            assert _SAFE_LINE.fullmatch(line), (name, line)
            code = line.partition("#")[0] if not name.endswith((".json", ".yaml")) else ""
            assert not re.search(
                r"[$`{]{2}|\$\(|reboot|/etc/passwd|flush ruleset|/bin/sh", re.sub('"[^"]*"', "", code)
            ), (
                name,
                line,
            )


@examples(150)
@given(spoilt(POLICIES))
def test_spoilt_policies_compile_or_are_refused(place: Path, documents: list[Json]) -> None:
    inputs = write_run(place, policies_text(documents))
    with suppress(InvalidInput):
        check_files(compile_bundle(inputs))


@examples(100)
@given(spoilt({"cluster": CLUSTER, "settings": SETTINGS, "lock": LOCK}))
def test_a_spoilt_cluster_compiles_or_is_refused(place: Path, run: Json) -> None:
    inputs = write_run(
        place, policies_text(POLICIES), run.get("cluster", {}), run.get("settings", {}), run.get("lock", {})
    )
    with suppress(InvalidInput):
        check_files(compile_bundle(inputs))


@examples(40)
@given(spoilt(POLICIES))
def test_nothing_is_written_on_error(place: Path, documents: list[Json]) -> None:
    inputs = write_run(place, policies_text(documents))
    before = {path: path.stat().st_mtime_ns for path in place.rglob("*")}
    options = ["-p", inputs.policies[0], "-c", inputs.cluster[0], "-s", inputs.settings, "-l", inputs.lock]
    done = CliRunner().invoke(app, ["compile", *map(str, options), "--out", str(place / "out"), "--check"])
    assert done.exit_code in (0, 2) or isinstance(done.exception, InvalidInput)
    if isinstance(done.exception, InvalidInput):
        real = CliRunner().invoke(app, ["compile", *map(str, options), "--out", str(place / "out")])
        assert isinstance(real.exception, InvalidInput)
    assert {path: path.stat().st_mtime_ns for path in place.rglob("*")} == before


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
    inputs = write_run(tmp_path, policies_text(run["policies"]), run["cluster"], run["settings"], run["lock"])
    with suppress(InvalidInput):
        compilation = compile_bundle(inputs)
        check_files(compilation)
        bundle.write(compilation, tmp_path / "out")
        written = {path.relative_to(tmp_path / "out") for path in (tmp_path / "out").rglob("*") if path.is_file()}
        assert written == {Path(name) for name in compilation.files}
