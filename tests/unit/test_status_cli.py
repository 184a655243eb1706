"""``status`` in the forms in which kubectl prints."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

EXAMPLE = Path(__file__).parents[2] / "examples" / "dual-stack-ha"


def status(*arguments: str) -> "subprocess.CompletedProcess[str]":
    inputs = ["-p", "policies", "-c", "cluster.json", "-s", "settings.yaml", "-l", "egress.lock.json"]
    command = [sys.executable, "-m", "egress_compiler", "status", *inputs, *arguments]
    return subprocess.run(command, cwd=EXAMPLE, capture_output=True, text=True, check=False, timeout=60)


ALL = """\
NAMESPACE   NAME    GATEWAY    IPV4        IPV6              EGRESSTUNNEL
            pci     internet   10.6.1.60   fd00:10:6:1::60   gw2
ops         probe   internet                                 gw1
payments    bank    internet   10.6.1.62   fd00:10:6:1::62   gw2
shop        web     internet   10.6.1.61   fd00:10:6:1::61   gw1
"""
ONE = """\
NAME   GATEWAY    IPV4        IPV6              EGRESSTUNNEL
bank   internet   10.6.1.62   fd00:10:6:1::62   gw2
"""
WIDE = """\
NAME   GATEWAY    IPV4        IPV6              EGRESSTUNNEL   BACKUPNODES   PRIORITY   PODS   PINNED
bank   internet   10.6.1.62   fd00:10:6:1::62   gw2            gw1           100        2
"""
GATEWAYS = """\
NAME       IPV4DEFAULTEIP   IPV6DEFAULTEIP    CLUSTERDEFAULT   IPV4TOTAL   IPV4FREE   IPV6TOTAL   IPV6FREE   NODES
internet   10.6.1.60        fd00:10:6:1::60   true             6           3          6           3          gw1,gw2
"""


@pytest.mark.parametrize(
    ("arguments", "table"),
    [
        ([], ALL),
        (["-A"], ALL),
        (["-n", "payments"], ONE),
        (["-n", "payments", "-o", "wide"], WIDE),
        (["--gateways"], GATEWAYS),
    ],
)
def test_tables(arguments: list[str], table: str) -> None:
    done = status(*arguments)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", table)


def test_yaml_and_json_are_a_list_of_whole_objects() -> None:
    as_yaml = yaml.safe_load(status("-o", "yaml").stdout)
    as_json = json.loads(status("-o", "json").stdout)
    assert as_yaml == as_json
    assert (as_json["kind"], as_json["apiVersion"]) == ("List", "v1")
    bank = next(item for item in as_json["items"] if item["metadata"]["name"] == "bank")
    assert bank["kind"] == "EgressPolicy"
    assert bank["spec"]["destSubnet"] == ["203.0.113.0/24", "2001:db8:ffff::/64"]
    assert bank["status"] == {"eip": {"ipv4": "10.6.1.62", "ipv6": "fd00:10:6:1::62"}, "node": "gw2"}
    assert {item["kind"] for item in as_json["items"]} == {"EgressPolicy", "EgressClusterPolicy"}
    only = json.loads(status("-o", "json", "-n", "shop").stdout)
    assert [item["metadata"]["name"] for item in only["items"]] == ["web"]
    (gateway,) = json.loads(status("-o", "json", "--gateways").stdout)["items"]
    assert gateway["status"]["ipUsage"]["ipv4Free"] == 3


def test_format_json_has_the_rows() -> None:
    rows = json.loads(status("--format", "json", "-n", "shop").stdout)
    assert rows == [
        {"name": "web", "gateway": "internet", "ipv4": "10.6.1.61", "ipv6": "fd00:10:6:1::61", "egresstunnel": "gw1"}
    ]


def test_namespaces_without_policies_and_without_existence() -> None:
    empty = status("-n", "kube-system")
    assert (empty.returncode, empty.stdout) == (0, "")
    assert empty.stderr == "No resources found in kube-system namespace.\n"
    unknown = status("-n", "shpo")
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert "did you mean 'shop'?" in unknown.stderr
    assert status("-n", "shop", "-A").returncode == 64
