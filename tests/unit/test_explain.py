"""Explanations as people read them: byte by byte, and by their exit codes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from egress_compiler.cli.explain import _destination
from egress_compiler.net import parse_address

GOLDEN = Path(__file__).parents[1] / "golden" / "explain"
CLUSTER = GOLDEN.parent / "plan" / "cluster.yaml"
CASES = {
    "everything": ["pay/api-1"],
    "one-destination": ["api-1", "--to", "203.0.113.7:443"],
    "inside": ["pay/api-1", "--to", "10.96.0.1"],
    "not-selected": ["shop/cart-1"],
    "all-policies": ["shop/cart-1", "--all"],
    "address": ["10.244.3.99", "--to", "192.0.2.1"],
    "host-network": ["batch/node-exporter-x"],
    "followed": ["pay/api-1", "--to", "203.0.113.7:443", "-s", "followed.settings.yaml"],
    "eip": ["--eip", "10.6.1.64"],
    "free-eip": ["--eip", "10.6.1.69"],
    "node-address": ["--eip", "10.6.1.11"],
}


def run(*arguments: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "egress_compiler", "explain", *map(str, arguments)]
    command += ["-p", "policies.yaml", "-c", str(CLUSTER), "-l", os.devnull + "/none"]
    return subprocess.run(command, cwd=GOLDEN, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("case", CASES)
def test_explanation_is_as_recorded(case: str, update_golden: bool) -> None:
    done = run(*CASES[case])
    assert done.returncode == 0, done.stderr
    recorded = GOLDEN / f"{case}.txt"
    if update_golden:
        recorded.write_text(done.stdout)
    assert recorded.read_text() == done.stdout, f"{case}.txt differs; 'make golden' rewrites it"


def test_json_has_the_same_answer() -> None:
    told = json.loads(run("pay/api-1", "--to", "203.0.113.7", "--format", "json").stdout)
    assert told["pod"] == "pay/api-1"
    (path,) = told["paths"]
    assert (path["outcome"], path["addresses"], path["policy"]) == ("eip", ["10.6.1.63"], "EgressPolicy pay/partner")
    reasons = {policy["name"]: policy["reasons"] for policy in told["policies"]}
    assert reasons["bank"] == ["podSelector: the pod has no label 'version'; 'v2' is wanted"]
    assert [policy["name"] for policy in told["policies"]] == ["bank", "partner", "pci", "rest"]
    told = json.loads(run("--eip", "10.6.1.63", "--format", "json").stdout)
    assert [user["owner"] for user in told["users"]] == ["pay/api-1"]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["pay/api-9"], 1, "did you mean 'pay/api-1'?"),
        (["api-1", "--to", "2001:db8::1"], 1, "has no IPv6 address"),
        (["--eip", "10.6.1.70"], 1, "10.6.1.70 is in the pool of no EgressGateway"),
        (["--eip", "10.6.1.600"], 1, "an octet is larger than 255"),
        (["api-1", "--to", "example.com:443"], 64, "policies know addresses, not names"),
        (["api-1", "--to", "10.0.0.1:70000"], 64, "a port is at most 65535"),
        ([], 64, "name a POD"),
        (["api-1", "--eip", "10.6.1.64"], 64, "name a POD"),
        (["--eip", "10.6.1.64", "--to", "10.0.0.1"], 64, "go with a POD"),
    ],
)
def test_what_cannot_be_explained(arguments: list[str], code: int, says: str) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert says in done.stderr


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.1:443", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:443", "2001:db8::1"),
    ],
)
def test_destinations_are_written_with_and_without_a_port(text: str, address: str) -> None:
    assert _destination(text) == parse_address(address)
