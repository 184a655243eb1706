"""The Ansible inventory of a lab: its nodes as a playbook reaches them from the controller. Pure but for `write`."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import yaml

from egress_compiler.lab.machine import Machine
from egress_compiler.lab.topology import LabNode, LabTopology

GATEWAYS = "egress_gateways"
WORKERS = "egress_workers"


def write(path: Path, keys: Path, topology: LabTopology, gateways: Collection[str], machine: Machine) -> None:
    """Writes the inventory; LabError when a gateway is no node."""
    for gateway in gateways:
        topology.node(gateway)
    hosts = {node.name: _host(node) for node in topology.nodes}
    content = {
        "all": {
            "vars": _variables(path.parent, keys, machine),
            "children": {
                GATEWAYS: {"hosts": {name: hosts[name] for name in hosts if name in gateways}},
                WORKERS: {"hosts": {name: hosts[name] for name in hosts if name not in gateways}},
            },
        }
    }
    header = "# Written by `egress-compiler lab up`. In namespaces the python is the one that the lab runs with.\n"
    path.write_text(header + yaml.safe_dump(content, sort_keys=False, width=1000), encoding="utf-8")


def _host(node: LabNode) -> dict[str, Any]:
    return {"ansible_host": node.addresses[0], "egress_interface": node.interface}


def _variables(state: Path, keys: Path, machine: Machine) -> dict[str, Any]:
    """Of ssh, only what the lab made counts: no configuration, agent or multiplexed connection of the user."""
    ssh = {
        "UserKnownHostsFile": keys / "known_hosts",
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "yes",
        "IdentitiesOnly": "yes",
    }
    return {
        "ansible_user": "root",
        "ansible_python_interpreter": machine.python,
        "ansible_ssh_private_key_file": str(keys / "user"),
        "ansible_ssh_common_args": " ".join(["-F /dev/null", *(f"-o {key}={value}" for key, value in ssh.items())]),
        "ansible_control_path_dir": str(state / "ssh-control"),
        "ansible_ssh_pipelining": True,
        "ansible_remote_tmp": "/run/ansible",
        "egress_service_manager": machine.service_manager,
    }
