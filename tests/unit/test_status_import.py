"""Migration from the in-cluster controller: whatever it had allocated stays, or the user is asked."""

import json
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from egress_compiler.diagnostics import Diagnostic, InvalidInput
from egress_compiler.model.lock import EipLock, Lock
from egress_compiler.pipeline import Compilation, Inputs, compile_bundle
from egress_compiler.status import status_list
from egress_compiler.validate.objects import specs
from tests.properties.strategies import Json, cluster_object, document

SELECTOR = {"selector": {"matchLabels": {"egress": "yes"}}}
WEB = {"podSelector": {"matchLabels": {"app": "web"}}}


def node(name: str, number: int) -> Json:
    addresses = [{"type": "InternalIP", "address": f"10.0.0.{number}"}]
    addresses.append({"type": "InternalIP", "address": f"fd00::{number}"})
    spec = {"podCIDRs": [f"10.1.{number}.0/24", f"fd00:1:{number}::/64"]}
    return cluster_object("Node", name, labels={"egress": "yes"}, spec=spec, status={"addresses": addresses})


POD_STATUS = {"phase": "Running", "podIPs": [{"ip": "10.1.1.10"}, {"ip": "fd00:1:1::a"}]}
CLUSTER = [
    cluster_object("Pod", "web", "a", {"app": "web"}, spec={"nodeName": "n1"}, status=POD_STATUS),
    *(node(f"n{number}", number) for number in (1, 2, 3)),
    cluster_object("Namespace", "a"),
    cluster_object("ServiceCIDR", "kubernetes", spec={"cidrs": ["10.2.0.0/24", "fd00:2::/112"]}),
]


def gateway(name: str = "internet", **pools: object) -> Json:
    ippools = {"ipv4": ["10.0.0.64-10.0.0.79"], "ipv6": ["fd00::64-fd00::73"], **pools}
    return document("EgressGateway", name, {"clusterDefault": True, "ippools": ippools, "nodeSelector": SELECTOR})


def policy(name: str, *, namespace: str = "a", **egress_ip: object) -> Json:
    kind = "EgressPolicy" if namespace else "EgressClusterPolicy"
    return document(kind, name, {"egressIP": egress_ip, "appliedTo": WEB}, namespace)


def live(item: Json, four: str = "", six: str = "", where: str = "", **spec: object) -> Json:
    """``item`` as the cluster shows it: with what the API server adds, and a status."""
    eip = {key: text for key, text in (("ipv4", four), ("ipv6", six)) if text}
    metadata = item["metadata"] | {"uid": "4f1c", "managedFields": [{"manager": "kubectl"}], "resourceVersion": "7"}
    return item | {"metadata": metadata, "spec": item["spec"] | spec, "status": {"eip": eip, "node": where}}


class Migration:
    """Files of a repository and of an export, in one directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def write(self, documents: list[Json], exported: list[Json], *, as_json: bool = False) -> Inputs:
        (self.directory / "policies.yaml").write_text("---\n".join(yaml.safe_dump(item) for item in documents))
        (self.directory / "cluster.json").write_text(json.dumps({"kind": "List", "items": CLUSTER}))
        content = {"apiVersion": "v1", "kind": "List", "items": exported}
        export = self.directory / ("export.json" if as_json else "export.yaml")
        export.write_text(json.dumps(content) if as_json else yaml.safe_dump(content))
        return Inputs((self.directory / "policies.yaml",), (self.directory / "cluster.json",), import_status=(export,))


@pytest.fixture
def migration(tmp_path: Path) -> Migration:
    return Migration(tmp_path)


def placements(compilation: Compilation) -> dict[str, tuple[str, str]]:
    """By policy: IPv4 EIP and node."""
    found = {}
    for item in yaml.safe_load_all(compilation.files["status.yaml"]):
        if item["kind"] in ("EgressPolicy", "EgressClusterPolicy"):
            found[item["metadata"]["name"]] = (item["status"]["eip"].get("ipv4", ""), item["status"]["node"])
    return found


def imported(diagnostics: Iterable[Diagnostic]) -> list[Diagnostic]:
    """Those of the import; that small policies overlap is told, too."""
    return [diagnostic for diagnostic in diagnostics if diagnostic.code.startswith("imported-")]


POLICIES = [
    policy("rr-1", allocatorPolicy="rr"),
    policy("rr-2", allocatorPolicy="rr", namespace=""),
    policy("default-1", allocatorPolicy="default"),
    policy("named", ipv4="10.0.0.70"),
    policy("node", useNodeIP=True),
]
EXPORT = [
    live(POLICIES[0], "10.0.0.77", "fd00::71", "n3"),
    live(POLICIES[1], "10.0.0.75", "fd00::6f", "n3", egressGatewayName="internet"),
    live(POLICIES[2], "10.0.0.66", "fd00::66", "n1"),
    live(POLICIES[3], "10.0.0.70", "fd00::6a", "n3"),
    live(POLICIES[4], "", "", "n3"),
]
KEPT = {
    "rr-1": ("10.0.0.77", "n3"),
    "rr-2": ("10.0.0.75", "n3"),
    "default-1": ("10.0.0.66", "n1"),
    "named": ("10.0.0.70", "n3"),
    "node": ("", "n3"),
}


@pytest.mark.parametrize("as_json", [False, True])
def test_every_eip_and_node_is_kept_and_the_lock_remembers_it(migration: Migration, as_json: bool) -> None:
    inputs = migration.write([gateway(), *POLICIES], EXPORT, as_json=as_json)
    first = compile_bundle(inputs)
    assert placements(first) == KEPT
    assert imported(first.diagnostics) == []
    inputs.lock_path.write_text(first.lock_text)
    again = compile_bundle(inputs)
    assert again.lock_text == first.lock_text
    later = compile_bundle(Inputs(inputs.policies, inputs.cluster))
    assert (later.lock_text, later.files) == (first.lock_text, first.files)


def test_the_statuses_win_over_a_lock_file_of_a_first_try_but_not_over_a_pin(migration: Migration) -> None:
    inputs = migration.write([gateway(), *POLICIES], EXPORT)
    without = compile_bundle(Inputs(inputs.policies, inputs.cluster))
    assert placements(without) != KEPT
    inputs.lock_path.write_text(without.lock_text)
    assert placements(compile_bundle(inputs)) == KEPT
    pins = {"internet/10.0.0.77": EipLock("n2", pinned=True)}
    assert placements(compile_bundle(inputs, Lock(eips=pins)))["rr-1"] == ("10.0.0.77", "n2")


def test_statuses_in_the_policy_files_themselves_do_not_count(migration: Migration) -> None:
    inputs = migration.write([gateway(), *EXPORT], EXPORT)
    assert placements(compile_bundle(Inputs(inputs.policies, inputs.cluster))) != KEPT
    both = Inputs(inputs.policies, inputs.cluster, import_status=inputs.policies)
    assert placements(compile_bundle(both)) == KEPT


def test_the_nodes_of_the_gateways_status_count_and_its_default_eip_too(migration: Migration) -> None:
    exported = gateway(ipv4DefaultEIP="10.0.0.68", ipv6DefaultEIP="fd00::68")
    eips = [{"ipv4": "10.0.0.68", "ipv6": "fd00::68", "policies": [{"name": "default-1", "namespace": "a"}]}]
    for key in ("eips", "epis"):
        exported["status"] = {"nodeList": [{"name": "n2", "status": "Ready", key: eips}]}
        inputs = migration.write([gateway(), POLICIES[2]], [exported, live(POLICIES[2], "10.0.0.68", "fd00::68", "n1")])
        assert placements(compile_bundle(inputs)) == {"default-1": ("10.0.0.68", "n2")}


def eips(compilation: Compilation) -> dict[str, str]:
    return {name: address for name, (address, _) in placements(compilation).items()}


@pytest.mark.parametrize("written", [{}, {"ipv4DefaultEIP": "10.0.0.79"}, {"ipv4DefaultEIP": "10.0.0.66"}])
def test_policies_with_the_default_keep_what_they_have_and_new_ones_get_the_default(
    migration: Migration, written: dict[str, str]
) -> None:
    """The in-cluster controller leaves a policy its EIP when the gateway's default changes; the import must, too."""
    old = [policy("d-1"), policy("d-2"), policy("d-3", allocatorPolicy="default"), policy("rr", allocatorPolicy="rr")]
    exported = [live(item, f"10.0.0.{n}", "", "n2") for n, item in zip((66, 66, 67, 68), old, strict=True)]
    kept = {"d-1": "10.0.0.66", "d-2": "10.0.0.66", "d-3": "10.0.0.67", "rr": "10.0.0.68"}
    inputs = migration.write([gateway(**written), *old], exported)
    first = compile_bundle(inputs)
    assert eips(first) == kept
    assert imported(first.diagnostics) == []
    inputs.lock_path.write_text(first.lock_text)
    migration.write([gateway(**written), *old, policy("new")], exported)
    for again in (inputs, Inputs(inputs.policies, inputs.cluster)):
        assert eips(compile_bundle(again)) == kept | {"new": written.get("ipv4DefaultEIP", "10.0.0.66")}


def test_what_was_kept_goes_when_the_policy_asks_or_the_lock_no_longer_says_so(migration: Migration) -> None:
    inputs = migration.write([gateway(ipv4DefaultEIP="10.0.0.79"), policy("d")], [live(policy("d"), "10.0.0.66")])
    first = compile_bundle(inputs)
    line = '"EgressPolicy a/d": {"gateway": "internet", "ipv4": "10.0.0.66", "ipv6": "fd00::66", "kept": true}'
    assert line in first.lock_text
    later = Inputs(inputs.policies, inputs.cluster)
    inputs.lock_path.write_text(first.lock_text.replace(', "kept": true', ""))
    assert eips(compile_bundle(later)) == {"d": "10.0.0.79"}
    inputs.lock_path.write_text(first.lock_text)
    migration.write([gateway(ipv4DefaultEIP="10.0.0.79"), policy("d", ipv4="10.0.0.70")], [])
    asked = compile_bundle(later)
    assert eips(asked) == {"d": "10.0.0.70"}
    assert "kept" not in asked.lock_text
    migration.write([gateway(ipv4DefaultEIP="10.0.0.66"), policy("d")], [])
    assert "kept" not in compile_bundle(later).lock_text


def test_an_address_that_cannot_be_kept_is_an_error_that_says_how(migration: Migration) -> None:
    two = [policy("half"), policy("gone", allocatorPolicy="rr")]
    exported = [live(two[0], "10.0.0.66", "fd00::ff"), live(two[1], "192.0.2.1")]
    inputs = migration.write([gateway(), *two], exported)
    with pytest.raises(InvalidInput) as caught:
        compile_bundle(inputs)
    found = {d.message: d for d in imported(caught.value.diagnostics)}
    assert sorted(found) == [
        "EgressPolicy a/gone left with 192.0.2.1, and would now leave with 10.0.0.64 and fd00::64",
        "EgressPolicy a/half left with 10.0.0.66 and fd00::ff, and would now leave with 10.0.0.66 and fd00::66",
    ]
    assert {d.code for d in found.values()} == {"imported-eip"}
    assert all(d.position is not None and "name it under egressIP" in d.hint for d in found.values())


def test_addresses_that_are_no_pair_are_kept_as_they_are(migration: Migration) -> None:
    """The in-cluster controller draws them apart: its defaults, and what policies without a word got."""
    some = [policy("default"), policy("rr", allocatorPolicy="rr"), policy("named", ipv4="10.0.0.70")]
    drawn = [("10.0.0.66", "fd00::67"), ("10.0.0.68", "fd00::69"), ("10.0.0.70", "fd00::65")]
    exported = [live(one, *eips, "n2") for one, eips in zip(some, drawn, strict=True)]
    exported.append(live(gateway(ipv4DefaultEIP="10.0.0.65", ipv6DefaultEIP="fd00::6c"), "", "", ""))
    inputs = migration.write([gateway(), *some, policy("new")], exported)
    first = compile_bundle(inputs)
    assert imported(first.diagnostics) == []
    inputs.lock_path.write_text(first.lock_text)
    for made in (first, compile_bundle(replace(inputs, import_status=()))):
        statuses = {i["metadata"]["name"]: i["status"] for i in yaml.safe_load_all(made.files["status.yaml"])}
        for one, (four, six) in zip(some, drawn, strict=True):
            assert statuses[one["metadata"]["name"]] == {"eip": {"ipv4": four, "ipv6": six}, "node": "n2"}
        assert statuses["new"]["eip"] == {"ipv4": "10.0.0.65", "ipv6": "fd00::6c"}


def test_what_the_policy_itself_asks_for_is_a_warning(migration: Migration) -> None:
    asked = [policy("named", ipv4="10.0.0.70"), policy("node", useNodeIP=True)]
    exported = [live(asked[0], "10.0.0.71", "", "n1"), live(asked[1], "10.0.0.72", "", "n1")]
    compilation = compile_bundle(migration.write([gateway(), *asked], exported))
    found = imported(compilation.diagnostics)
    assert [(d.code, d.severity) for d in found] == [("imported-eip", "warning")] * 2


def test_nodes_that_left_and_policies_that_are_not_here_are_warnings(migration: Migration) -> None:
    exported = [live(POLICIES[0], "10.0.0.77", "fd00::71", "n9"), live(policy("other"), "10.0.0.78", "", "n1")]
    compilation = compile_bundle(migration.write([gateway(), POLICIES[0]], exported))
    assert placements(compilation)["rr-1"][0] == "10.0.0.77"
    assert sorted(d.code for d in imported(compilation.diagnostics)) == ["imported-node", "imported-stranger"]


@pytest.mark.parametrize(
    ("exported", "code"),
    [
        ([live(POLICIES[0], "10.0.0.077")], "bad-address"),
        ([POLICIES[0] | {"status": {"eip": "10.0.0.77"}}], "bad-status"),
        ([POLICIES[0], gateway()], "no-status"),
    ],
)
def test_exports_that_make_no_sense(migration: Migration, exported: list[Json], code: str) -> None:
    inputs = migration.write([gateway(), *POLICIES], exported)
    with pytest.raises(InvalidInput) as caught:
        compile_bundle(inputs)
    found = next(d for d in caught.value.diagnostics if d.code == code)
    assert found.position is not None
    assert found.position.source.name.endswith("export.yaml")


def test_what_status_prints_can_be_imported(migration: Migration) -> None:
    """A repository whose lock file was lost, from the statuses of its last bundle."""
    first = compile_bundle(migration.write([gateway(), *POLICIES], EXPORT))
    kinds = ("EgressGateway", "EgressPolicy", "EgressClusterPolicy")
    objects = status_list(first.resolved, first.allocation, specs(first.documents), kinds)
    inputs = migration.write([gateway(), *POLICIES], objects["items"])
    assert placements(compile_bundle(inputs)) == KEPT


def test_exports_that_overlap_are_fine_where_they_agree(migration: Migration) -> None:
    inputs = migration.write([gateway(), *POLICIES], EXPORT)
    again = migration.directory / "again.yaml"
    again.write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "List", "items": EXPORT[1:3]}))
    both = replace(inputs, import_status=(*inputs.import_status, again, again))
    assert placements(compile_bundle(both)) == KEPT
    again.write_text(yaml.safe_dump(live(POLICIES[0], "10.0.0.78", "fd00::72", "n3")))
    with pytest.raises(InvalidInput) as refused:
        compile_bundle(both)
    (problem,) = (d for d in refused.value.diagnostics if d.code == "two-statuses")
    assert {problem.position and problem.position.source.name, *(r.position.source.name for r in problem.related)} == {
        str(again),
        str(inputs.import_status[0]),
    }


def test_on_the_command_line(migration: Migration) -> None:
    migration.write([gateway(), *POLICIES], EXPORT)
    command = [sys.executable, "-m", "egress_compiler"]
    common = ["-p", "policies.yaml", "-c", "cluster.json", "--import-status", "export.yaml"]
    for arguments in (["plan", *common, "--against", "bundle", "--new"], ["compile", *common, "--out", "bundle"]):
        done = subprocess.run(
            [*command, *arguments], cwd=migration.directory, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, done.stderr
        assert "imported-" not in done.stderr
    lock = json.loads((migration.directory / "egress.lock.json").read_text())
    assert lock["policies"]["EgressPolicy a/rr-1"]["ipv4"] == "10.0.0.77"
