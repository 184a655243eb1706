"""What becomes of open connections: the datapath's rules, said for one change at a time.

A worker keeps the answer number of a connection in its conntrack mark.  While the node still has this number, the
connection goes to the number's slot of now; else it is classified anew, and gets the number that new ones get, and
where it gets none it is dropped.  A gateway keeps the source address in the connection's NAT binding, and tells its
peers of it (conntrackd); a gateway that knows nothing of it picks it up when the pod speaks, and gives it what its
number stands for.  So an open connection goes on exactly as long as it leads to a gateway that gives it the address
that it has and lets it out, and answers arrive at one that knows it, too.
"""

from __future__ import annotations

from typing import NamedTuple

from egress_compiler.contract.plan import GatewayRole
from egress_compiler.net import parse_address
from egress_compiler.plan.model import Answer, Connections
from egress_compiler.plan.view import View

NONE = Connections("none", "")


class _Lead(NamedTuple):
    """Where open connections go now: the number that they have, and the gateway node that their slot prefers."""

    number: int
    node: str
    role: GatewayRole


def open_connections(before: Answer, after: Answer, node: str, was: View, now: View) -> Connections:
    """Of a pod on ``node``, opened under ``before`` of ``was``, once ``now`` is applied."""
    cutting = sorted({before.policy, after.policy} & (was.cut | now.cut))
    if cutting and before.outcome != "blocked":
        return _broken(f"cut, as {' and '.join(cutting)} says")
    if before.outcome == "direct":
        ends = "until they close" if after.governed else "until they close; new ones are refused"
        return Connections("kept", f"go on through no gateway, with the address that they have, {ends}")
    if before.outcome == "blocked" or node not in now.nodes:
        return NONE
    lead = _lead(before, after, node, now)
    if lead is None:
        if after.outcome == "blocked":
            return _broken("they are refused as new ones are")
        return _broken("no policy leads them to a gateway any more, and the nodes of these pods drop them")
    return _at_gateway(before, after, lead, was, now)


def _lead(before: Answer, after: Answer, node: str, now: View) -> _Lead | None:
    """By the number that they have where the node still has it, else by that of new ones."""
    numbers = now.numbers[node]
    number = before.number if before.number in numbers else after.number
    if number is None or number not in numbers:
        return None
    gateway = now.slots[numbers[number]].preferred_node
    role = now.nodes[gateway].gateway
    return _Lead(number, gateway, role) if role is not None else None


def _at_gateway(before: Answer, after: Answer, lead: _Lead, was: View, now: View) -> Connections:
    family = parse_address(before.address).family
    told = _knows(lead.node, before, was, now)
    if not told and now.translated(lead.node, lead.number, family) != before.address:
        return _broken(f"they now lead to {lead.node}, which does not know them")
    lets_out = before.address in lead.role.leave_with.of(family)
    if before.outcome == "node-ip":
        own = f"{lead.node} lets nothing out with its own address any more"
        return _kept(before, after, lead, told) if lets_out else _broken(own)
    owner = now.eips.get(before.address)
    if owner is None:
        return _broken(f"{before.address} is on no gateway any more")
    if not lets_out:
        return _broken(f"they now lead to {lead.node}, which does not let {before.address} out")
    if owner.preferred_node != lead.node and not _knows(owner.preferred_node, before, was, now):
        return _broken(f"answers to {before.address} arrive at {owner.preferred_node}, which does not know them")
    return _kept(before, after, lead, told)


def _knows(gateway: str, before: Answer, was: View, now: View) -> bool:
    """Whether ``gateway`` has the binding: by itself, or as a peer told it; of node addresses nobody is told."""
    if gateway == before.node:
        return True
    return before.outcome != "node-ip" and any(_tells(view, before.node, gateway) for view in (was, now))


def _tells(view: View, gateway: str, other: str) -> bool:
    """Whether a gateway node tells another one of its connections."""
    first, second = view.nodes.get(gateway), view.nodes.get(other)
    sync = first.gateway.sync if first is not None and first.gateway is not None else None
    return sync is not None and second is not None and second.kernel.tunnel.underlay in sync.peers


def _kept(before: Answer, after: Answer, lead: _Lead, told: bool) -> Connections:
    if not told:
        return Connections("kept", f"go on by {lead.node}, which picks them up when their pods speak")
    if before.address != after.address:
        return Connections("kept", f"keep {before.address} until they close")
    if lead.node != before.node:
        return Connections("kept", f"go on by {lead.node}, which was told of them")
    return Connections("kept", "go on unchanged")


def _broken(reason: str) -> Connections:
    return Connections("broken", reason)
