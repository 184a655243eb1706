# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""What a firewall of the host has to let through: each accept once, in the words of iptables and of nftables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from ansible_collections.egress.gateway.plugins.module_utils.contract import routing
from ansible_collections.egress.gateway.plugins.module_utils.contract.names import TUNNEL_DEVICE
from ansible_collections.egress.gateway.plugins.module_utils.contract.numbers import GOVERNED_PREFIX_MASK, MARK_PREFIX
from ansible_collections.egress.gateway.plugins.module_utils.contract.plan import Family, NodePlan

COMMENT = "egress-gateway"
"""By which our rules among others' are known."""

Hook = Literal["input", "forward", "output"]
HOOKS: tuple[Hook, ...] = ("input", "forward", "output")

_VRRP = 112
_SIDES: tuple[Hook, Hook] = ("input", "output")


@dataclass(frozen=True)
class Accept:
    """Packets of ``families`` that have to pass ``hook``: ``iptables`` as its -save prints it, ``nft`` as JSON."""

    name: str
    hook: Hook
    families: frozenset[Family]
    iptables: str
    nft: tuple[Any, ...]


@dataclass(frozen=True)
class Found:
    """A rule with our comment. ``ahead`` of whatever refuses everything; ``handle`` is how its firewall calls it."""

    rule: str
    ahead: bool
    handle: str


@dataclass(frozen=True)
class HostChain:
    """A chain of somebody else's firewall that packets of ``families`` pass at ``hook``.

    ``path`` starts with the tool: iptables's and the chain, or nft, family, table and chain.

    ``refuses`` says whether what no rule of it accepts is refused: by its policy, or by the rule ``last``, which
    is a number (iptables) or a handle (nftables). ``locked`` chains belong to a process that lets nobody else in.
    """

    path: tuple[str, ...]
    hook: Hook
    families: frozenset[Family]
    refuses: bool
    last: int | None
    ours: tuple[Found, ...]
    locked: bool = False

    @property
    def where(self) -> str:
        return " ".join(self.path)


def needed_accepts(plan: NodePlan) -> tuple[Accept, ...]:
    """All that the plan needs; nothing of it opens what our own table's ``input`` chain does not look at first."""
    gateway, tunnel = plan.gateway, plan.kernel.tunnel
    families = frozenset(rule.family for rule in routing.rules(plan))
    underlay: frozenset[Family] = frozenset([6 if ":" in tunnel.underlay else 4])
    found = []
    if families:
        # Of ICMP errors about a governed connection, those that this node makes pass output.
        found += [_governed(hook, families) for hook in ("forward", "output")]
    for hook in _SIDES:
        found.append(_udp("VXLAN", hook, underlay, tunnel.port))
        if gateway is not None and any(instance.peers for instance in gateway.vrrp):
            found.append(_protocol("VRRP", hook, underlay, "vrrp", _VRRP, ""))
        if gateway is not None and gateway.sync is not None:
            found.append(_udp("connection tracking", hook, underlay, gateway.sync.port))
        if 6 in families:
            found.append(_protocol("neighbours in the tunnel", hook, frozenset([6]), "ipv6-icmp", 58, TUNNEL_DEVICE))
    return tuple(found)


def _governed(hook: Hook, families: frozenset[Family]) -> Accept:
    mark = "-m connmark --mark 0x%x/0x%x" % (MARK_PREFIX, GOVERNED_PREFIX_MASK)
    masked = {"&": [{"ct": {"key": "mark"}}, GOVERNED_PREFIX_MASK]}
    return Accept("governed connections", hook, families, _accept(mark), (_match(masked, MARK_PREFIX), _ACCEPT))


def _udp(name: str, hook: Hook, families: frozenset[Family], port: int) -> Accept:
    words = "-p udp -m udp --dport %d" % port
    destination = {"payload": {"protocol": "udp", "field": "dport"}}
    return Accept(name, hook, families, _accept(words), (_match(destination, port), _ACCEPT))


def _protocol(name: str, hook: Hook, families: frozenset[Family], protocol: str, number: int, device: str) -> Accept:
    words = "-p " + protocol
    matches = [_match({"meta": {"key": "l4proto"}}, number)]
    if device:
        words = "%s %s %s" % ("-i" if hook == "input" else "-o", device, words)
        matches.insert(0, _match({"meta": {"key": "iifname" if hook == "input" else "oifname"}}, device))
    return Accept(name, hook, families, _accept(words), (*matches, _ACCEPT))


def _accept(words: str) -> str:
    return "%s -m comment --comment %s -j ACCEPT" % (words, COMMENT)


def _match(left: Any, right: Any) -> dict[str, Any]:
    return {"match": {"op": "==", "left": left, "right": right}}


_ACCEPT = {"accept": None}
