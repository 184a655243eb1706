"""Gateways that cannot give what their policies ask for."""

from __future__ import annotations

from egress_compiler.diagnostics import Collector, counted, listing
from egress_compiler.net import FAMILIES, Family, size
from egress_compiler.resolve import Resolved, ResolvedGateway, ResolvedPolicy


def check_gateways(resolved: Resolved, found: Collector) -> None:
    """Pools smaller than what is asked of them, and EIPs of families that no node of the gateway has."""
    check_pool_sizes(resolved, found)
    for name, policies in _by_gateway(resolved).items():
        for family in FAMILIES:
            _check_promised(resolved.gateways[name], family, policies, found)


def check_families(resolved: Resolved, found: Collector) -> None:
    """Families that pods send and their gateway cannot carry."""
    for name, policies in _by_gateway(resolved).items():
        for family in FAMILIES:
            if family in resolved.families:
                _check_family(resolved.gateways[name], family, policies, resolved, found)


def check_pool_sizes(resolved: Resolved, found: Collector) -> None:
    """Pools smaller than what is asked of them."""
    for name, policies in _by_gateway(resolved).items():
        _check_pool_size(resolved.gateways[name], policies, found)


def _by_gateway(resolved: Resolved) -> dict[str, list[ResolvedPolicy]]:
    by_gateway: dict[str, list[ResolvedPolicy]] = {}
    for policy in resolved.policies:
        by_gateway.setdefault(policy.gateway.name, []).append(policy)
    return dict(sorted(by_gateway.items()))


def _check_pool_size(resolved: ResolvedGateway, policies: list[ResolvedPolicy], found: Collector) -> None:
    gateway = resolved.gateway
    total = max(size(gateway.pool[family]) for family in FAMILIES)
    with_eip = [policy for policy in policies if not policy.policy.use_node_ip]
    named = {(p.eip[4], p.eip[6]) for p in with_eip if p.eip[4] is not None or p.eip[6] is not None}
    in_turn = [p for p in with_eip if p.policy.allocator == "rr" and p.eip[4] is None and p.eip[6] is None]
    defaults = len(with_eip) > len(in_turn) + sum(p.eip[4] is not None or p.eip[6] is not None for p in with_eip)
    needed = len(in_turn) + len(named) + defaults
    if in_turn and total and needed > total:
        taken = f", {len(named) + defaults:,} of them taken," if named or defaults else ""
        found.warning(
            "pool-too-small",
            f"EgressGateway {gateway.name} has {counted(total, 'EIP')}{taken} for "
            f"{counted(len(in_turn), 'policy', 'policies')} with allocatorPolicy rr: some share an EIP",
            gateway.document.key_at("spec", "ippools"),
            hint=f"add {counted(needed - total, 'address', 'addresses')} to ippools, or accept the warning",
        )


def _check_promised(
    resolved: ResolvedGateway, family: Family, policies: list[ResolvedPolicy], found: Collector
) -> None:
    """EIPs of a family that no node of the gateway has are nowhere: nobody is promised one."""
    gateway = resolved.gateway
    with_eip = [policy for policy in policies if not policy.policy.use_node_ip]
    if gateway.pool[family] and family not in resolved.families and with_eip:
        found.warning(
            "family-blocked",
            f"no node of EgressGateway {gateway.name} has an IPv{family} address: the IPv{family} EIPs are not used, "
            f"and IPv{family} traffic of its policies is blocked",
            gateway.document.key_at("spec", "ippools", f"ipv{family}"),
            hint=f"select nodes with IPv{family} addresses, or leave ippools.ipv{family} empty",
        )


def _check_family(
    resolved: ResolvedGateway, family: Family, policies: list[ResolvedPolicy], everything: Resolved, found: Collector
) -> None:
    """Traffic of a family in which there is no address to leave with is blocked; that should surprise nobody."""
    gateway = resolved.gateway
    if not gateway.pool[family] and gateway.families:
        hit = [p for p in policies if not p.policy.use_node_ip and _sends(p, family, everything)]
        if hit:
            names = listing([str(policy.policy.ref) for policy in hit])
            found.warning(
                "family-blocked",
                f"EgressGateway {gateway.name} has no IPv{family} EIP: the IPv{family} traffic of "
                f"{counted(len(hit), 'policy', 'policies')} ({names}) is blocked",
                gateway.document.key_at("spec", "ippools"),
                hint=f"add as many addresses to ippools.ipv{family} as the other family has, or give the policies "
                f"IPv{10 - family} destinations only",
            )
    without = [node.name for node in resolved.nodes if node.address(family) is None]
    hit = [p for p in policies if p.policy.use_node_ip and _sends(p, family, everything)] if without else []
    if hit:
        names = listing([str(policy.policy.ref) for policy in hit])
        found.warning(
            "family-blocked",
            f"{listing(without)} of EgressGateway {gateway.name} {'has' if len(without) == 1 else 'have'} no "
            f"IPv{family} address: while active there, the IPv{family} traffic of {names} with useNodeIP is blocked",
            gateway.document.key_at("spec", "nodeSelector"),
            hint="select nodes with addresses of both families",
        )


def _sends(policy: ResolvedPolicy, family: Family, everything: Resolved) -> bool:
    """Whether the policy has sources and destinations of ``family``."""
    destinations = policy.policy.destinations
    if destinations is not None and not destinations[family]:
        return False
    pods = everything.cluster.pods
    return bool(policy.subnets[family]) or any(a.family == family for p in policy.pods for a in pods[p].addresses)
