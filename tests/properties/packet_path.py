"""One connection's first packet through the files of a bundle: rules, routes and VRRP as the node would use them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from ipaddress import IPv4Address, IPv6Address, ip_address

from tests.properties.nft_text import Packet, Ruleset

TUNNEL = "egress.vxlan"
WORKER_END, GATEWAY_END = "egress.worker", "egress.gateway"
WIRE = "the wire"
UPLINK = "eth0"
IP = IPv4Address | IPv6Address
MASQUERADED: Mapping[int, IP] = {4: IPv4Address("192.0.2.99"), 6: IPv6Address("2001:db8:99::99")}
"""What the CNI makes of a pod's address when nobody else has bound the connection before it."""

_RULE = re.compile(r"^rule add preference 99 fwmark (\S+)/(\S+) lookup (\d+) ", re.MULTILINE)
_ROUTE = re.compile(rf"^route add default via (\S+) dev {re.escape(TUNNEL)} table (\d+) ", re.MULTILINE)
_WIRE_ROUTE = re.compile(rf"^route add default via \S+ dev {WORKER_END} table (\d+) onlink ", re.MULTILINE)
_WIRE_BACK = re.compile(rf"^route add default via \S+ dev {GATEWAY_END} table (\d+) onlink ", re.MULTILINE)
_UPLINK_ROUTE = re.compile(r"^route add default via \S+ dev (vlan\d+) table (\d+) onlink ", re.MULTILINE)
_DEVICE = re.compile(rf"^link add {re.escape(TUNNEL)} address (\S+) ", re.MULTILINE)
_ADDRESS = re.compile(rf"^address add (\S+)/\d+ dev {re.escape(TUNNEL)}\b", re.MULTILINE)
_UNREACHABLE = re.compile(r"^route add unreachable default table (\d+) metric", re.MULTILINE)
_INSTANCE = re.compile(r"^vrrp_instance (\S+) \{$(.*?)^\}", re.MULTILINE | re.DOTALL)
_VIRTUAL_ADDRESS = re.compile(r"^ +([0-9a-f.:]+)/\d+ dev (\S+)$", re.MULTILINE)


class NodeFiles:
    """What the files of one node say."""

    def __init__(self, name: str, files: Mapping[str, str]) -> None:
        self.name = name
        self._files = files

    @cached_property
    def ruleset(self) -> Ruleset:
        return Ruleset(self._files["nftables.nft"])

    @cached_property
    def _steering(self) -> Mapping[int, list[tuple[int, int, str]]]:
        """By IP version: mark, mask, and tunnel VIP or further uplink of each rule."""
        found: dict[int, list[tuple[int, int, str]]] = {4: [], 6: []}
        for version, name in ((4, "routes.batch"), (6, "routes6.batch")):
            text = self._files.get(name, "")
            routes = {table: via for via, table in _ROUTE.findall(text)}
            back = _WIRE_BACK.findall(text)
            over_the_wire = [*back, *_WIRE_ROUTE.findall(text)]
            routes |= dict.fromkeys(over_the_wire, WIRE)
            routes |= {table: device for device, table in _UPLINK_ROUTE.findall(text)}
            last_resort = {*_UNREACHABLE.findall(text), *over_the_wire}
            for mark, mask, table in _RULE.findall(text):
                assert table in last_resort, f"table {table} has no unreachable route"
                tunnel = routes[table] != WIRE and not routes[table].startswith("vlan")
                assert not tunnel or (":" in routes[table]) == (version == 6), "a next hop of the other family"
                found[version].append((int(mark, 0), int(mask, 0), routes[table]))
        return found

    @cached_property
    def instances(self) -> Mapping[str, str]:
        return dict(_INSTANCE.findall(self._files.get("keepalived.conf", "")))

    def addresses(self, instance: str) -> Mapping[str, str]:
        """The virtual addresses of an instance, with their devices."""
        return dict(_VIRTUAL_ADDRESS.findall(self.instances[instance]))

    def instance_with(self, address: str) -> str | None:
        return next((name for name in self.instances if address in self.addresses(name)), None)

    @cached_property
    def mac(self) -> str:
        """Of its tunnel device."""
        (mac,) = _DEVICE.findall(self._files["vxlan.batch"])
        return str(mac)

    @cached_property
    def tunnel_addresses(self) -> Mapping[int, str]:
        """By IP version."""
        found = [ip_address(text) for text in _ADDRESS.findall(self._files["vxlan.batch"])]
        return {address.version: str(address) for address in found}

    @cached_property
    def sends_replies_back(self) -> bool:
        """By the tunnel, to the pod's node."""
        return "\tchain reply." in self._files["nftables.nft"]

    def knows(self, source: int, version: int) -> bool:
        """Whether the address is inside the cluster, or that of a governed pod of this node; else it is no pod's."""
        lookups = self.ruleset.lookups
        names = (f"inside{version}", f"governed_pods{version}")
        return any(name in lookups and lookups[name].find(source) is not None for name in names)

    def way(self, packet: Packet) -> str | None:
        """The tunnel VIP that a marked packet is routed to, WIRE or a further uplink; None for the main table."""
        for mark_value, mask_value, via in self._steering[packet.version]:
            if packet.mark & mask_value == mark_value:
                return via
        return None


def nodes_of(files: Mapping[str, str]) -> dict[str, NodeFiles]:
    """The nodes of a bundle from its files by relative path."""
    texts: dict[str, dict[str, str]] = {}
    for path, text in files.items():
        if path.startswith("nodes/"):
            _, node, name = path.split("/", 2)
            texts.setdefault(node, {})[name] = text
    return {node: NodeFiles(node, texts[node]) for node in sorted(texts)}


def leave(nodes: Mapping[str, NodeFiles], start: str, source: IP, destination: IP) -> Mapping[str, str]:
    """The address that a new connection from a pod on ``start`` leaves with, by the node that is its slot's master.

    ``direct`` where nothing is done to it, ``blocked`` where it goes nowhere; where no gateway has to do with it, the
    only key is the empty string.
    """
    first = Packet(source.version, int(source), int(destination), iif="veth0")
    result = nodes[start].ruleset.run("prerouting", first)
    if result.verdict != "accept":
        return {"": "blocked"}
    packet = result.packet
    vip = nodes[start].way(packet)
    if vip is None:
        return {"": _go_out(nodes[start], packet, "direct")}
    masters = {name: found for name, node in nodes.items() if (found := node.instance_with(vip)) is not None}
    assert masters, f"no gateway has the tunnel VIP {vip}"
    left: dict[str, str] = {}
    for master, instance in masters.items():
        if start == master:
            # The tunnel VIPs alone: what goes to an EIP that the node has is not leaving, and not tried here.
            held = nodes[start].addresses(instance)
            here = frozenset(int(ip_address(address)) for address, device in held.items() if device == TUNNEL)
            packet = nodes[start].ruleset.run("prerouting", replace(first, local=here)).packet
            assert packet.destination == first.destination, "the packet goes to another destination"
            assert nodes[start].way(packet) == WIRE, "a master's own pods' packets would go into the tunnel"
        else:
            packet = result.packet
        left[master] = _by(nodes, start, packet, master, instance)
    return left


def _by(nodes: Mapping[str, NodeFiles], start: str, packet: Packet, master: str, instance: str) -> str:
    way = nodes[start].way(packet)
    sent = _route_out(nodes[start], packet, WORKER_END if way == WIRE else TUNNEL)
    if sent is None:
        return "blocked"
    assert sent.source == packet.source, "the source changed before the tunnel"
    assert sent.mark & 0x3FFF == 0, "the encapsulated packet would be routed into the tunnel again"
    # Another node's conntrack knows nothing of it, and what comes over a veth is looked up anew.
    iif = GATEWAY_END if way == WIRE else TUNNEL
    arrived = replace(packet, iif=iif, oif="", mark=0, ct_mark=0, zones=(0, 0), mac=nodes[start].mac)
    result = nodes[master].ruleset.run("prerouting", arrived)
    device = nodes[master].way(result.packet) or UPLINK
    assert device == UPLINK or device.startswith("vlan"), "the packet would go back into the tunnel"
    left = _go_out(nodes[master], result.packet, "leaked", device) if result.verdict == "accept" else "blocked"
    if left not in ("blocked", "leaked"):
        owned = nodes[master].addresses(instance)
        own = nodes[master].instance_with(left) is None
        right = UPLINK if own else owned.get(left)
        assert right == device, f"{left} of {instance} leaves {master} by {device}, and is on {right}"
        back = _way_back(nodes[master], result.packet, ip_address(left), device)
        by_tunnel = nodes[start].tunnel_addresses[packet.version] if nodes[master].sends_replies_back else None
        assert back == (WIRE if way == WIRE else by_tunnel), "the answer takes another way back"
        if back == by_tunnel and back is not None and nodes[start].knows(packet.source, packet.version):
            _check_arrival(nodes[start], packet)
    return left


def _way_back(node: NodeFiles, sent: Packet, left_with: IP, device: str) -> str | None:
    """The answer finds the connection, and goes that way."""
    answer = replace(sent, source=sent.destination, destination=int(left_with), iif=device, mark=0, zones=(0, 0))
    got = node.ruleset.run("prerouting", replace(answer, state="established", direction="reply")).packet
    assert got.zones[0] == sent.zones[1], "the answer looks for its connection in another zone"
    return node.way(got)


def _check_arrival(node: NodeFiles, sent: Packet) -> None:
    """An answer that comes by the tunnel finds the pod's connection, and the pod."""
    answer = replace(sent, source=sent.destination, destination=sent.source, iif=TUNNEL, mark=0, zones=(0, 0))
    got = node.ruleset.run("prerouting", replace(answer, state="established", direction="reply"))
    assert got.verdict == "accept"
    assert got.packet.zones[0] == 0, "the answer looks for its connection in another zone"
    assert node.way(got.packet) is None
    assert node.ruleset.run("forward", replace(got.packet, oif="veth0")).verdict == "accept"


def _route_out(node: NodeFiles, packet: Packet, oif: str) -> Packet | None:
    result = node.ruleset.run("forward", replace(packet, oif=oif))
    if result.verdict != "accept":
        return None
    result = node.ruleset.run("postrouting", result.packet, others=int(MASQUERADED[packet.version]))
    return result.packet if result.verdict == "accept" else None


def _go_out(node: NodeFiles, packet: Packet, untouched: str, device: str = UPLINK) -> str:
    left = _route_out(node, packet, device)
    if left is None:
        return "blocked"
    source = IPv4Address(left.source) if packet.version == 4 else IPv6Address(left.source)
    return untouched if source == MASQUERADED[packet.version] else str(source)
