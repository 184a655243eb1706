"""plan.json, written and read again; and what is no plan."""

import json
from pathlib import Path
from typing import Any

import pytest

from egress_compiler.contract.plan import Both, PolicyAnswer, Source
from egress_compiler.contract.pod_lines import pod_lines, pods_of
from egress_compiler.contract.reading import DamagedPlan, address, read_plan
from egress_compiler.pipeline import Inputs, compile_bundle
from egress_compiler.render.plan_text import plan_json

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize("example", sorted(path.parent.name for path in EXAMPLES.glob("*/policies")))
def test_a_plan_is_read_as_it_was_written(example: str, tmp_path: Path) -> None:
    where = EXAMPLES / example
    cluster = next(where / name for name in ("cluster.json", "cluster") if (where / name).exists())
    settings = where / "settings.yaml"
    inputs = Inputs((where / "policies",), (cluster,), settings=settings if settings.exists() else None)
    nodes = compile_bundle(inputs).nodes
    for name in nodes.names:
        files = nodes.files(name)
        assert read_plan(files["plan.json"], files["nftables.nft"]) == nodes.plan(name)


def test_how_somebody_else_spells_an_optional_type_does_not_matter() -> None:
    """typing gives one object for both spellings, the one that was asked for first."""
    assert Both[PolicyAnswer | None](None, None).of(4) is None
    test_a_plan_is_read_as_it_was_written("dual-stack-ha", Path())


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (("version",), 1, "plan version 1, but this side reads 5"),
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
        read_plan(json.dumps(data), None)


def test_the_inside_is_what_the_ruleset_has() -> None:
    where = EXAMPLES / "dual-stack-ha"
    inputs = Inputs((where / "policies",), (where / "cluster.json",), settings=where / "settings.yaml")
    files = compile_bundle(inputs).nodes.files("gw1")
    assert "inside" not in json.loads(files["plan.json"])
    text = files["nftables.nft"].replace(
        "\t\t\t127.0.0.0/8,\n", "\t\t\t127.0.0.0/8,\n\t\t\t198.51.100.7-198.51.100.9, # late\n"
    )
    assert "198.51.100.7-198.51.100.9" in read_plan(files["plan.json"], text).inside.ipv4
    assert read_plan(files["plan.json"], None).inside == Both((), ())
    with pytest.raises(DamagedPlan, match="ruleset is damaged"):
        read_plan(files["plan.json"], text.replace("127.0.0.0/8", "127.0.0.256"))


def test_a_pod_is_one_line_with_all_its_addresses() -> None:
    four = (
        Source("10.1.0.9", "web", "shop/a"),
        Source("10.1.0.10", "web", "shop/b"),
        Source("10.1.0.11", "all", "c/d"),
    )
    six = (Source("fd00::1", "web", "shop/b"), Source("fd00::2", "web", "shop/a"), Source("fd00::3", "web", "c/d"))
    lines = pod_lines(Both(four, six))
    assert [(line.owner, line.chain, line.sources) for line in lines] == [
        ("shop/a", "web", ("10.1.0.9", "fd00::2")),
        ("shop/b", "web", ("10.1.0.10", "fd00::1")),
        ("c/d", "all", ("10.1.0.11",)),
        ("c/d", "web", ("fd00::3",)),
    ]
    assert pods_of(lines) == Both(four, six)


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("10.0.0.1/8", "10.0.0.1/8"),
        ("fd00:0::A", "fd00::a"),
        ("fd00::a/064", "fd00::a/64"),
        ("::102:304", "::102:304"),
        ("fd00:20:0:9c5::3", "fd00:20:0:9c5::3"),
        ("1:2:3:4:5:6:7:8/127", "1:2:3:4:5:6:7:8/127"),
        ("1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"),
        ("1:0:0:4:5:6:7:8", "1::4:5:6:7:8"),
        ("1:0::4", "1::4"),
        ("1::0:4", "1::4"),
        ("::0", "::"),
        ("::", "::"),
        ("a::b::c", None),
        ("1:2:3:4:5:6:7:8:9", None),
        ("1:2:3:4:5:6:7", None),
        ("12345::", None),
        ("10.0.0.1/33", None),
        ("fd00::/129", None),
        ("10.0.0.1/", None),
        ("10.0.0.01", None),
        ("10.0.0.1 ; reboot", None),
        ("10.0.0.1\x00", None),
        ("", None),
    ],
)
def test_an_address_is_read_as_the_kernel_prints_it(text: str, read: str | None) -> None:
    if read is not None:
        assert address(text) == read
        return
    with pytest.raises(ValueError, match=r"not appear to be"):
        address(text)
