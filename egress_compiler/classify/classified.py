"""The stage's value: every governed source with its policy order, and what each order means."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field

from egress_compiler.classify.orders import GovernedPod, GovernedSubnet, PolicyOrder, SubnetOrders, pod_orders
from egress_compiler.classify.outcomes import Loser, PolicyOutcome, Win, outcomes_of, wins_of
from egress_compiler.classify.region import Region
from egress_compiler.net import FAMILIES, Address, Family, Intervals
from egress_compiler.resolve import Resolved


@dataclass(frozen=True, slots=True, eq=False)
class Classified:
    """Who wins.  Each look at an order is made once, when it is first asked for.

    ``pods`` has the addresses of the pods that a policy selects, sorted; ``subnets`` the pieces of the podSubnets that
    govern whoever is there, sorted and disjoint.  A pod's address counts before the subnet that it is in, and its order
    has the subnet's policies, too.
    """

    resolved: Resolved
    pods: Mapping[Family, tuple[GovernedPod, ...]]
    subnets: Mapping[Family, tuple[GovernedSubnet, ...]]
    _of_subnets: Mapping[Family, SubnetOrders] = field(repr=False)
    _wanted: Mapping[Family, tuple[Region, ...]] = field(repr=False)
    _outcomes: dict[tuple[PolicyOrder, Family], tuple[PolicyOutcome, ...]] = field(default_factory=dict, repr=False)
    _wins: dict[tuple[PolicyOrder, Family], tuple[Win, ...]] = field(default_factory=dict, repr=False)

    def inside(self, family: Family) -> Region:
        """The inside of the cluster, about which no policy is asked."""
        return Region(family, self.resolved.inside[family])

    def outcomes(self, order: PolicyOrder, family: Family) -> tuple[PolicyOutcome, ...]:
        """What becomes of each policy of ``order``, in this order."""
        known = self._outcomes.get((order, family))
        if known is None:
            known = outcomes_of(order, family, self._wanted[family], self.inside(family))
            self._outcomes[order, family] = known
        return known

    def wins(self, order: PolicyOrder, family: Family) -> tuple[Win, ...]:
        """Who wins which destinations; the regions are disjoint."""
        known = self._wins.get((order, family))
        if known is None:
            known = self._wins[order, family] = wins_of(self.outcomes(order, family))
        return known

    def walked(self, order: PolicyOrder) -> PolicyOrder:
        """The policies of ``order`` that win something: the others need not be asked.  Their wins are the same."""
        winners = {win.policy for family in FAMILIES for win in self.wins(order, family)}
        return order if len(winners) == len(order) else tuple(sorted(winners))

    def losers(self, order: PolicyOrder) -> tuple[Loser, ...]:
        """The policies of ``order`` that win nothing, and who has what they want."""
        winners = {*self.walked(order)}
        to: dict[int, set[int]] = {position: set() for position in order if position not in winners}
        for family in FAMILIES if to else ():
            for one in self.outcomes(order, family):
                if one.policy in to:
                    to[one.policy].update(loss.to for loss in one.lost)
        return tuple(Loser(position, tuple(sorted(to[position]))) for position in to)

    def order_of(self, source: Address) -> PolicyOrder:
        """The order that a packet from ``source`` meets; () where no policy selects it.

        None does where only pods of nodes without a configuration have the address: nothing of ours is on their way.
        """
        family, value = source
        others = self.resolved.cluster.others
        if others:
            nodes = {pod.node for pod in self.resolved.cluster.pods if source in pod.addresses}
            if nodes and nodes <= others.keys():
                return ()
        pods = self.pods[family]
        index = bisect_left(pods, (value,))
        order: set[int] = set()
        while index < len(pods) and pods[index].value == value:
            order.update(pods[index].order)
            index += 1
        return tuple(sorted(order)) or self._of_subnets[family].at(value)

    def winner(self, order: PolicyOrder, destination: Address) -> int | None:
        """The policy of ``order`` that a packet to ``destination`` obeys; None inside and where none wants it."""
        family, value = destination
        if self.inside(family).contains(value):
            return None
        return next((win.policy for win in self.wins(order, family) if win.region.contains(value)), None)


def classify(resolved: Resolved) -> Classified:
    """Every source that a policy selects; linear in the selections of pods."""
    policies = resolved.policies
    of_subnets = {family: SubnetOrders(family, policies) for family in FAMILIES}
    wanted = {family: tuple(_wanted(policy.policy.destinations, family) for policy in policies) for family in FAMILIES}
    return Classified(
        resolved=resolved,
        pods=pod_orders(resolved.cluster.pods, policies, of_subnets),
        subnets={family: of_subnets[family].pieces for family in FAMILIES},
        _of_subnets=of_subnets,
        _wanted=wanted,
    )


def _wanted(destinations: Mapping[Family, Intervals] | None, family: Family) -> Region:
    return Region.everything(family) if destinations is None else Region(family, destinations[family])
