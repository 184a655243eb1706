# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""Accepts of ours in the firewall that a host has of its own.

An accept in our table does not overrule a drop in another. Where a host refuses what no rule of it accepts, as with
Docker's DROP policy, our rules go into its chains, known by their comment; a host that refuses nothing is left alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from ansible_collections.egress.gateway.plugins.module_utils.contract.plan import NodePlan
from ansible_collections.egress.gateway.plugins.module_utils.firewall import iptables, nft_chains
from ansible_collections.egress.gateway.plugins.module_utils.firewall.host_firewall import (
    Accept,
    Found,
    HostChain,
    needed_accepts,
)
from ansible_collections.egress.gateway.plugins.module_utils.kernel.command import NodeError
from ansible_collections.egress.gateway.plugins.module_utils.resources.key import Key
from ansible_collections.egress.gateway.plugins.module_utils.resources.resource import Change, Item, Items, Resource


class HostFirewallAccepts(Resource):
    """Our rules in others' chains: those that are needed, and of those that are not only such as belong to the plan."""

    def __init__(self, plan: NodePlan | None) -> None:
        self._needed = needed_accepts(plan) if plan else ()
        self._chains: tuple[HostChain, ...] | None = None

    def forget(self) -> None:
        self._chains = None

    def desired(self) -> Items:
        found = self.actual()
        items = {}
        for chain in self._read():
            for accept in self._needed:
                key = _key(accept.name, chain)
                # What is there and no longer needed does no harm, and may be needed after the firewall's next start.
                if _concerns(accept, chain) and not chain.locked and (chain.refuses or key in found):
                    items[key] = Item(_text(accept, chain), "passes the host's firewall")
        return items

    def actual(self) -> Items:
        items = {}
        for chain in self._read():
            for found in chain.ours:
                accept = self._accept(found, chain)
                if accept is None:
                    items[_stray(found, chain)] = Item(found.rule)
                else:
                    behind = "" if found.ahead else ", behind a rule that refuses everything"
                    items[_key(accept.name, chain)] = Item(found.rule + behind)
        return items

    def fix(self, changes: Sequence[Change]) -> NodeError | None:
        try:
            for change in changes:
                if change.action != "create":
                    self._delete(change.key)
                if change.action != "remove":
                    self._add(change.key)
        except NodeError as error:
            return error
        return None

    def _read(self) -> tuple[HostChain, ...]:
        if self._chains is None:
            self._chains = host_chains()
        return self._chains

    def _accept(self, found: Found, chain: HostChain) -> Accept | None:
        return next((o for o in self._needed if _concerns(o, chain) and _text(o, chain) == found.rule), None)

    def _delete(self, key: Key) -> None:
        self.forget()
        for chain in self._read():
            for found in chain.ours:
                accept = self._accept(found, chain)
                if key == (_stray(found, chain) if accept is None else _key(accept.name, chain)):
                    (nft_chains.delete if _is_nft(chain) else iptables.delete)(chain, found)

    def _add(self, key: Key) -> None:
        self.forget()
        for chain in self._read():
            for accept in self._needed:
                if _concerns(accept, chain) and _key(accept.name, chain) == key:
                    (nft_chains.add if _is_nft(chain) else iptables.add)(chain, accept)


def host_chains() -> tuple[HostChain, ...]:
    """The chains of all firewalls of the host that packets of ours may meet."""
    base = nft_chains.base_chains()
    found: list[HostChain] = []
    native = [chain for chain in base if not iptables.is_iptables(chain)]
    for variant, family in iptables.in_use(base):
        of_tables = iptables.chains(variant, family)
        if of_tables is not None:
            found += of_tables
        elif variant == "nft":
            native += [c for c in base if iptables.is_iptables(c) and c["family"] == ("ip" if family == 4 else "ip6")]
    return (*found, *nft_chains.chains(native))


def locked(plan: NodePlan) -> list[str]:
    """Warnings: chains that refuse what has to pass, and that only their owner can change."""
    return [
        "%s refuses what none of its rules accepts, and the process that owns the table lets nobody add a rule: "
        "let it accept %s" % (chain.where, ", ".join(needed))
        for chain in host_chains()
        if chain.locked and chain.refuses
        for needed in [[accept.name for accept in needed_accepts(plan) if _concerns(accept, chain)]]
        if needed
    ]


def _concerns(accept: Accept, chain: HostChain) -> bool:
    return accept.hook == chain.hook and bool(accept.families & chain.families)


def _is_nft(chain: HostChain) -> bool:
    return chain.path[0] == "nft"


def _text(accept: Accept, chain: HostChain) -> str:
    return nft_chains.text(accept.nft) if _is_nft(chain) else accept.iptables


def _key(name: str, chain: HostChain) -> Key:
    return Key.of("accept", name, chain.where)


def _stray(found: Found, chain: HostChain) -> Key:
    return Key.of("stray accept", found.rule, chain.where)
