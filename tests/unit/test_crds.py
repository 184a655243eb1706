"""The CRDs: what an API server asks of them, and that they say the same as the schemas that the compiler uses."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from egress_compiler.validate.crds import crds
from egress_compiler.validate.schemas import KINDS, NAMES, fast_check, resolved, schema, self_contained
from tests.properties.search import examples

CRDS = {crd["spec"]["names"]["kind"]: crd for crd in crds()}
BUNDLES = (Path(__file__).parents[1] / "golden" / "two-nodes").rglob("*.yaml")
ALLOWED = {
    *("type", "description", "properties", "required", "items", "additionalProperties", "enum", "default"),
    *("pattern", "minLength", "maxLength", "minimum", "maximum", "multipleOf", "minItems", "maxItems"),
    *("maxProperties", "format", "x-kubernetes-preserve-unknown-fields", "x-kubernetes-validations"),
}
"""Of JSONSchemaProps (apiextensions.k8s.io/v1) what is used here; $ref, const and definitions are forbidden there."""


def root(kind: str) -> dict[str, Any]:
    (version,) = CRDS[kind]["spec"]["versions"]
    found: dict[str, Any] = version["schema"]["openAPIV3Schema"]
    return found


def parts(schema: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield path, schema
    for name, sub in schema.get("properties", {}).items():
        yield from parts(sub, f"{path}.{name}")
    for keyword in ("items", "additionalProperties"):
        if keyword in schema:
            yield from parts(schema[keyword], f"{path}[]")


@pytest.mark.parametrize("kind", CRDS)
def test_the_schema_is_structural(kind: str) -> None:
    """The rules of "Specifying a structural schema" in the Kubernetes documentation."""
    for path, part in parts(root(kind)):
        assert set(part) <= ALLOWED, path
        assert part["type"] in ("object", "array", "string", "integer", "number", "boolean"), path
        assert ("items" in part) == (part["type"] == "array"), path
        assert not {"properties", "additionalProperties"} <= set(part), f"{path}: they exclude each other"
        fields = {"properties", "additionalProperties", "x-kubernetes-preserve-unknown-fields"} & set(part)
        assert path == ".metadata" or bool(fields) == (part["type"] == "object"), f"{path}: what is in it?"
        assert set(part.get("required", ())) <= set(part.get("properties", ())), path
        if "default" in part:
            jsonschema.validate(part["default"], {**part, "default": None})
        if "pattern" in part:
            # RE2 has no looking around and no references back.
            assert not re.search(r"\(\?|\\[1-9]", part["pattern"]), path
    metadata = root(kind)["properties"]["metadata"]
    assert metadata == {"type": "object"}, "the API server knows metadata itself, and takes name limits alone"


@pytest.mark.parametrize("kind", CRDS)
def test_names_and_versions(kind: str) -> None:
    crd = CRDS[kind]
    spec, names = crd["spec"], crd["spec"]["names"]
    assert (crd["apiVersion"], crd["kind"]) == ("apiextensions.k8s.io/v1", "CustomResourceDefinition")
    assert crd["metadata"]["name"] == f"{names['plural']}.{spec['group']}"
    assert names["listKind"] == f"{kind}List"
    assert names["singular"] == kind.lower()
    (version,) = spec["versions"]
    assert (version["name"], version["served"], version["storage"]) == ("v1beta1", True, True)
    assert spec["scope"] == ("Namespaced" if kind in ("EgressPolicy", "EgressEndpointSlice") else "Cluster")


def test_no_name_stands_for_two_kinds() -> None:
    words = [
        word
        for crd in CRDS.values()
        for names in [crd["spec"]["names"]]
        for word in {names["plural"], names["singular"], *names["shortNames"]}
    ]
    assert len(words) == len(set(words))
    assert {"egw", "egp", "egcp", "egci", "egt", "egep", "egcep"} <= set(words), "as the in-cluster controller's"


@pytest.mark.parametrize("kind", CRDS)
def test_columns_show_fields_that_exist(kind: str) -> None:
    known = dict(parts(root(kind)))
    for column in CRDS[kind]["spec"]["versions"][0].get("additionalPrinterColumns", ()):
        if column["name"] == "AGE":
            assert (column["type"], column["jsonPath"]) == ("date", ".metadata.creationTimestamp")
        else:
            assert column["type"] == known[column["jsonPath"]]["type"]


def test_policies_have_the_columns_of_status() -> None:
    columns = CRDS["EgressPolicy"]["spec"]["versions"][0]["additionalPrinterColumns"]
    assert [column["name"] for column in columns] == ["GATEWAY", "IPV4", "IPV6", "EGRESSTUNNEL", "AGE"]


def test_tunnels_have_the_columns_and_fields_of_the_in_cluster_controller() -> None:
    columns = CRDS["EgressTunnel"]["spec"]["versions"][0]["additionalPrinterColumns"]
    assert [column["name"] for column in columns] == ["TUNNELMAC", "TUNNELIPV4", "TUNNELIPV6", "MARK", "PHASE", "AGE"]
    assert set(root("EgressTunnel")["properties"]["status"]["properties"]) == {
        *("tunnel", "phase", "mark", "lastHeartbeatTime"),
    }


def test_for_an_older_api_server_the_rules_can_be_left_out() -> None:
    for with_rules in (True, False):
        made = json.dumps(crds(with_rules=with_rules))
        assert ("x-kubernetes-validations" in made, "isCIDR" in made) == (with_rules, with_rules)


def pruned(value: Any, schema: Mapping[str, Any]) -> Any:
    """What an API server keeps of ``value``."""
    if schema.get("x-kubernetes-preserve-unknown-fields") or schema == {"type": "object"}:
        return value
    if isinstance(value, dict):
        known, others = schema.get("properties", {}), schema.get("additionalProperties")
        return {k: pruned(v, known.get(k, others)) for k, v in value.items() if k in known or others is not None}
    return [pruned(item, schema["items"]) for item in value] if isinstance(value, list) else value


def test_what_the_compiler_answers_fits_into_the_crds() -> None:
    kinds = set()
    for file in BUNDLES:
        for item in yaml.safe_load_all(file.read_text(encoding="utf-8")):
            if item["kind"] in CRDS:
                kinds.add(item["kind"])
                whole = root(item["kind"])
                assert pruned(item, whole) == item
                # spec is the user's part; in an answer it is not said again.
                jsonschema.validate(item, {**whole, "required": []})
    assert {"EgressGateway", "EgressPolicy", "EgressTunnel", "EgressEndpointSlice"} <= kinds


WORDS = st.sampled_from(["", "a", "default", "rr", "In", "Exists", "10.6.1.60", "A_b", "x" * 64, "-", "a/b", "k8s"])
WRONG = st.one_of(WORDS, st.integers(-2, 70_000), st.booleans(), st.just([]), st.just({}), st.just([5]), st.just(0.5))
KEYS = st.sampled_from(["app", "example.org/tier"])


def some(part: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    """Values of the schema's type, seldom others; fields that it does not know never."""
    part = resolved(part)
    kind: Any = part.get("type")
    if "enum" in part or "const" in part:
        right = st.sampled_from(part.get("enum") or [part["const"]])
    elif kind == "object" and "properties" in part:
        fields = {name: some(sub) for name, sub in part["properties"].items()}
        needed = {name: fields.pop(name) for name in part.get("required", ())}
        right = st.fixed_dictionaries(needed, optional=fields)
    elif kind == "object":
        right = st.dictionaries(KEYS, some(part.get("additionalProperties", {"type": "string"})), max_size=2)
    elif kind == "array":
        right = st.lists(some(part["items"]), max_size=2)
    else:
        right = {"string": WORDS, "integer": st.integers(-2, 70_000), "boolean": st.booleans()}[kind]
    return st.integers(0, 19).flatmap(lambda n: right if n else WRONG)


SPECS = {kind: some(schema(name)["properties"]["spec"]) for kind, name in KINDS.items()}
METADATA = {"name": "default"}


@examples(400)
@given(st.sampled_from(sorted(KINDS)).flatmap(lambda kind: st.tuples(st.just(kind), SPECS[kind])))
def test_an_api_server_takes_what_the_compiler_takes(kind_and_spec: tuple[str, Any]) -> None:
    kind, spec = kind_and_spec
    document = {"apiVersion": "egressgateway.spidernet.io/v1beta1", "kind": kind, "metadata": METADATA, "spec": spec}
    taken = jsonschema.Draft202012Validator(root(kind)).is_valid(document)
    assert taken == fast_check(KINDS[kind])(document)


@pytest.mark.parametrize("name", NAMES)
def test_a_schema_for_the_editor_stands_alone_and_has_good_examples(name: str) -> None:
    alone = self_contained(name)
    jsonschema.Draft202012Validator.check_schema(alone)
    assert {
        ref for ref in re.findall(r'"\$ref": "([^"]*)"', json.dumps(alone)) if not ref.startswith("#/$defs/")
    } == set()
    validator = jsonschema.Draft202012Validator(alone)
    # Nobody writes a lock file.
    assert alone.get("examples") or name == "lock"
    for example in alone.get("examples", ()):
        validator.validate(example)


@pytest.mark.parametrize("name", NAMES)
def test_every_field_of_a_schema_is_described(name: str) -> None:
    """yaml-language-server shows the description while people type."""

    def undescribed(part: Mapping[str, Any], path: str) -> Iterator[str]:
        whole = resolved(part)
        if "description" not in whole and not path.endswith((".apiVersion", ".kind")):
            yield path
        for field, sub in whole.get("properties", {}).items():
            if not path.endswith(".metadata"):
                yield from undescribed(sub, f"{path}.{field}")

    assert list(undescribed(schema(name), "")) == []


def test_the_command_prints_what_an_editor_and_kubectl_read() -> None:
    def printed(*arguments: str) -> str:
        command = [sys.executable, "-m", "egress_compiler", "schema", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout

    assert list(yaml.safe_load_all(printed("--crds"))) == list(CRDS.values())
    listed = printed().split()
    assert listed == [*KINDS, "settings", "lock"]
    assert json.loads(printed("EgressPolicy")) == self_contained("egresspolicy")
