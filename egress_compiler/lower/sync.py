"""Which gateways tell each other of open connections, and of which."""

from __future__ import annotations

from collections.abc import Mapping

from egress_compiler.allocate.members import SlotMembers
from egress_compiler.contract.plan import ConnectionSync
from egress_compiler.lower.tunnel import TunnelLayout
from egress_compiler.model.cluster import Node
from egress_compiler.model.settings import Settings
from egress_compiler.net import FAMILIES, Family
from egress_compiler.resolve import Resolved


class SyncGroups:
    """conntrackd's configuration of each gateway."""

    def __init__(
        self,
        resolved: Resolved,
        layout: TunnelLayout,
        settings: Settings,
        ranges: Mapping[Family, tuple[str, ...]],
    ) -> None:
        self._layout = layout
        self._settings = settings
        self._nodes = {node.name: node for node in resolved.cluster.nodes}
        self._peers = _peers(resolved, settings.vrrp.gateways_per_slot)
        self._sources = tuple(text for family in FAMILIES for text in ranges[family])

    def peers(self, node: Node) -> tuple[str, ...]:
        """Underlay addresses of the gateways that may share slots with ``node``, sorted by name."""
        return tuple(self._layout.underlay(self._nodes[name]) for name in self._peers.get(node.name, ()))

    def sync(self, node: Node) -> ConnectionSync | None:
        """None where it is turned off, or where there is nobody to tell."""
        settings = self._settings.sync
        names = self._peers.get(node.name, ())
        if not names or not settings.enabled:
            return None
        pair = len(names) == 1 and self._peers[names[0]] == (node.name,)
        return ConnectionSync(
            interface=self._layout.uplink(node.name).interface,
            source=self._layout.underlay(node),
            peers=self.peers(node),
            group="" if pair else settings.groups[self._layout.underlay_family],
            port=settings.port,
            sources=self._sources,
        )


def _peers(resolved: Resolved, gateways_per_slot: int) -> Mapping[str, tuple[str, ...]]:
    """Of the slots that could be, whether a policy needs them now or not."""
    found: dict[str, set[str]] = {}
    for gateway in resolved.gateways.values():
        nodes = [node.name for node in gateway.nodes]
        members = SlotMembers(nodes, gateways_per_slot)
        for node in nodes:
            names = {node, *members.backups(node)}
            for name in names:
                found.setdefault(name, set()).update(names)
    return {name: tuple(sorted(peers - {name})) for name, peers in found.items()}
