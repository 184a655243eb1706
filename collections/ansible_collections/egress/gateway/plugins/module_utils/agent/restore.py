# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""Brings back what of ours somebody took away: by the resources and with the lock of apply, in tasks of their own.

What keeps governed packets in comes first and waits for nothing else. What somebody added is left: verify names it.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Sequence
from dataclasses import replace

from ansible_collections.egress.gateway.plugins.module_utils.agent.netlink import (
    ADDRESSES,
    EVERYTHING,
    FIREWALL,
    HOST_FIREWALL,
    LINKS,
    NEIGHBOURS,
    ROUTES,
    RULES,
    SYSCTLS,
    TABLE,
)
from ansible_collections.egress.gateway.plugins.module_utils.agent.tasks import Report, Task
from ansible_collections.egress.gateway.plugins.module_utils.bundle import NodeBundle, installed
from ansible_collections.egress.gateway.plugins.module_utils.contract.names import KEEPALIVED, NFT_TABLE
from ansible_collections.egress.gateway.plugins.module_utils.firewall.host_firewall_accepts import HostFirewallAccepts
from ansible_collections.egress.gateway.plugins.module_utils.kernel.command import NodeError, run
from ansible_collections.egress.gateway.plugins.module_utils.kernel.nft_generation import has_table, nft_generation
from ansible_collections.egress.gateway.plugins.module_utils.kernel.reading import Kernel
from ansible_collections.egress.gateway.plugins.module_utils.node import Paths
from ansible_collections.egress.gateway.plugins.module_utils.repair import lacking, repair, repairable
from ansible_collections.egress.gateway.plugins.module_utils.resources.floating import SETTLED, Floating
from ansible_collections.egress.gateway.plugins.module_utils.resources.keepalived import Keepalived
from ansible_collections.egress.gateway.plugins.module_utils.resources.link import Addresses, Link
from ansible_collections.egress.gateway.plugins.module_utils.resources.nftables import Table
from ansible_collections.egress.gateway.plugins.module_utils.resources.peers import Forwarding, Neighbours
from ansible_collections.egress.gateway.plugins.module_utils.resources.resource import Change, Resource, settle
from ansible_collections.egress.gateway.plugins.module_utils.resources.steering import Routes, Rules
from ansible_collections.egress.gateway.plugins.module_utils.resources.sysctls import Sysctls
from ansible_collections.egress.gateway.plugins.module_utils.resources.veth_pair import VethPair
from ansible_collections.egress.gateway.plugins.module_utils.transition import Transition
from ansible_collections.egress.gateway.plugins.module_utils.undo import lock

_LARGE = 1 << 20
"""Characters of a ruleset that takes longer to load than the last resort takes to be read and repaired."""
_AGAIN = 10.0
"""Seconds until another attempt at what could not be repaired."""
_FAILOVER = 0.5
"""Seconds; keepalived's script has the routes of a slot that went elsewhere back in a tenth of that."""


class Restore(Task):
    """What ``_chosen`` names, as far as it is missing or was changed."""

    def __init__(self, paths: Paths, service: bool) -> None:
        self._paths = paths
        self._service = service

    def run(self, kinds: frozenset[str]) -> Report:
        bundle = installed(self._paths)
        return self._report(bundle, kinds) if bundle else Report()

    def _report(self, bundle: NodeBundle, kinds: frozenset[str]) -> Report:
        devices = (bundle.plan.kernel.interface, *bundle.plan.further_uplinks())
        if not self._is_wrong(bundle, kinds):
            return Report(devices=devices)
        with lock.held(self._paths):
            done, problems = self._repair(kinds)
            lock.remove_traces(self._paths, everything=False)
        return Report(done, "; ".join(map(str, problems)), _AGAIN if problems else None, devices)

    def _is_wrong(self, bundle: NodeBundle, kinds: frozenset[str]) -> bool:
        """Asked without the lock, which is needed only where there is something to do."""
        return any(lacking(resource) for resource in self._chosen(bundle, kinds))

    def _repair(self, kinds: frozenset[str]) -> tuple[list[str], list[NodeError]]:
        """With the lock held: by the bundle that the node has now."""
        bundle = installed(self._paths)
        done, problems = repair(self._chosen(bundle, kinds)) if bundle else ([], [])
        return [str(change.key) for change in done], problems

    def _repairable(self, bundle: NodeBundle, only_closing: bool = False) -> list[Resource]:
        return repairable(Transition(self._paths, self._service, bundle, bundle), only_closing)

    def _chosen(self, bundle: NodeBundle, kinds: frozenset[str]) -> Sequence[Resource]:
        raise NotImplementedError


class KeepClosed(Restore):
    """The table and the last resort: each of them alone keeps governed packets in.

    Its memory is what it found in order: the number of the last transaction, and the text that the table is made of.
    """

    name = "kept closed"
    hears = frozenset([TABLE, RULES, ROUTES, LINKS])

    def _report(self, bundle: NodeBundle, kinds: frozenset[str]) -> Report:
        done = [] if has_table(NFT_TABLE) is not False else self._load()
        order = [nft_generation(), zlib.crc32((bundle.ruleset or "").encode())]
        known = order == self.memory or TABLE not in kinds
        report = super()._report(bundle, kinds - {TABLE} if known else kinds)
        unchanged = not done and not report.repaired and not report.problem
        memory = order if unchanged and TABLE in kinds and nft_generation() == order[0] else self.memory
        return replace(report, repaired=(*done, *report.repaired), memory=memory)

    def _load(self) -> list[str]:
        """A table that is gone need not be compared; the last resort is back before a large one is."""
        with lock.held(self._paths):
            bundle = installed(self._paths)
            gone = bundle is not None and has_table(NFT_TABLE) is False
            if bundle is not None and gone:
                ruleset = bundle.ruleset or ""
                if len(ruleset) > _LARGE:
                    self._repair(frozenset())
                run(["nft", "-f", "-"], ruleset)
            lock.remove_traces(self._paths, everything=False)
        return ["table inet " + NFT_TABLE] if gone else []

    def _chosen(self, bundle: NodeBundle, kinds: frozenset[str]) -> Sequence[Resource]:
        chosen = self._repairable(bundle, only_closing=True)
        return [resource for resource in chosen if TABLE in kinds or not isinstance(resource, Table)]


_HEARD: Sequence[tuple[type[Resource], frozenset[str]]] = (
    (Sysctls, frozenset([SYSCTLS, LINKS, TABLE])),
    (Link, frozenset([LINKS])),
    (Addresses, frozenset([LINKS, ADDRESSES])),
    (VethPair, frozenset([LINKS, ADDRESSES])),
    (Neighbours, frozenset([LINKS, NEIGHBOURS])),
    (Forwarding, frozenset([LINKS, NEIGHBOURS])),
    (Routes, frozenset([LINKS, ADDRESSES, ROUTES])),
    (Rules, frozenset([RULES])),
)
"""Which changes may take what; a device that goes takes most of the rest along."""


class KeepOpen(Restore):
    """Tunnel, veth pair, rules, routes and sysctls: what governed packets need to get out."""

    name = "put back"
    hears = EVERYTHING - {HOST_FIREWALL, FIREWALL}

    def _chosen(self, bundle: NodeBundle, kinds: frozenset[str]) -> Sequence[Resource]:
        may = tuple(resource for resource, heard in _HEARD if heard & kinds)
        chosen = [r for r in self._repairable(bundle) if isinstance(r, may) and not r.closes]
        if KEEPALIVED not in bundle.files or self._paths.keepalived_loaded.exists():
            return chosen
        # Where the tunnel device was made anew: its addresses come back when keepalived reads again.
        return [*chosen, Keepalived(self._paths, bundle.files, self._service)]

    def _is_wrong(self, bundle: NodeBundle, kinds: frozenset[str]) -> bool:
        found = [change for resource in self._chosen(bundle, kinds) for change in lacking(resource)]
        if found and bundle.plan.floating() and all(change.key.kind == "route" for change in found):
            time.sleep(_FAILOVER)
            return super()._is_wrong(bundle, kinds)
        return bool(found)


class KeepMoving(Task):
    """A slot's addresses are here while this node is its master, and only then, whoever moved one."""

    name = "moved"
    hears = frozenset([ADDRESSES, LINKS])
    every = 10.0

    def __init__(self, paths: Paths, service: bool) -> None:
        self._paths = paths
        self._service = service

    def run(self, kinds: frozenset[str]) -> Report:
        floating = self._floating(SETTLED)
        if floating is None or not floating.difference():
            return Report()
        with lock.held(self._paths):
            floating = self._floating(0.0)
            done: Sequence[Change] = settle(floating, ("create", "modify", "remove")) if floating else ()
            lock.remove_traces(self._paths, everything=False)
        return Report([str(change.key) for change in done])

    def _floating(self, patience: float) -> Floating | None:
        bundle = installed(self._paths)
        if bundle is None or not bundle.plan.floating():
            return None
        keepalived = Keepalived(self._paths, bundle.files, self._service)
        return Floating(Kernel(), self._paths, bundle.plan, lambda: not keepalived.difference(), patience)


class KeepAccepted(Restore):
    """Our accepts in the host's firewall, whenever that is loaded anew."""

    name = "accepted again"
    hears = frozenset([HOST_FIREWALL, FIREWALL])
    urgent = frozenset([HOST_FIREWALL])

    def _chosen(self, bundle: NodeBundle, kinds: frozenset[str]) -> Sequence[Resource]:
        return [HostFirewallAccepts(bundle.plan)]
