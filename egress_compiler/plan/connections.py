"""What becomes of open connections: the datapath's rules, said for one change at a time.

A connection is classified when it begins and keeps its slot in the conntrack mark of its pod's node, which classifies
it again where that slot is not in use any more; a gateway keeps the source address in the connection's NAT binding,
and tells its peers of it.  So an open connection goes on exactly as long as it leads to a gateway that knows its
binding and lets the address out, and answers arrive at one that knows it, too.
"""

from __future__ import annotations

from egress_compiler.plan.model import Answer, Connections
from egress_compiler.plan.side import Side

NONE = Connections("none", "")


def open_connections(before: Answer, after: Answer, node: str, was: Side, now: Side) -> Connections:
    """Of a pod on ``node``, opened under ``before`` of ``was``, once ``now`` is applied."""
    cutting = sorted({before.policy, after.policy} & (was.cut | now.cut))
    if cutting and before.outcome != "blocked":
        return _broken(f"cut, as {' and '.join(cutting)} says")
    if before.outcome == "direct":
        ends = "until they close" if after.governed else "until they close; new ones are refused"
        return Connections("kept", f"go on through no gateway, with the address that they have, {ends}")
    if before.outcome == "blocked" or node not in now.nodes:
        return NONE
    gateway = _leads_to(before, after, node, now)
    if gateway is None:
        return _broken(f"the nodes of these pods no longer use slot {before.slot}, and drop what is marked for it")
    if not _knows(gateway, before, now):
        return _broken(f"they now lead to {gateway}, which does not know them")
    plan = now.nodes[gateway]
    lets_out = before.address in (*plan.snat_addresses4, *plan.snat_addresses6)
    if before.outcome == "node-ip":
        return (
            _kept(before, after) if lets_out else _broken(f"{gateway} lets nothing out with its own address any more")
        )
    owner = now.eips.get(before.address)
    if owner is None or not lets_out:
        return _broken(f"{before.address} is on no gateway any more")
    if not _knows(owner.preferred_node, before, now):
        return _broken(f"answers to {before.address} arrive at {owner.preferred_node}, which does not know them")
    return _kept(before, after)


def _leads_to(before: Answer, after: Answer, node: str, now: Side) -> str | None:
    """The gateway node that open connections reach: by their old slot, else as new ones do."""
    slots = {slot.number: slot.preferred_node for slot in now.nodes[node].slots}
    if before.slot in slots:
        return slots[before.slot]
    return slots.get(after.slot) if after.slot is not None else None


def _knows(gateway: str, before: Answer, now: Side) -> bool:
    """Whether ``gateway`` has the binding: by itself, or as a peer told it; of node addresses nobody is told."""
    if gateway == before.node:
        return True
    first = now.nodes.get(before.node)
    if before.outcome == "node-ip" or first is None or first.sync is None:
        return False
    return now.nodes[gateway].tunnel.underlay in first.sync.peers


def _kept(before: Answer, after: Answer) -> Connections:
    if before.address == after.address:
        return Connections("kept", "go on unchanged")
    return Connections("kept", f"keep {before.address} until they close")


def _broken(reason: str) -> Connections:
    return Connections("broken", reason)
