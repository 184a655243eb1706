"""The hosts among the Node objects, the family that all tunnels run over, and the addresses that are used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from egress_compiler.diagnostics import Collector, listing
from egress_compiler.fleet import report
from egress_compiler.fleet.judge import UNINITIALISED, Judged, judge
from egress_compiler.fleet.kinds import foreign_kind
from egress_compiler.fleet.traces import Traces
from egress_compiler.model.cluster import Cluster, Node, OtherNode
from egress_compiler.model.lock import Lock
from egress_compiler.model.policy import Gateway
from egress_compiler.model.settings import Settings
from egress_compiler.net import FAMILIES, Address, Family, format_address


def choose_hosts(
    cluster: Cluster, gateways: Sequence[Gateway], settings: Settings, lock: Lock, found: Collector
) -> Cluster:
    """``cluster`` with the hosts as its nodes, each with addresses of its own, and all others apart.

    An address that several hosts report is nobody's own: it may be that of a bridge that all of them have.  A host
    without an address of its own in the family of the tunnels waits: its configuration comes with a later run.
    """
    kinds = {node.name: foreign_kind(node, settings.unmanaged) for node in cluster.nodes}
    others = [OtherNode(node, kinds[node.name]) for node in cluster.nodes if kinds[node.name]]
    traces = Traces(gateways, lock, settings.tunnel)
    judged = [
        judge(node, settings.node_addresses.get(node.name, ()), traces, cluster.calico_pools)
        for node in cluster.nodes
        if not kinds[node.name]
    ]
    own = _own(judged, settings)
    underlay = settings.tunnel.underlay or _underlay(judged, own, gateways, lock)
    hosts: list[Node] = []
    for one in judged:
        addresses = own[one.node.name]
        rest = tuple(a for a in one.candidates if a not in addresses)
        further = tuple(dict.fromkeys((*rest, *one.further)))
        node = one.node
        if (node.addresses, node.external_addresses) != (addresses, further):
            node = replace(node, addresses=addresses, external_addresses=further)
        if node.address(underlay) is not None:
            hosts.append(node)
        else:
            why, hint = _why_waiting(one, addresses, underlay)
            others.append(OtherNode(node, why, waiting=True, hint=hint))
    report.check_settings(settings, cluster, found)
    report.report_duplicates(judged, own, found)
    report.report_judged(judged, {node.name: node for node in hosts}, underlay, found)
    if others and not hosts:
        report.report_no_host(others, found)
    return replace(
        cluster,
        nodes=tuple(hosts),
        other_nodes=tuple(sorted(others, key=lambda other: other.node.name)),
        underlay=underlay,
    )


def _own(judged: Sequence[Judged], settings: Settings) -> dict[str, tuple[Address, ...]]:
    """By host its addresses that are no other's; what the settings name for one host alone is its own, too.

    Of hosts that have no other address, the only one that is ready has it: the others are left over from before.
    """
    users = Counter(address for one in judged for address in one.candidates)
    given = {one.node.name: settings.node_addresses.get(one.node.name, ()) for one in judged}
    named = Counter(address for addresses in given.values() for address in addresses)

    def is_own(address: Address, name: str) -> bool:
        return users[address] == 1 or (named[address] == 1 and address in given[name])

    own = {one.node.name: tuple(a for a in one.candidates if is_own(a, one.node.name)) for one in judged}
    bare = [one for one in judged if not own[one.node.name]]
    of_bare, of_ready = (Counter(a for one in some for a in one.candidates) for some in (bare, _ready(bare)))
    for one in _ready(bare):
        alone = (a for a in one.candidates if of_ready[a] == 1 and of_bare[a] == users[a])
        own[one.node.name] = tuple(alone)
    return own


def _ready(judged: Sequence[Judged]) -> list[Judged]:
    return [one for one in judged if one.node.ready]


def _underlay(
    judged: Sequence[Judged], own: Mapping[str, Sequence[Address]], gateways: Sequence[Gateway], lock: Lock
) -> Family:
    """The family that the tunnels have run over while all gateway nodes have it, else the one that serves most.

    That is one that all nodes have, or all gateway nodes, or the most, IPv4 before IPv6.  So a node that comes with
    fewer families than the others does not take the tunnels of all of them down.
    """
    families = {name: {address.family for address in addresses} for name, addresses in own.items() if addresses}
    members = [
        families[one.node.name]
        for one in judged
        if one.node.name in families and any(g.node_selector.matches(one.node.labels) for g in gateways)
    ]
    if lock.nodes and members and all(lock.underlay in has for has in members):
        return lock.underlay
    for some in (families.values(), members):
        for family in FAMILIES:
            if some and all(family in has for has in some):
                return family
    return max(FAMILIES, key=lambda family: (sum(family in has for has in families.values()), family == 4))


def _why_waiting(one: Judged, own: Sequence[Address], underlay: Family) -> tuple[str, str]:
    """The end of a sentence about a host that has no address to run its tunnel over, and what would help."""
    later = "it comes with the first run that finds an address; nodeAddresses in the settings names one at once"
    if own:
        other = (
            f"tunnel.underlay: ipv{own[0].family} in the settings, where all nodes have an IPv{own[0].family} address"
        )
        why = f"has no IPv{underlay} address, and all tunnels run over IPv{underlay}"
        return why, f"set {other}; or name an IPv{underlay} address of it under nodeAddresses"
    if one.candidates:
        texts = [format_address(*address) for address in one.candidates]
        hint = "delete the Node object if the node is gone, or name its own address under nodeAddresses in the settings"
        return f"has no address that is not another node's as well ({listing(texts)})", hint
    useless = [f"{r.entry.text} {r.why}" for r in one.refused if not r.entry.external]
    useless += [f"{t.entry.text} is {'an EIP' if t.gateway else 'of the tunnel'}" for t in one.traces]
    if useless:
        return f"has no address that its tunnel could run over ({listing(useless)})", later
    untouched = ", as its cloud provider has not initialised it" if UNINITIALISED in one.node.report.taints else ""
    return f"has no InternalIP yet{untouched}", later
