"""What becomes of open connections: the datapath's rules, said for one change at a time.

A connection is classified when it begins and keeps its slot in the conntrack mark of its pod's node; the gateway
keeps the source address in the connection's NAT binding.  So an open connection goes on exactly as long as its
slot leads from the pod's node to the gateway node that holds its binding, and its address is answered there.
"""

from __future__ import annotations

from egress_compiler.plan.model import Answer, Connections
from egress_compiler.plan.side import Side

NONE = Connections("none", "")


def open_connections(before: Answer, after: Answer, node: str, now: Side) -> Connections:
    """Of a pod on ``node``, opened under ``before``, once ``now`` is applied."""
    if before.outcome == "direct":
        ends = "until they close" if after.governed else "until they close; new ones are refused"
        return Connections("kept", f"go on through no gateway, with the address that they have, {ends}")
    if before.outcome == "blocked" or node not in now.nodes:
        return NONE
    slot = next((slot for slot in now.nodes[node].slots if slot.number == before.slot), None)
    if slot is None:
        return _broken(f"the nodes of these pods no longer use slot {before.slot}, and drop what is marked for it")
    if slot.preferred_node != before.node:
        return _broken(f"slot {slot.number} leads to {slot.preferred_node}, which does not know them")
    if before.outcome == "node-ip":
        gateway = now.nodes[before.node]
        if before.address not in (*gateway.snat_addresses4, *gateway.snat_addresses6):
            return _broken(f"{before.node} lets nothing out with its own address any more")
        return _kept(before, after)
    owner = now.eips.get(before.address)
    if owner is None:
        return _broken(f"{before.address} is on no gateway any more")
    if owner.preferred_node != before.node:
        return _broken(f"answers to {before.address} arrive at {owner.preferred_node}, which does not know them")
    return _kept(before, after)


def _kept(before: Answer, after: Answer) -> Connections:
    if before.address == after.address:
        return Connections("kept", "go on unchanged")
    return Connections("kept", f"keep {before.address} until they close")


def _broken(reason: str) -> Connections:
    return Connections("broken", reason)
