"""What systemd does at boot, done by hand in nodes that have no systemd: the units' commands, one by one."""

from pathlib import Path

import pytest

from egress_compiler.lab import Lab
from tests.ansible.conftest import NODES, Node, node_files, objects
from tests.ansible.leaks import govern, heard, talking, until_governed

pytestmark = pytest.mark.lab

POWER_CUT = """
    for pids in /run/egress-gateway/*.pid; do [ ! -e $pids ] || kill -KILL $(cat $pids) || true; done
    pkill -KILL --ns $$ --nslist net -f 'egress-gateway/conntrackd[.]conf|egress-gateway/agent[.]pyz' || true
    rm -rf /run/egress-gateway
    nft flush ruleset
    ip link delete egress.vxlan
    ip link delete egress.worker 2>/dev/null || true
    for family in -4 -6; do
        ip $family rule flush protocol 213
        ip $family rule flush protocol 18
        ip $family route flush table all protocol 213
    done
    for address in $(ip -o -4 address show dev eth0 | awk '{ print $4 }' | grep /32); do
        ip address delete $address dev eth0
    done
    for address in $(ip -o -6 address show dev eth0 scope global | awk '{ print $4 }' | grep /128); do
        ip address delete $address dev eth0
    done
    sysctl -qw net.ipv4.conf.default.rp_filter=1
"""
"""The kernel as it comes up: nothing of ours but the files."""


def commands(unit: str) -> list[str]:
    """The unit's commands in order; a leading hyphen is the shell's `|| true`."""
    found = [line.partition("=")[2] for line in unit.splitlines() if line.startswith(("ExecStartPre=", "ExecStart="))]
    return [f"{line[1:]} || true" if line.startswith("-") else line for line in found]


@pytest.mark.parametrize("name", ["worker1", "gw1"])
def test_a_rebooted_node_lets_nothing_out_and_comes_back(lab: Lab, bundle_dir: Path, name: str) -> None:
    """From the guard on, which is there before the network, nothing leaves with a node's address."""
    from ansible_collections.egress.gateway.plugins.module_utils.node import Paths
    from ansible_collections.egress.gateway.plugins.module_utils.resources.units import guard_unit, restore_unit

    govern(lab, bundle_dir)
    node, files = Node(lab, name), node_files(bundle_dir, name)
    rules_of_the_cni = node.run("nft", "list", "ruleset").partition("table inet egress_gateway")[0]
    node.shell(POWER_CUT)
    node.lab.exec(name, ["nft", "-f", "-"], stdin=rules_of_the_cni)
    node.shell("\n".join(commands(guard_unit(Paths()))))
    with talking(lab):
        for command in commands(restore_unit(Paths())):
            node.shell(f"{command}\nsleep 0.1")
        daemons = ["conntrackd", "keepalived", "agent"] if name == "gw1" else ["agent"]
        assert objects(node.verify(files)) == daemons
        node.shell("\n".join(commands(restore_unit(Paths()))))
        assert objects(node.verify(files)) == daemons, "a second start begins from nothing"
        start_daemons(node, files)
        assert objects(node.verify(files)) == ["agent"]
        until_governed(lab)
        leaked, right = heard(lab)
    assert leaked == []
    assert right > 0
    for other in NODES:
        Node(lab, other).absent()


def start_daemons(node: Node, files: dict[str, str]) -> None:
    from ansible_collections.egress.gateway.plugins.module_utils.node import Paths
    from ansible_collections.egress.gateway.plugins.module_utils.resources.units import conntrackd_unit, keepalived_unit

    if "keepalived.conf" not in files:
        return
    node.shell("mkdir -p /run/egress-gateway")
    for unit in (conntrackd_unit(Paths()), keepalived_unit(Paths())):
        for command in commands(unit):
            started = command.replace("$$", "$").replace("--dont-fork ", "")
            node.shell(started.replace("conntrackd -C", "conntrackd -d -C") if " -C " in started else started)
    node.shell("for i in $(seq 50); do [ -s /run/egress-gateway/vrrp.pid ] && exit 0; sleep 0.1; done; exit 1")
