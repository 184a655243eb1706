"""The base chains, in the order in which a packet meets them."""

from __future__ import annotations

from egress_compiler.ruleset.model import BaseChain

ZONES = BaseChain(
    "zones",
    "filter",
    "prerouting",
    "raw",
    "Before connection tracking: the two roles of a gateway know connections apart, in zones of their own.",
)
ARRIVED = BaseChain(
    "arrived",
    "filter",
    "prerouting",
    "mangle - 40",
    "Behind connection tracking, before others change marks: a connection in the gateway role keeps its answer number.",
)
PREROUTING = BaseChain(
    "prerouting",
    "filter",
    "prerouting",
    "dstnat + 10",
    "After any DNAT, before routing: a connection is classified once, and its conntrack mark keeps the answer number.",
)
INPUT = BaseChain(
    "input",
    "filter",
    "input",
    "filter - 10",
    "For the node itself: who may speak to the datapath, and that an egress IP answers nothing.",
)
FORWARD = BaseChain(
    "forward",
    "filter",
    "forward",
    "mangle",
    "After routing: segment sizes, and what may not pass.",
)
OUTER = BaseChain(
    "outer",
    "filter",
    "output",
    "raw",
    "Of what the node itself sends: VXLAN packets, which inherit the mark of what they carry, and solicitations.",
)
ICMP_ERRORS = BaseChain(
    "icmp_errors",
    "route",
    "output",
    "mangle",
    "What this node says of a packet for a governed pod, such as that it is too big, goes the pod's path: only from "
    "the EIP the server believes it.",
)
ICMP_ERRORS_ROUTED = BaseChain(
    "icmp_errors_routed", "filter", "output", "mangle + 10", "The same, into the tunnel: after it was routed again."
)
NO_GATEWAY = BaseChain(
    "no_gateway",
    "filter",
    "output",
    "filter",
    "While packets go to a slot's tunnel VIP it is asked for; where nobody answers, new connections do without.",
)
POSTROUTING = BaseChain(
    "postrouting",
    "nat",
    "postrouting",
    "srcnat - 10",
    "Before the CNI's and kube-proxy's masquerading: the first binding of a connection is the only one.",
)
GUARD = BaseChain(
    "guard",
    "filter",
    "postrouting",
    "srcnat + 10",
    "The last look: a governed packet goes to a gateway or not at all, and leaves with an address of the gateway's or "
    "not at all.",
)
NUMBERED = BaseChain(
    "numbered",
    "filter",
    "postrouting",
    "srcnat + 200",
    "Behind everybody else: the mark that the tunnel and the veth pair carry is the answer number.",
)

BASE_CHAINS = (
    *(ZONES, ARRIVED, PREROUTING, INPUT, FORWARD, OUTER, ICMP_ERRORS, ICMP_ERRORS_ROUTED, NO_GATEWAY),
    *(POSTROUTING, GUARD, NUMBERED),
)
