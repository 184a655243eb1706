"""What ``validate`` says without a cluster: all that the policy files decide, in compile's own words."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from egress_compiler.diagnostics import Collector, Diagnostic, InvalidInput
from egress_compiler.pipeline import check_files
from tests.errors.cases import CASES, HERE, diagnostics_of, policies_of

GATEWAY: dict[str, Any] = {
    "apiVersion": "egressgateway.spidernet.io/v1beta1",
    "kind": "EgressGateway",
    "metadata": {"name": "internet"},
    "spec": {
        "ippools": {"ipv4": ["10.6.1.60-10.6.1.61"], "ipv6": ["fd00:6::60-fd00:6::61"]},
        "nodeSelector": {"selector": {"matchLabels": {"egress": "true"}}},
    },
}
SOME_PODS = {"podSelector": {"matchLabels": {"app": "web"}}}


def policy(name: str, kind: str = "EgressPolicy", **spec: Any) -> dict[str, Any]:
    metadata = {"name": name} | ({"namespace": "shop"} if kind == "EgressPolicy" else {})
    return GATEWAY | {"kind": kind, "metadata": metadata, "spec": {"appliedTo": SOME_PODS, **spec}}


def validated(paths: tuple[Path, ...]) -> tuple[Diagnostic, ...]:
    found = Collector()
    try:
        check_files(paths, found)
    except InvalidInput as problem:
        return problem.diagnostics
    return found.found


def codes(where: Path, *documents: object) -> list[str]:
    (where / "p.yaml").write_text(yaml.safe_dump_all(documents))
    return sorted(d.code for d in validated((where / "p.yaml",)))


@pytest.mark.parametrize("case", CASES)
def test_validate_says_nothing_that_compile_does_not_say(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(HERE)
    by_compile = {(d.code, d.message, d.position) for d in diagnostics_of(case)}
    if by_compile and not any(position is None for _, _, position in by_compile):
        said = {(d.code, d.message, d.position) for d in validated((policies_of(case),)) if not d.accepted}
        assert said <= by_compile


@pytest.mark.parametrize(
    ("spec", "code"),
    [
        ({"egressGatewayName": "internet", "egressIP": {"ipv4": "10.6.1.70"}}, "not-in-pool"),
        ({"egressGatewayName": "internet", "egressIP": {"ipv6": "fd00:6::70"}}, "not-in-pool"),
        ({"egressGatewayName": "internet", "egressIP": {"ipv4": "10.6.1.60", "ipv6": "fd00:6::61"}}, "not-a-pair"),
        ({"egressGatewayName": "interne"}, "unknown-gateway"),
        ({"egressGatewayName": "internet", "destSubnet": ["127.0.0.0/8"]}, "destination-inside"),
    ],
)
def test_what_stands_in_the_files(spec: dict[str, Any], code: str, tmp_path: Path) -> None:
    assert codes(tmp_path, GATEWAY, policy("a", **spec)) == [code]


def test_a_gateway_without_eips(tmp_path: Path) -> None:
    empty = GATEWAY | {"spec": {"nodeSelector": {"selector": {"matchLabels": {"egress": "true"}}}}}
    assert codes(tmp_path, empty, policy("a", egressGatewayName="internet")) == ["empty-pool"]


def test_gateways_may_be_elsewhere(tmp_path: Path) -> None:
    """Of a repository of policies alone nobody knows which gateways there are."""
    assert codes(tmp_path, policy("a", egressGatewayName="internet")) == []
    assert codes(tmp_path, policy("a"), policy("b", "EgressClusterPolicy")) == []


def test_the_label_of_a_namespace_may_name_the_gateway(tmp_path: Path) -> None:
    assert codes(tmp_path, GATEWAY, policy("a")) == []
    assert codes(tmp_path, GATEWAY, policy("b", "EgressClusterPolicy")) == ["no-gateway"]


def test_policies_that_meet_whatever_pods_there_are(tmp_path: Path) -> None:
    subnet: dict[str, Any] = {"egressGatewayName": "internet", "appliedTo": {"podSubnet": ["10.244.1.0/24"]}}
    one, other = (policy(name, "EgressClusterPolicy", **subnet) for name in "ab")
    assert codes(tmp_path, GATEWAY, one, other) == ["shadowed"]
    assert codes(tmp_path, GATEWAY, policy("a", egressGatewayName="internet")) == []


def test_more_policies_than_eips(tmp_path: Path) -> None:
    rr: dict[str, Any] = {"egressGatewayName": "internet", "egressIP": {"allocatorPolicy": "rr"}}
    assert codes(tmp_path, GATEWAY, *(policy(name, **rr) for name in "abc")) == ["pool-too-small"]


def test_what_is_empty_counts_as_absent(tmp_path: Path) -> None:
    pools = {"ipv4": ["10.6.1.60"], "ipv6": None, "ipv4DefaultEIP": "", "ipv6DefaultEIP": ""}
    selector = {"matchLabels": {"egress": "true"}, "matchExpressions": None}
    gateway = GATEWAY | {"spec": {"ippools": pools, "nodeSelector": {"policy": "", "selector": selector}}}
    egress_ip = {"allocatorPolicy": "", "ipv4": "", "ipv6": "", "useNodeIP": None}
    plain = policy("a", egressGatewayName="", egressIP=egress_ip, destSubnet=None, priority=None)
    subnets = ["10.244.1.0/24"]
    beside = [{}, {"matchLabels": {}}, {"matchLabels": None, "matchExpressions": []}]
    others = [policy(f"b{n}", appliedTo={"podSelector": one, "podSubnet": subnets}) for n, one in enumerate(beside)]
    cluster = policy("c", "EgressClusterPolicy", egressGatewayName="internet")
    cluster["metadata"] = {"name": "c", "namespace": ""}
    assert codes(tmp_path, gateway, plain, *others, cluster) == []
