"""The annotation that accepts a warning: for its own object alone, with a reason, and while the warning lasts."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from egress_compiler.diagnostics import Diagnostic, InvalidInput, open_warnings
from egress_compiler.pipeline import Inputs, compile_bundle
from egress_compiler.validate.accept import ANNOTATION
from tests.properties.strategies import Json, document

CLUSTER = Path(__file__).parents[1] / "errors" / "shared" / "cluster.yaml"
NODES = {"selector": {"matchLabels": {"egress": "true"}}}
POOLS = {"ipv4": ["10.6.1.60"], "ipv6": ["fd00:6::60"]}
GATEWAY = document("EgressGateway", "internet", {"clusterDefault": True, "ippools": POOLS, "nodeSelector": NODES})


def nobody(name: str, accept: str | None = None, **spec: Any) -> Json:
    """A policy that selects no pod."""
    made = document("EgressPolicy", name, {"appliedTo": {"podSelector": {"matchLabels": {"app": name}}}} | spec, "shop")
    if accept is not None:
        made["metadata"] = made["metadata"] | {"annotations": {ANNOTATION: accept}}
    return made


def compiled(objects: Sequence[Json], directory: Path, form: str = "documents", **more: Any) -> tuple[Diagnostic, ...]:
    text = {
        "documents": lambda: "---\n".join(yaml.safe_dump(item) for item in objects),
        "list": lambda: yaml.safe_dump({"apiVersion": "v1", "kind": "List", "items": list(objects)}),
        "json": lambda: json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}),
    }[form]()
    file = directory / f"p.{'json' if form == 'json' else 'yaml'}"
    file.write_text(text, encoding="utf-8")
    return compile_bundle(Inputs((file,), (CLUSTER,), lock=directory / "none.lock.json", **more)).diagnostics


def told(diagnostics: Sequence[Diagnostic]) -> list[tuple[str, str]]:
    """Code and reason, the reason being empty where nobody accepted."""
    return [(diagnostic.code, diagnostic.accepted) for diagnostic in diagnostics]


@pytest.mark.parametrize("form", ["documents", "list", "json"])
def test_an_acceptance_is_for_its_own_object(form: str, tmp_path: Path) -> None:
    objects = [GATEWAY, nobody("a", "selects-nothing: next week"), nobody("b"), nobody("c", "selects-nothing: later")]
    found = compiled(objects, tmp_path, form)
    assert told(found) == [
        ("selects-nothing", "next week"),
        ("selects-nothing", ""),
        ("selects-nothing", "later"),
    ]
    assert len(open_warnings(found)) == 1


def test_accepted_warnings_do_not_stop_a_strict_run(tmp_path: Path) -> None:
    objects = [GATEWAY, nobody("a", "selects-nothing: next week")]
    assert told(compiled(objects, tmp_path, warnings_as_errors=True)) == [("selects-nothing", "next week")]
    with pytest.raises(InvalidInput) as caught:
        compiled([*objects, nobody("b")], tmp_path, warnings_as_errors=True)
    assert told(caught.value.diagnostics) == [("selects-nothing", "next week"), ("selects-nothing", "")]


def test_several_in_one_annotation(tmp_path: Path) -> None:
    accept = " host-bits : as the firewall has it ;selects-nothing: with: a colon; "
    found = compiled([GATEWAY, nobody("a", accept, destSubnet=["203.0.113.7/24"])], tmp_path)
    assert sorted(told(found)) == [("host-bits", "as the firewall has it"), ("selects-nothing", "with: a colon")]


@pytest.mark.parametrize(
    ("accept", "expected", "hint"),
    [
        ("selects-nothing", "accept-no-reason", "write it as"),
        ("selects-nothing:", "accept-no-reason", "write it as"),
        ("", "accept-no-reason", "write it as"),
        (";;", "accept-no-reason", "write it as"),
        ("select-nothing: x", "accept-unknown", "did you mean 'selects-nothing'?"),
        ("everything: x", "accept-unknown", ""),
        ("bad-name: x", "accept-unknown", ""),
        ("accept-unused: x", "accept-unknown", ""),
        ("shadowed: x", "accept-unused", "take it out"),
    ],
)
def test_what_is_wrong_with_an_acceptance_is_a_warning_at_its_place(
    accept: str, expected: str, hint: str, tmp_path: Path
) -> None:
    found = compiled([GATEWAY, nobody("a", accept)], tmp_path)
    assert sorted(told(found)) == [(expected, ""), ("selects-nothing", "")]
    wrong = next(d for d in found if d.code == expected)
    assert wrong.position is not None
    assert ANNOTATION in wrong.position.source.line(wrong.position.line)
    assert hint in wrong.hint


def test_an_error_is_never_accepted(tmp_path: Path) -> None:
    """Not even one of a code that is a warning elsewhere."""
    with pytest.raises(InvalidInput) as caught:
        compiled([GATEWAY, nobody("a", "not-in-pool: please", egressIP={"ipv4": "10.6.1.99"})], tmp_path)
    assert ("not-in-pool", "") in told(caught.value.diagnostics)


def test_nobody_is_told_of_unused_acceptances_where_not_everything_was_looked_at(tmp_path: Path) -> None:
    objects = [GATEWAY, nobody("a", "selects-nothing: x"), nobody("b", egressIP={"ipv4": "10.6.1.99"})]
    with pytest.raises(InvalidInput) as caught:
        compiled(objects, tmp_path)
    assert "accept-unused" not in {diagnostic.code for diagnostic in caught.value.diagnostics}


def test_an_annotation_that_is_no_text_is_one_error(tmp_path: Path) -> None:
    wrong = nobody("a")
    wrong["metadata"] = wrong["metadata"] | {"annotations": {ANNOTATION: ["selects-nothing"]}}
    with pytest.raises(InvalidInput) as caught:
        compiled([GATEWAY, wrong], tmp_path)
    assert [diagnostic.code for diagnostic in caught.value.diagnostics] == ["wrong-type"]
