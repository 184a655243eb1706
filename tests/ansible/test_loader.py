"""The collection imported by tests, and Ansible's loader, which the compiler starts when it reads an inventory."""

from pathlib import Path

from egress_compiler.diagnostics import Collector
from egress_compiler.load.inventory import load_uplinks
from egress_compiler.model.settings import Settings
from tests.ansible.conftest import packed


def test_the_collection_is_importable_before_and_after_an_inventory_is_read(tmp_path: Path) -> None:
    assert packed({})
    inventory = tmp_path / "hosts.ini"
    inventory.write_text("worker1 egress_interface=eth1\n", encoding="utf-8")
    found = Collector()
    assert load_uplinks(inventory, Settings(), found)["worker1"].interface == "eth1"
    from ansible_collections.egress.gateway.plugins.module_utils.resources import units

    assert units.guard_unit
