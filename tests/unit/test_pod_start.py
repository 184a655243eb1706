"""The settings of the gate at pod start, and what the nodes' plans say of them."""

import json
from pathlib import Path

import pytest
from ansible_collections.egress.gateway.plugins.module_utils.contract.plan import Gate
from ansible_collections.egress.gateway.plugins.module_utils.contract.reading import DamagedPlan, read_plan

from egress_compiler import bundle
from egress_compiler.pipeline import Inputs, compile_bundle

EXAMPLE = Path(__file__).parents[2] / "examples" / "dual-stack-ha"


def plans(directory: Path, settings: str) -> list[str]:
    """Of the example's nodes, with these settings added to its own."""
    path = directory / "settings.yaml"
    path.write_text((EXAMPLE / "settings.yaml").read_text() + settings)
    inputs = Inputs((EXAMPLE / "policies",), (EXAMPLE / "cluster.json",), settings=path)
    bundle.write_files(compile_bundle(inputs), directory / "bundle")
    return [path.read_text() for path in sorted((directory / "bundle" / "nodes").glob("*/plan.json"))]


@pytest.mark.parametrize(
    ("settings", "gate"),
    [
        ("membership: followed\n", None),
        ("membership: followed\npodStart: immediate\n", None),
        ("membership: followed\npodStart: gate\n", Gate(10, "fail", ("kube-system",))),
        (
            "membership: followed\npodStart: gate\ngate: {timeoutSeconds: 3, onTimeout: block, exemptNamespaces: []}",
            Gate(3, "block", ()),
        ),
        (
            "membership: followed\npodStart: gate\ngate: {confDir: /x/net.d, binDir: /x/bin, exemptNamespaces: []}\n",
            Gate(10, "fail", (), "/x/net.d", "/x/bin"),
        ),
    ],
)
def test_the_plan_has_the_gate(tmp_path: Path, settings: str, gate: Gate | None) -> None:
    found = plans(tmp_path, settings)
    assert len(found) == 4
    for text in found:
        follow = read_plan(text, None).follow
        assert follow is not None
        assert follow.gate == gate


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("timeout_s", "10"),
        ("on_timeout", "shrug"),
        ("exempt", "kube-system"),
        ("conf_dir", "etc/cni"),
        ("conf_dir", "/etc/../root"),
        ("bin_dir", "/opt/cni/bin/.."),
        ("bin_dir", "/opt/c ni"),
    ],
)
def test_a_node_believes_no_odd_gate(tmp_path: Path, key: str, value: str) -> None:
    data = json.loads(plans(tmp_path, "membership: followed\npodStart: gate\n")[0])
    data["follow"]["gate"][key] = value
    with pytest.raises(DamagedPlan):
        read_plan(json.dumps(data), None)
