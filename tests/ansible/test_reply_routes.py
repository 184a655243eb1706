"""Replies by the tunnel (gatewayReplyRoute) under the collection: applied, verified, repaired, and gone again."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from egress_compiler.lab import Lab, down
from egress_compiler.lab.example import up_example
from tests.ansible.conftest import Node, files_of, objects
from tests.lab.gateways import write_example

pytestmark = pytest.mark.lab
STRANGER = """
rule=$(ip rule | sed -n 's/.*fwmark \\(0x2800000[1-9a-f]*\\/[0-9a-fx]*\\) lookup 2000[0-9].*/\\1/p' | tail -1)
ip rule delete fwmark $rule
ip -6 route flush table $(ip -6 rule | sed -n 's/.*lookup \\(2000[0-9]\\).*/\\1/p' | tail -1)
"""


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = write_example(tmp_path_factory.mktemp("reply") / "example")
    settings = directory / "settings.yaml"
    settings.write_text(settings.read_text() + "gatewayReplyRoute: true\n")
    return directory


@pytest.fixture(scope="module")
def files(example: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return files_of(example, tmp_path_factory.mktemp("bundles") / "bundle", "gw1")


@pytest.fixture(scope="module")
def lab(example: Path) -> Iterator[Lab]:
    name = f"ansible-{os.getpid()}-reply"
    yield up_example(example, name)
    down(name)


def test_check_mode_tells_the_run_and_absent_leaves_nothing(gateway: Node, files: dict[str, str]) -> None:
    before = gateway.state()
    predicted = gateway.apply(files, check=True)
    assert before.diff(gateway.state()) == ""
    assert gateway.apply(files)["changes"] == predicted["changes"]
    assert gateway.verify(files) == []
    assert not gateway.apply(files)["changed"]
    gateway.absent()
    assert before.diff(gateway.state()) == ""


def test_a_rule_and_routes_that_a_stranger_took_are_named_and_repaired(gateway: Node, files: dict[str, str]) -> None:
    gateway.apply(files)
    gateway.shell(STRANGER)
    found = sorted(objects(gateway.verify(files)))
    assert [name.split()[0] for name in found] == ["route", "route", "rule"]
    assert sorted(objects(gateway.apply(files)["changes"])) == found
    assert gateway.verify(files) == []
