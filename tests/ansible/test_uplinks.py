"""A gateway with a further uplink: its rule, routes and sysctl come, are looked after, and go."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from egress_compiler.lab import Lab, down
from egress_compiler.lab.example import up_example
from tests.ansible.conftest import Node, files_of, objects
from tests.lab.uplinks import DEVICE, write_example

pytestmark = pytest.mark.lab

STRICT = f"net/ipv4/conf/{DEVICE}/rp_filter"


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_example(tmp_path_factory.mktemp("vlan"))


@pytest.fixture(scope="module")
def files(example: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return files_of(example, tmp_path_factory.mktemp("vlan-bundle") / "bundle", "gw1")


@pytest.fixture(scope="module")
def lab(example: Path) -> Iterator[Lab]:
    name = f"ansible-{os.getpid()}-vlan"
    yield up_example(example, name)
    down(name)


def test_it_comes_stays_and_goes(gateway: Node, files: dict[str, str]) -> None:
    before = gateway.state()
    strict = gateway.run("cat", f"/proc/sys/{STRICT}")
    predicted = gateway.apply(files, check=True)
    assert before.diff(gateway.state()) == "", "check mode touches nothing"
    assert gateway.apply(files)["changes"] == predicted["changes"]
    assert gateway.verify(files) == []
    assert not gateway.apply(files)["changed"]
    assert gateway.run("cat", f"/proc/sys/{STRICT}") == "2\n"
    gateway.absent()
    assert before.diff(gateway.state()) == ""
    assert gateway.run("cat", f"/proc/sys/{STRICT}") == strict


DRIFTS = {
    "route ipv4 10.20.0.0/24 table 40001 metric 0": "ip route delete 10.20.0.0/24 table 40001",
    "route ipv4 10.21.0.0/24 table 40001 metric 0": "ip route add 10.21.0.0/24 dev vlan20 table 40001 protocol 213",
    "route ipv4 default table 40001 metric 0": (
        "ip route replace default via 10.20.0.9 dev vlan20 onlink table 40001 protocol 213"
    ),
    "route ipv6 fd00:10:20::/64 table 40001 metric 1024": "ip -6 route delete fd00:10:20::/64 table 40001",
    "route ipv6 default table 40001 metric 1024": "ip -6 route delete default table 40001 metric 1024",
    "rule ipv4 preference 99 fwmark 0x31000000/0xff000000": "ip rule delete fwmark 0x31000000/0xff000000",
    f"sysctl {STRICT}": f"sysctl -qw {STRICT}=1",
}


def test_each_drift_is_told_and_put_right(gateway: Node, files: dict[str, str]) -> None:
    gateway.apply(files)
    gateway.shell("\n".join(DRIFTS.values()))
    assert sorted(objects(gateway.verify(files))) == sorted(DRIFTS)
    assert sorted(objects(gateway.apply(files)["changes"])) == sorted(DRIFTS)
    assert gateway.verify(files) == []


def test_a_device_that_is_not_there_is_told_before_anything_is_touched(gateway: Node, files: dict[str, str]) -> None:
    other = {name: text.replace(DEVICE, "vlan21") for name, text in files.items()}
    before = gateway.state()
    result = gateway.apply(other)
    assert result["failed"]
    assert "uses the further uplink vlan21, which this node does not have (it has eth0, lab0, vlan20)" in result["msg"]
    assert before.diff(gateway.state()) == ""
