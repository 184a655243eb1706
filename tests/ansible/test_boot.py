"""What systemd does at boot, done by hand in nodes that have no systemd: the restore unit's commands, one by one."""

from pathlib import Path

import pytest

from egress_compiler.lab import Lab
from tests.ansible.conftest import Node, node_files, objects

pytestmark = pytest.mark.lab


def commands(unit: str) -> list[str]:
    """The unit's commands in order; a leading hyphen is the shell's `|| true`."""
    found = [line.partition("=")[2] for line in unit.splitlines() if line.startswith(("ExecStartPre=", "ExecStart="))]
    return [f"{line[1:]} || true" if line.startswith("-") else line for line in found]


@pytest.mark.parametrize("name", ["gw2", "worker2"])
def test_the_restore_unit_brings_a_rebooted_node_back(lab: Lab, bundle_dir: Path, name: str) -> None:
    from ansible_collections.egress.gateway.plugins.module_utils.node import Paths
    from ansible_collections.egress.gateway.plugins.module_utils.units import (
        conntrackd_unit,
        keepalived_unit,
        restore_unit,
    )

    node, files = Node(lab, name), node_files(bundle_dir, name)
    node.apply(files)
    node.shell("cp -a /etc/egress-gateway /etc/egress-kept")
    node.absent()
    node.shell("mv /etc/egress-kept /etc/egress-gateway")

    restore = commands(restore_unit(Paths()))
    node.shell("\n".join(restore))
    is_gateway = name == "gw2"
    assert objects(node.verify(files)) == (["conntrackd", "keepalived"] if is_gateway else [])
    node.shell("\n".join(restore))
    assert objects(node.verify(files)) == (["conntrackd", "keepalived"] if is_gateway else []), (
        "a second start begins from nothing"
    )

    if is_gateway:
        starts = [c.replace("conntrackd -C", "conntrackd -d -C") for c in commands(conntrackd_unit(Paths()))]
        starts += [c.replace("$$", "$").replace("--dont-fork ", "") for c in commands(keepalived_unit(Paths()))]
        node.shell("mkdir -p /run/egress-gateway\n" + "\n".join(starts))
        node.shell("for i in $(seq 50); do [ -s /run/egress-gateway/vrrp.pid ] && exit 0; sleep 0.1; done; exit 1")
        assert node.verify(files) == []
    node.absent()
