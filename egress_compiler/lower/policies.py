"""Each policy as one chain: which destinations leave with which answer number."""

from __future__ import annotations

from egress_compiler.allocate import Allocation
from egress_compiler.contract.membership import order_name
from egress_compiler.contract.plan import Answer, Both, PolicyAnswer, PolicyChain, PolicyOrder
from egress_compiler.lower.names import chain_name
from egress_compiler.net import Family, format_interval
from egress_compiler.resolve import Resolved


class PolicyChains:
    """Made once for each policy and each order of policies, and shared by all nodes."""

    def __init__(self, resolved: Resolved, allocation: Allocation) -> None:
        self._resolved = resolved
        self._allocation = allocation
        self._chains: dict[int, PolicyChain] = {}
        self._orders: dict[tuple[int, ...], PolicyOrder] = {}

    def chain(self, position: int) -> PolicyChain:
        known = self._chains.get(position)
        if known is None:
            ref = self._resolved.policies[position].policy.ref
            answers = Both[PolicyAnswer | None].made(lambda family: self._answer(position, family))
            known = self._chains[position] = PolicyChain(chain_name(ref), str(ref), answers)
        return known

    def order(self, positions: tuple[int, ...]) -> PolicyOrder:
        """Of several policies."""
        known = self._orders.get(positions)
        if known is None:
            chains = [self.chain(position) for position in positions]
            names = tuple(chain.name for chain in chains)
            name = order_name(names, [chain.origin for chain in chains])
            known = self._orders[positions] = PolicyOrder(name, names)
        return known

    def answer(self, position: int) -> Answer | None:
        """The answer number that the policy gives, with the slot that it implies; None where it gives none."""
        both = self.chain(position).answers
        ref = self._resolved.policies[position].policy.ref
        placement = self._allocation.placements[ref]
        given = any(answer is not None and answer.number is not None for answer in (both.ipv4, both.ipv6))
        if not given or placement.slot is None:
            return None
        four, six = (text or None for text in placement.eip.texts)
        return Answer(self._allocation.answers[ref], placement.slot, str(ref), Both(four, six))

    def _answer(self, position: int, family: Family) -> PolicyAnswer | None:
        resolved = self._resolved.policies[position]
        destinations = resolved.policy.destinations
        if destinations is not None and not destinations[family]:
            return None
        texts = () if destinations is None else tuple(format_interval(family, i) for i in destinations[family])
        direct = resolved.gateway.falls_back and self._allocation.placements[resolved.policy.ref].slot is None
        return PolicyAnswer(texts, self._number(position, family), direct)

    def _number(self, position: int, family: Family) -> int | None:
        """None where the policy has no address of the family to leave with."""
        resolved = self._resolved.policies[position]
        placement = self._allocation.placements[resolved.policy.ref]
        if placement.slot is None or family not in self._resolved.families:
            return None
        if placement.use_node_ip:
            nodes = self._resolved.gateways[resolved.gateway.name].nodes
            possible = any(node.address(family) is not None for node in nodes)
        else:
            possible = placement.eip.of(family) is not None
        return self._allocation.answers[resolved.policy.ref] if possible else None
