"""What members.json has of policies, slots and gone answers: for nodes that find out by themselves who is governed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

from egress_compiler.allocate import Allocation
from egress_compiler.contract.members import NOWHERE, MemberPolicy, MemberSlot
from egress_compiler.contract.membership import Members, selects_namespace
from egress_compiler.contract.plan import Answer, Both, Slot, Sources
from egress_compiler.labels import Labels
from egress_compiler.lower.policies import PolicyChains
from egress_compiler.net import FAMILIES, Family, Intervals, format_address, format_interval
from egress_compiler.resolve import Resolved, ResolvedPolicy


class ClusterMembers:
    """All of the cluster's, each made when it is asked for; ``contract.membership.Members``.

    Chains have no lines here, as these are the ruleset's.
    """

    def __init__(self, resolved: Resolved, allocation: Allocation, chains: PolicyChains) -> None:
        self._resolved = resolved
        self._allocation = allocation
        self._chains = chains
        self._made: dict[int, MemberPolicy] = {}
        self._of_namespaces: dict[str, tuple[MemberPolicy, ...]] = {}

    @property
    def policies(self) -> Iterator[MemberPolicy]:
        """By rank."""
        return map(self._policy, range(len(self._resolved.policies)))

    @property
    def slots(self) -> Iterator[MemberSlot]:
        """By number."""
        return map(self.slot, sorted(self._allocation.slots))

    def of_namespace(self, namespace: str) -> Sequence[MemberPolicy]:
        known = self._of_namespaces.get(namespace)
        if known is None:
            ranks = sorted((*self._everywhere, *self._ranks.get(namespace, ())))
            known = self._of_namespaces[namespace] = tuple(map(self._policy, ranks))
        return known

    @cached_property
    def whole(self) -> Sequence[MemberPolicy]:
        taking = (rank for rank, policy in enumerate(self._resolved.policies) if takes_addresses(policy))
        return tuple(map(self._policy, taking))

    @cached_property
    def gone(self) -> Sequence[Answer]:
        return tuple(sorted(gone_answers(self._allocation), key=lambda answer: answer.number))

    def named(self, name: str) -> MemberPolicy | None:
        rank = self._by_name.get(name)
        return None if rank is None else self._policy(rank)

    def slot(self, number: int) -> MemberSlot:
        return MemberSlot(plan_slot(self._resolved, self._allocation, number), {})

    @cached_property
    def _ranks(self) -> Mapping[str, list[int]]:
        found: dict[str, list[int]] = {}
        for rank, policy in enumerate(self._resolved.policies):
            if policy.policy.namespaced:
                found.setdefault(policy.policy.ref.namespace, []).append(rank)
        return found

    @cached_property
    def _everywhere(self) -> tuple[int, ...]:
        """Cluster policies that select pods by something that pods have."""
        policies = enumerate(self._resolved.policies)
        return tuple(r for r, p in policies if not p.policy.namespaced and not takes_addresses(p))

    @cached_property
    def _by_name(self) -> Mapping[str, int]:
        return {self._chains.chain(rank).name: rank for rank in range(len(self._resolved.policies))}

    def _policy(self, rank: int) -> MemberPolicy:
        known = self._made.get(rank)
        if known is None:
            known = self._made[rank] = self._new(rank)
        return known

    def _new(self, rank: int) -> MemberPolicy:
        resolved = self._resolved.policies[rank]
        policy, whole = resolved.policy, takes_addresses(resolved)
        by_address = policy.pod_subnets is not None and not whole
        return MemberPolicy(
            rank=rank,
            namespace=policy.ref.namespace,
            chain=self._chains.chain(rank),
            answer=self._chains.answer(rank),
            chains={},
            namespaces=None if policy.namespaced else policy.namespace_selector,
            pods=policy.pod_selector,
            within=_both(policy.pod_subnets) if policy.pod_subnets is not None and by_address else NOWHERE,
            whole=_both(resolved.subnets) if whole else NOWHERE,
            cut=policy.cut,
        )


class InSnapshot:
    """The same of other members, where the namespaces are those of the cluster files: each is looked at once."""

    def __init__(self, members: Members, namespaces: Mapping[str, Labels]) -> None:
        self._members = members
        self._namespaces = namespaces
        self._found: dict[str, Sequence[MemberPolicy]] = {}
        self.whole: Sequence[MemberPolicy] = members.whole
        self.gone: Sequence[Answer] = members.gone
        self.named = members.named
        self.slot = members.slot

    def of_namespace(self, namespace: str) -> Sequence[MemberPolicy]:
        known = self._found.get(namespace)
        if known is None:
            labels, policies = self._namespaces.get(namespace), self._members.of_namespace(namespace)
            known = tuple(policy for policy in policies if selects_namespace(policy, namespace, labels))
            self._found[namespace] = known
        return known


def takes_addresses(resolved: ResolvedPolicy) -> bool:
    """Whether the policy governs addresses, whoever has them, and selects no pod by itself."""
    policy = resolved.policy
    return policy.pod_subnets is not None and not policy.namespaced and policy.namespace_selector is None


def gone_answers(allocation: Allocation) -> Iterator[Answer]:
    for gone in allocation.gone:
        four, six = (text or None for text in gone.eip.texts)
        yield Answer(gone.number, gone.slot, gone.policy, Both(four, six), gone=True)


def plan_slot(resolved: Resolved, allocation: Allocation, number: int) -> Slot:
    slot = allocation.slots[number]
    vips = tuple(format_address(family, value) for family, value in slot.tunnel_vips.items())
    return Slot(number, slot.gateway, slot.node, vips, resolved.gateways[slot.gateway].gateway.falls_back)


def _both(intervals: Mapping[Family, Intervals]) -> Both[tuple[Sources, ...]]:
    four, six = (tuple(format_interval(f, i) for i in intervals.get(f, ())) for f in FAMILIES)
    return Both(four, six)
