"""Endpoint slices as an API server takes them."""

from pathlib import Path

import pytest
import yaml

from egress_compiler.pipeline import Inputs, compile_bundle

EXAMPLE = Path(__file__).parents[2] / "examples" / "quickstart"


@pytest.mark.parametrize("uid", ["4f1c-9a", "", None])
def test_a_slice_names_its_owner_where_the_cluster_has_given_it_a_uid(uid: str | None, tmp_path: Path) -> None:
    """An API server refuses an ownerReference without a uid; a policy written by hand has none."""
    for path in (EXAMPLE / "policies").glob("*.yaml"):
        documents = list(yaml.safe_load_all(path.read_text()))
        for document in documents:
            document["metadata"] |= {} if uid is None else {"uid": uid}
        (tmp_path / path.name).write_text(yaml.safe_dump_all(documents))
    made = compile_bundle(Inputs((tmp_path,), (EXAMPLE / "cluster.json",)))
    (endpoints,) = yaml.safe_load_all(made.files["endpointslices.yaml"])
    assert endpoints["metadata"]["labels"] == {"spidernet.io/policy-name": "test"}
    owners = endpoints["metadata"].get("ownerReferences")
    expected = {"apiVersion": "egressgateway.spidernet.io/v1beta1", "kind": "EgressPolicy", "name": "test", "uid": uid}
    assert owners == ([expected] if uid else None)


@pytest.mark.parametrize(("limit", "sizes"), [(100, [2, 2, 3]), (2, [2, 2, 2, 1]), (0, [])])
def test_the_settings_say_how_many_endpoints_a_slice_has(limit: int, sizes: list[int], tmp_path: Path) -> None:
    where, settings = EXAMPLE.parent / "dual-stack-ha", tmp_path / "settings.yaml"
    settings.write_text((where / "settings.yaml").read_text() + f"endpointSliceSize: {limit}\n")
    made = compile_bundle(Inputs((where / "policies",), (where / "cluster.json",), settings=settings))
    slices = list(yaml.safe_load_all(made.files["endpointslices.yaml"]))
    assert [len(one["endpoints"]) for one in slices] == sizes
