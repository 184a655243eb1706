"""A cluster of network namespaces on this machine, built from the cluster JSON that the compiler reads.

Nodes on an uplink bridge, pods behind them, a CNI-like masquerade, sshd in every node, an outside server that tells
which source address it sees, and a controller from which the unmodified playbooks reach the nodes. `up` makes it,
`open_lab` finds it again, `down` leaves nothing behind.
"""

from egress_compiler.lab.errors import LabError
from egress_compiler.lab.failover import Outage, OutageMeter
from egress_compiler.lab.lab import Lab, down, kill, open_lab, up
from egress_compiler.lab.ports import HTTP_PORT, TCP_PORT, UDP_PORT, WEBSOCKET_PATH
from egress_compiler.lab.probe import ProbeResult, ProbeTarget
from egress_compiler.lab.snapshot import NodeState
from egress_compiler.lab.topology import LabNode, LabPod, LabTopology, Outside, build_topology

__all__ = [
    "HTTP_PORT",
    "TCP_PORT",
    "UDP_PORT",
    "WEBSOCKET_PATH",
    "Lab",
    "LabError",
    "LabNode",
    "LabPod",
    "LabTopology",
    "NodeState",
    "Outage",
    "OutageMeter",
    "Outside",
    "ProbeResult",
    "ProbeTarget",
    "build_topology",
    "down",
    "kill",
    "open_lab",
    "up",
]
