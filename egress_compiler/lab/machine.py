"""What kind of machine the nodes of a lab are: processes with namespaces of their own, or the caller's."""

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from egress_compiler.lab import sshd
from egress_compiler.lab.topology import LabNode, LabTopology


@dataclass(frozen=True, slots=True)
class Machine:
    """How nodes start, and what of them a playbook has to know."""

    start: Callable[[str, LabTopology, LabNode], None]
    """Starts the node of a lab (its name first) in its network namespace, until sshd listens there.

    It writes the process id of the node's first process where `sshd.first_process` reads it.
    """
    python: str
    service_manager: str
    """As the playbooks take it: direct, systemd or auto."""
    has_network: bool
    """Whether the node gives its uplink addresses and routes when it starts."""

    def start_all(self, name: str, topology: LabTopology) -> None:
        """All nodes at once; the first that does not start ends it, when the others are done."""
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda node: self.start(name, topology, node), topology.nodes))


NAMESPACES = Machine(sshd.start, sys.executable, "direct", has_network=False)
