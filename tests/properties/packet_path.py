"""One connection's first packet through the files of a bundle: rules, routes and VRRP as the node would use them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from ipaddress import IPv4Address, IPv6Address, ip_address

from tests.properties.ip_text import NOWHERE, Routing, Way
from tests.properties.nft_text import Packet, Ruleset

TUNNEL = "egress.vxlan"
WORKER_END, GATEWAY_END = "egress.worker", "egress.gateway"
UPLINK = "eth0"
NOBODY = ("169.254.38.39", "fe80::2627")
"""Next hops that do not exist: on an uplink, the packet goes nowhere."""
NUMBERS = 0x3FFF
OURS = 0xFF000000 | NUMBERS
"""The bits of marks that are ours."""
COMMANDS = "commands"
"""In place of a file: nft commands that the node itself makes, for its pods."""
IP = IPv4Address | IPv6Address
MASQUERADED: Mapping[int, IP] = {4: IPv4Address("192.0.2.99"), 6: IPv6Address("2001:db8:99::99")}
"""What the CNI makes of a pod's address when nobody else has bound the connection before it."""

_DEVICE = re.compile(rf"^link add {re.escape(TUNNEL)} address (\S+) .* local (\S+) .* gbp$", re.MULTILINE)
_ADDRESS = re.compile(rf"^address add (\S+)/\d+ dev {re.escape(TUNNEL)}\b", re.MULTILINE)
_INSTANCE = re.compile(r"^vrrp_instance (\S+) \{$(.*?)^\}", re.MULTILINE | re.DOTALL)
_VIRTUAL_ADDRESS = re.compile(r"^ +([0-9a-f.:]+)/\d+ dev (\S+)$", re.MULTILINE)


class NodeFiles:
    """What the files of one node say."""

    def __init__(self, name: str, files: Mapping[str, str]) -> None:
        self.name = name
        self._files = files

    @cached_property
    def ruleset(self) -> Ruleset:
        made = Ruleset(self._files["nftables.nft"])
        made.apply(self._files.get(COMMANDS, ""))
        return made

    @cached_property
    def _routing(self) -> Mapping[int, Routing]:
        names = {4: "routes.batch", 6: "routes6.batch"}
        return {version: Routing(self._files.get(name, ""), version) for version, name in names.items()}

    @cached_property
    def instances(self) -> Mapping[str, str]:
        return dict(_INSTANCE.findall(self._files.get("keepalived.conf", "")))

    def addresses(self, instance: str) -> Mapping[str, str]:
        """The virtual addresses of an instance, with their devices."""
        return dict(_VIRTUAL_ADDRESS.findall(self.instances[instance]))

    def instance_with(self, address: str) -> str | None:
        return next((name for name in self.instances if address in self.addresses(name)), None)

    @cached_property
    def _device(self) -> tuple[str, str]:
        (found,) = _DEVICE.findall(self._files["vxlan.batch"])
        return str(found[0]), str(found[1])

    @property
    def mac(self) -> str:
        """Of its tunnel device."""
        return self._device[0]

    @property
    def underlay(self) -> IP:
        return ip_address(self._device[1])

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
        """Whether the address is inside the cluster, or where this node's pods are; else it is no pod's."""
        lookups = self.ruleset.lookups
        names = (f"inside{version}", f"pod_ranges{version}")
        return any(name in lookups and lookups[name].find(source) is not None for name in names)

    def has_pod(self, address: int, version: int) -> bool:
        """Whether a governed pod of this node has the address."""
        return self.ruleset.lookups[f"governed_pods{version}"].find(address) is not None

    def carries(self, version: int) -> bool:
        """Whether the node has the family at all."""
        return bool(self._routing[version].rules)

    def way(self, packet: Packet) -> Way | None:
        """Where rules lead a packet before they ask the main table; None where they do not."""
        routing = self._routing[packet.version]
        way = routing.way(packet.source, packet.destination, packet.iif, packet.mark)
        if way is not None and way.via in NOBODY and way.device not in (WORKER_END, GATEWAY_END):
            return NOWHERE
        return way


def nodes_of(files: Mapping[str, str]) -> dict[str, NodeFiles]:
    """The nodes of a bundle from its files by relative path."""
    texts: dict[str, dict[str, str]] = {}
    for path, text in files.items():
        if path.startswith("nodes/"):
            _, node, name = path.split("/", 2)
            texts.setdefault(node, {})[name] = text
    return {node: NodeFiles(node, texts[node]) for node in sorted(texts)}


def first_packet(source: IP, destination: IP) -> Packet:
    """As a pod sends it."""
    return Packet(source.version, int(source), int(destination), iif="veth0")


def leave(nodes: Mapping[str, NodeFiles], start: str, source: IP, destination: IP) -> Mapping[str, str]:
    """The address that a new connection from a pod on ``start`` leaves with, by the node that is its slot's master.

    ``direct`` where nothing is done to it, ``blocked`` where it goes nowhere; where no gateway has to do with it, the
    only key is the empty string.
    """
    first = first_packet(source, destination)
    result = nodes[start].ruleset.run("prerouting", first)
    if result.verdict != "accept":
        return {"": "blocked"}
    packet = result.packet
    way = nodes[start].way(packet)
    if way is None:
        return {"": _go_out(nodes[start], packet, "direct")}
    assert way.device == TUNNEL, f"{way} is no way to a gateway"
    masters = {name: found for name, node in nodes.items() if (found := node.instance_with(way.via)) is not None}
    assert masters, f"no gateway has the tunnel VIP {way.via}"
    left: dict[str, str] = {}
    for master, instance in masters.items():
        if start == master:
            # The tunnel VIPs alone: what goes to an EIP that the node has is not leaving, and not tried here.
            held = nodes[start].addresses(instance)
            here = frozenset(int(ip_address(address)) for address, device in held.items() if device == TUNNEL)
            packet = nodes[start].ruleset.run("prerouting", replace(first, local=here)).packet
            assert packet.destination == first.destination, "the packet goes to another destination"
        else:
            packet = result.packet
        left[master] = _by(nodes, start, packet, master, instance)
    return left


def _by(nodes: Mapping[str, NodeFiles], start: str, packet: Packet, master: str, instance: str) -> str:
    way = nodes[start].way(packet)
    over_veth = start == master
    assert way is not None
    assert way.device == (WORKER_END if over_veth else TUNNEL), f"to {master} by {way}"
    sent = _route_out(nodes[start], packet, way.device)
    if sent is None:
        return "blocked"
    assert sent.source == packet.source, "the source changed before the tunnel"
    assert sent.mark & NUMBERS == sent.mark != 0, "the mark is no answer number"
    if not over_veth:
        _check_outer(nodes[start], nodes[master].underlay, sent.mark)
    arrived = arrive(sent, GATEWAY_END if over_veth else TUNNEL, nodes[start].mac)
    if not nodes[master].has_pod(packet.destination, packet.version):
        assert nodes[master].way(arrived) == NOWHERE, "without our table a gateway lets go what came from a worker"
    left = obey(nodes[master], arrived, instance)
    if left == "blocked":
        return left
    result = nodes[master].ruleset.run("prerouting", arrived)
    by_tunnel = nodes[start].tunnel_addresses[packet.version] if nodes[master].sends_replies_back else ""
    back, answer = _way_back(nodes[master], result.packet, ip_address(left))
    if over_veth:
        assert back is not None
        assert back.device == GATEWAY_END, "the answer takes another way back"
        _check_arrival(nodes[start], packet, WORKER_END, answer)
    else:
        assert back == (Way(TUNNEL, by_tunnel) if by_tunnel else None), "the answer takes another way back"
        if back is not None and nodes[start].knows(packet.source, packet.version):
            _check_arrival(nodes[start], packet, TUNNEL, answer)
    return left


def _check_outer(node: NodeFiles, to: IP, mark: int) -> None:
    """The VXLAN packet has the inner one's mark when it is routed."""
    outer = Packet(to.version, int(node.underlay), int(to), iif="lo", mark=mark)
    assert node.way(outer) is None, "the VXLAN packet would not go by the node's own routes"


def arrive(sent: Packet, iif: str, mac: str) -> Packet:
    """At the other end of tunnel or veth pair: the mark comes along, 16 bits by the tunnel; the connection does not."""
    mark = sent.mark & 0xFFFF if iif == TUNNEL else sent.mark
    return replace(sent, iif=iif, oif="", mark=mark, ct_mark=0, zones=(0, 0), mac=mac)


def obey(node: NodeFiles, arrived: Packet, instance: str) -> str:
    """What a gateway that is master of ``instance`` lets a packet from a worker leave with, or ``blocked``."""
    result = node.ruleset.run("prerouting", arrived)
    if result.verdict != "accept":
        return "blocked"
    way = node.way(result.packet)
    device = UPLINK if way is None else way.device
    assert device == UPLINK or device.startswith("vlan"), f"the packet would go by {way}"
    left = _go_out(node, result.packet, "leaked", device)
    if left in ("blocked", "leaked"):
        return left
    own = node.instance_with(left) is None
    right = UPLINK if own else node.addresses(instance).get(left)
    assert right == device, f"{left} of {instance} leaves {node.name} by {device}, and is on {right}"
    return left


def _way_back(node: NodeFiles, sent: Packet, left_with: IP) -> tuple[Way | None, Packet]:
    """The answer finds the connection, and goes that way; as it is sent there."""
    answer = replace(sent, source=sent.destination, destination=int(left_with), iif=UPLINK, mark=0, zones=(0, 0))
    got = node.ruleset.run("prerouting", replace(answer, state="established", direction="reply")).packet
    assert got.zones[0] == sent.zones[1], "the answer looks for its connection in another zone"
    # Conntrack has given it the pod's address back by now.
    got = replace(got, destination=sent.source)
    way = node.way(got)
    gone = node.ruleset.run("forward", replace(got, oif=way.device if way is not None else "veth0"))
    assert gone.verdict == "accept"
    return way, gone.packet


def _check_arrival(node: NodeFiles, sent: Packet, device: str, answer: Packet) -> None:
    """An answer that comes from a gateway finds the pod's connection, and the pod."""
    came = replace(sent, source=sent.destination, destination=sent.source, iif=device, oif="", zones=(0, 0))
    came = replace(came, mark=answer.mark & 0xFFFF if device == TUNNEL else answer.mark)
    got = node.ruleset.run("prerouting", replace(came, state="established", direction="reply"))
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
    if source == MASQUERADED[packet.version]:
        return untouched
    assert left.mark & OURS == 0, "what leaves bears a mark of ours"
    return str(source)
