"""What the compiler takes from an Ansible inventory, whatever its form; and where the fault is when it cannot."""

import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from egress_compiler.diagnostics import Collector
from egress_compiler.load import load_uplinks
from egress_compiler.model.settings import Settings, Uplink
from egress_compiler.net import FAMILIES, cidr, format_interval, parse_address

SETTINGS = Settings(interface="ens1", uplink_mtu=9000)
ANY_UNPARSED = "ansible.constants.INVENTORY_ANY_UNPARSED_IS_FAILED"
"""As an ansible.cfg may say it: that of the directory in which Ansible is first asked for something."""


def loaded(path: Path, settings: Settings = SETTINGS) -> tuple[dict[str, Uplink], list[str]]:
    """The uplinks, and what was said as ``FILE:LINE:COLUMN: message``."""
    found = Collector()
    uplinks = load_uplinks(path, settings, found)
    told = [f"{d.position or ''}: {d.message}".replace(str(path.parent), "DIR") for d in found.found]
    return dict(uplinks), told


def written(directory: Path, text: str, name: str = "inventory.yml") -> Path:
    file = directory / name
    file.parent.mkdir(exist_ok=True, parents=True)
    file.write_text(dedent(text), encoding="utf-8")
    return file


def test_no_inventory_says_nothing_about_any_node() -> None:
    found = Collector()
    assert load_uplinks(None, SETTINGS, found) == {}
    assert found.found == ()


def test_variables_of_hosts_and_groups_and_the_settings_for_the_rest(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        """\
        all:
          children:
            egress_gateways:
              hosts:
                gw1: {egress_interface: bond0.100, egress_uplink_cidrs: [10.6.1.5/24, "fd00:6::/64"]}
                gw2:
              vars: {egress_mtu: 1500}
            egress_workers:
              hosts:
                w1.example: {egress_node_name: worker-1, egress_mtu: "1400"}
        """,
    )
    uplinks, told = loaded(path)
    assert told == []
    assert {n: (u.interface, u.mtu) for n, u in uplinks.items()} == {
        "gw1": ("bond0.100", 1500),
        "gw2": ("ens1", 1500),
        "worker-1": ("ens1", 1400),
    }
    texts = [format_interval(f, interval) for f in FAMILIES for interval in uplinks["gw1"].cidrs[f]]
    assert texts == ["10.6.1.0/24", "fd00:6::/64"]
    assert uplinks["gw2"].cidrs == {4: (), 6: ()}


def test_subnets_of_the_settings_stand_in_where_a_host_names_none(tmp_path: Path) -> None:
    subnet = {4: (cidr(4, parse_address("10.6.2.0").value, 24),), 6: ()}
    settings = Settings(uplink_cidrs=subnet)  # type: ignore[arg-type]  # the families are literals
    path = written(tmp_path, "all: {hosts: {gw1: {egress_uplink_cidrs: [10.6.1.0/24]}, gw2: {}}}\n")
    uplinks, _ = loaded(path, settings)
    assert [format_interval(4, u.cidrs[4][0]) for u in uplinks.values()] == ["10.6.1.0/24", "10.6.2.0/24"]


def test_a_directory_with_host_vars_and_an_ini_file(tmp_path: Path) -> None:
    written(tmp_path, "[egress_gateways]\ngw1 egress_mtu=1450\ngw2\n", "inventory/hosts.ini")
    written(tmp_path, "egress_interface: eth7\n", "inventory/host_vars/gw2.yml")
    uplinks, told = loaded(tmp_path / "inventory")
    assert told == []
    assert {n: (u.interface, u.mtu) for n, u in uplinks.items()} == {"gw1": ("ens1", 1450), "gw2": ("eth7", 9000)}


def test_a_wrong_value_in_host_vars_is_told_where_it_stands(tmp_path: Path) -> None:
    written(tmp_path, "gw1:\n", "inventory/hosts.ini")
    written(tmp_path, "# Uplink\negress_interface: eth0;reboot\n", "inventory/host_vars/gw1.yml")
    written(tmp_path, "[all]\ngw1\n", "inventory/hosts.ini")
    _, (told,) = loaded(tmp_path / "inventory")
    where, _, what = told.partition(": ")
    assert where == "DIR/inventory/host_vars/gw1.yml:2:19"
    assert what == "egress_interface of host 'gw1' is 'eth0;reboot'; it must be the name of a network device"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("egress_interface", '"eth0 up"'),
        ("egress_interface", "abcdefghijklmnop"),
        ("egress_interface", "7"),
        ("egress_mtu", "true"),
        ("egress_mtu", "1279"),
        ("egress_mtu", "65536"),
        ("egress_mtu", '"١٥٠٠"'),
        ("egress_node_name", "../../x"),
        ("egress_uplink_cidrs", "10.6.1.0/24"),
        ("egress_uplink_cidrs", "[10.6.1.1]"),
        ("egress_uplink_cidrs", "[10.6.1.1-10.6.1.9]"),
        ("egress_uplink_cidrs", "[uplink]"),
    ],
)
def test_a_wrong_value_is_one_error_and_the_settings_stand_in(variable: str, value: str, tmp_path: Path) -> None:
    uplinks, told = loaded(written(tmp_path, f"all:\n  hosts:\n    gw1:\n      {variable}: {value}\n"))
    assert [line.partition(" is ")[0] for line in told] == [
        f"DIR/inventory.yml:4:{len(variable) + 9}: {variable} of host 'gw1'"
    ]
    assert uplinks == {"gw1": Uplink("ens1", 9000)}


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("all: {hosts: {}}\n", "inventory.yml", "there is no host in"),
        ("", "inventory.yml", "there is no host in"),
        ("all: {hosts: [\n", "inventory.yml", "this is not YAML"),
        ("[all\n", "hosts.ini", "there is no host in"),
        ("\x00\x01", "inventory.yml", "this is not YAML"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_what_is_no_inventory(
    text: str, name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ANY_UNPARSED, False)
    uplinks, told = loaded(written(tmp_path, text, name))
    assert uplinks == {}
    assert [message in line for line in told] == [True]


@pytest.mark.filterwarnings("ignore")
def test_what_ansible_is_told_to_fail_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ANY_UNPARSED, True)
    uplinks, told = loaded(written(tmp_path, "[all\n", "hosts.ini"))
    assert uplinks == {}
    assert ["Ansible cannot read" in line for line in told] == [True]


def test_an_inventory_that_is_not_there(tmp_path: Path) -> None:
    assert loaded(tmp_path / "none.yml") == ({}, [": DIR/none.yml does not exist"])


def test_an_ansible_configuration_that_nobody_can_read_is_no_fault_of_ours(tmp_path: Path) -> None:
    """In a process of its own, as Ansible reads its configuration once, when it is imported."""
    broken = written(tmp_path, "no section here\n", "ansible.cfg")
    example = Path(__file__).parents[2] / "examples" / "quickstart"
    inventory = written(tmp_path, "all: {hosts: {node1: {}}}\n")
    given = ["-p", example / "policies", "-c", example / "cluster.json", "-i", inventory, "-o", tmp_path / "bundle"]
    command = [sys.executable, "-m", "egress_compiler", "compile", *map(str, given)]
    environment = os.environ | {"ANSIBLE_CONFIG": str(broken)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=environment)
    assert (done.returncode, "Traceback" in done.stderr) == (1, False), done.stderr
    assert str(broken) in done.stderr
