"""Our own traces in the picture of the cluster: addresses that keepalived and the tunnel have put on a node.

A kubelet or cloud provider that reports every address of a node's devices reports these as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from egress_compiler.labels import Labels
from egress_compiler.model.lock import Lock
from egress_compiler.model.policy import Gateway
from egress_compiler.model.settings import TunnelSettings
from egress_compiler.net import FAMILIES, Address, AddressError, contains, parse_address, union


class Traces:
    """``lock`` knows what was handed out before."""

    def __init__(self, gateways: Sequence[Gateway], lock: Lock, tunnel: TunnelSettings) -> None:
        self._gateways = gateways
        self._lock = lock
        self._tunnel = tunnel
        self._known = _known_eips(lock)
        self._eips = {f: union(i for gateway in gateways for i in gateway.pool[f]) for f in FAMILIES}
        self._all_known = frozenset[Address]().union(*self._known.values())
        self._vips = {
            Address(family, tunnel.subnets[family].last - slot.vip)
            for slot in lock.slots.values()
            for family in FAMILIES
        }

    def gateway_of(self, address: Address, node: str, labels: Labels, *, further: bool) -> Gateway | None:
        """The EgressGateway of which ``address``, as this node reports it, is an EIP that it may well have as such.

        ``further``: the node reports an address of its own before.  Else the lock has to know the EIP: it might be
        the node's only address, and a mistake in the pool.
        """
        if address not in self._all_known and not contains(self._eips[address.family], address.value):
            return None
        for gateway in self._gateways:
            known = address in self._known.get(gateway.name, ())
            member = gateway.node_selector.matches(labels) or f"{gateway.name}/{node}" in self._lock.slots
            if member and (known or (further and contains(gateway.pool[address.family], address.value))):
                return gateway
        return None

    def of_tunnel(self, address: Address, node: str) -> bool:
        """Whether the lock gave this address to the node's tunnel device, or to a slot."""
        index = self._lock.nodes.get(node)
        first = self._tunnel.subnets[address.family].first
        return address in self._vips or (index is not None and address.value == first + index)


def _known_eips(lock: Lock) -> Mapping[str, frozenset[Address]]:
    """By gateway."""
    texts: dict[str, set[str]] = {}
    for entry in lock.policies.values():
        texts.setdefault(entry.gateway, set()).update((entry.ipv4, entry.ipv6))
    return {gateway: frozenset(_parsed(some)) for gateway, some in texts.items()}


def _parsed(texts: Iterable[str]) -> Iterator[Address]:
    """Those that are addresses; of the others whoever reads the allocations tells."""
    for text in filter(None, texts):
        try:
            yield parse_address(text)
        except AddressError:
            continue
