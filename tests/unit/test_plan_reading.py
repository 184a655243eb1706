"""plan.json, written and read again; and what is no plan."""

import json
from pathlib import Path
from typing import Any

import pytest

from egress_compiler.contract.plan import Both, PolicyAnswer
from egress_compiler.contract.reading import DamagedPlan, read_plan
from egress_compiler.pipeline import Inputs, compile_bundle
from egress_compiler.render.plan_text import plan_json

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize("example", sorted(path.parent.name for path in EXAMPLES.glob("*/policies")))
def test_a_plan_is_read_as_it_was_written(example: str, tmp_path: Path) -> None:
    where = EXAMPLES / example
    cluster = next(where / name for name in ("cluster.json", "cluster") if (where / name).exists())
    settings = where / "settings.yaml"
    inputs = Inputs((where / "policies",), (cluster,), settings=settings if settings.exists() else None)
    plans = compile_bundle(inputs).plans
    assert [read_plan(plan_json(plan)) for plan in plans] == list(plans)


def test_how_somebody_else_spells_an_optional_type_does_not_matter() -> None:
    """typing gives one object for both spellings, the one that was asked for first."""
    assert Both[PolicyAnswer | None](None, None).of(4) is None
    test_a_plan_is_read_as_it_was_written("dual-stack-ha", Path())


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (("version",), 1, "plan version 1, but this side reads 2"),
        (("role",), "pod", "damaged: ValueError: 'pod'"),
        (("kernel", "interface"), "eth0; reboot", "damaged: ValueError: 'eth0; reboot'"),
        (("kernel", "tunnel", "underlay"), "10.0.0.256", "damaged: ValueError"),
        (("kernel", "tunnel", "mtu"), "1450", "damaged: ValueError"),
        (("worker",), None, "damaged: TypeError"),
        (("cut",), "everything", "damaged: ValueError"),
    ],
)
def test_what_is_not_what_it_should_be_is_refused(path: tuple[str, ...], value: object, says: str) -> None:
    where = EXAMPLES / "dual-stack-ha"
    inputs = Inputs((where / "policies",), (where / "cluster.json",), settings=where / "settings.yaml")
    data: Any = json.loads(plan_json(compile_bundle(inputs).plans[0]))
    inner = data
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    with pytest.raises(DamagedPlan, match=says):
        read_plan(json.dumps(data))
