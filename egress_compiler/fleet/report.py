"""What is said about nodes' addresses.  Only what is used can be an error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from egress_compiler.diagnostics import Collector, Related, counted, listing, nearest, quoted
from egress_compiler.document import Path
from egress_compiler.fleet.judge import UNINITIALISED, Judged, Refused
from egress_compiler.model.cluster import Cluster, Node, OtherNode, ReportedAddress
from egress_compiler.model.settings import Settings
from egress_compiler.net import FAMILIES, Address, Family, format_address
from egress_compiler.source import Position

NAME_IT = "name the addresses of such a node under nodeAddresses in the settings, or start its kubelet with --node-ip"


def place_of(node: Node, entry: ReportedAddress | None = None) -> Position | None:
    """Where the node, or an address that it reports, stands."""
    if node.report.origin is None:
        return None
    path = ("metadata", "name") if entry is None else ("status", "addresses", entry.place, "address")
    return node.report.origin.at(*path)


def check_settings(settings: Settings, cluster: Cluster, found: Collector) -> None:
    """A name that no node has does nothing; where a node is gone, that harms nobody."""
    names = {node.name for node in cluster.nodes}
    given: list[tuple[Path, str]] = [
        (("unmanagedNodes", "names", i), name) for i, name in enumerate(settings.unmanaged.named)
    ]
    given += [(("nodeAddresses", name), name) for name in settings.node_addresses]
    for path, name in given:
        if name not in names:
            place = settings.document.at(*path) if settings.document is not None else None
            hint = nearest(name, names) or "take it out, if the node is gone"
            found.warning("settings-node", f"there is no node {quoted(name)} in the cluster files", place, hint=hint)


def report_no_host(others: Sequence[OtherNode], found: Collector) -> None:
    texts = [f"{other.node.name} {other.why}" for other in others]
    message = f"no node is a Linux host that could be configured: {'; '.join(texts[:3])}"
    hint = next((other.hint for other in others if other.hint), "")
    found.error("no-nodes", message, place_of(others[0].node), hint=hint)


def report_duplicates(judged: Sequence[Judged], own: Mapping[str, Sequence[Address]], found: Collector) -> None:
    """An error where two hosts have nothing but one address; a warning where a shared one goes before one's own."""
    dependent: dict[Address, list[Judged]] = {}
    before: dict[Address, list[Judged]] = {}
    for one in judged:
        mine = own[one.node.name]
        if one.candidates and not mine and UNINITIALISED not in one.node.report.taints:
            dependent.setdefault(one.candidates[0], []).append(one)
        for family in FAMILIES:
            first = next((a for a in one.candidates if a.family == family), None)
            if first is not None and first not in mine and any(a.family == family for a in mine):
                before.setdefault(first, []).append(one)
    for address, several in sorted(dependent.items()):
        for one in several[1:]:
            _report_twice(address, several[0], one, found)
    for address, several in sorted(before.items()):
        names = [one.node.name for one in judged if address in one.candidates]
        text = format_address(*address)
        found.warning(
            "address-twice",
            f"{text} is reported by {counted(len(names), 'node')} ({listing(names)}), so it is no tunnel's end: "
            f"{'they use' if len(several) > 1 else several[0].node.name + ' uses'} the next address",
            place_of(several[0].node, entry_of(several[0].node, address)),
            hint=NAME_IT,
        )


def _report_twice(address: Address, first: Judged, second: Judged, found: Collector) -> None:
    owners = f"node {first.node.name} and of node {second.node.name}"
    at = place_of(first.node, entry_of(first.node, address))
    found.error(
        "address-twice",
        f"{format_address(*address)} is the address of {owners}",
        place_of(second.node, entry_of(second.node, address)),
        hint="take the snapshot again, all kinds at the same moment; or name their addresses under nodeAddresses",
        related=(Related(f"the address of node {first.node.name}", at),) if at is not None else (),
    )


def entry_of(node: Node, address: Address) -> ReportedAddress | None:
    """What the node says of ``address``, if it reports it."""
    return next((entry for entry in node.report.addresses if entry.address == address), None)


def report_judged(judged: Sequence[Judged], hosts: Mapping[str, Node], underlay: Family, found: Collector) -> None:
    """Addresses that come before the one that is used, and those that we put there."""
    skipped: dict[str, list[tuple[Node, Refused]]] = {}
    for one in judged:
        host = hosts.get(one.node.name)
        used = entry_of(one.node, Address(underlay, host.address(underlay) or 0)) if host is not None else None
        for refused in one.refused if used is not None else ():
            if not refused.entry.external and used is not None and refused.entry.place < used.place:
                skipped.setdefault(refused.why, []).append((one.node, refused))
        _report_traces(one, found)
    for why, several in sorted(skipped.items()):
        node, refused = several[0]
        more = f", and {counted(len(several) - 1, 'more such address', 'more such addresses')}" if several[1:] else ""
        found.warning(
            "node-address",
            f"{quoted(refused.entry.text)} of node {node.name} {why}{more}: the next InternalIP is used",
            place_of(node, refused.entry),
            hint=NAME_IT,
        )


def _report_traces(one: Judged, found: Collector) -> None:
    by_owner: dict[str, list[ReportedAddress]] = {}
    for trace in one.traces:
        owner = f"EIP of EgressGateway {trace.gateway.name}" if trace.gateway is not None else "address of the tunnel"
        by_owner.setdefault(owner, []).append(trace.entry)
    for owner, entries in sorted(by_owner.items()):
        single = len(entries) == 1
        what = f"an {owner}" if single else owner.replace("EIP ", "EIPs ").replace("address ", "addresses ")
        found.warning(
            "own-address-reported",
            f"node {one.node.name} reports {listing([entry.text for entry in entries])}, {what}, as "
            f"{'an address' if single else 'addresses'} of its own: {'it does' if single else 'they do'} not count",
            place_of(one.node, entries[0]),
            hint="keepalived and the tunnel put such addresses on a node: start its kubelet with --node-ip, or tell "
            "the cloud provider which addresses are the node's own",
        )
