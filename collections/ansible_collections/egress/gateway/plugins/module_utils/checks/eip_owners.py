# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""Whether each egress IP has one owner, and one that may be: what no apply on this node can put right."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

from ansible_collections.egress.gateway.plugins.module_utils.checks.address_owners import answers
from ansible_collections.egress.gateway.plugins.module_utils.checks.facts import default_devices
from ansible_collections.egress.gateway.plugins.module_utils.contract.names import TUNNEL_DEVICE
from ansible_collections.egress.gateway.plugins.module_utils.contract.plan import FAMILIES, FloatingAddress, NodePlan
from ansible_collections.egress.gateway.plugins.module_utils.kernel.command import NodeError
from ansible_collections.egress.gateway.plugins.module_utils.kernel.reading import Kernel

_ELECTION = 5.0
"""Seconds in which a failover, or the start of the first gateway, is over."""
_PAUSE = 0.5


@dataclass(frozen=True)
class OwnerConflict:
    """An egress IP and what is wrong with it; ``seen`` has the MAC addresses that answer for it, or the device."""

    address: str
    problem: str
    seen: tuple[str, ...]
    origin: str

    def as_dict(self) -> dict[str, object]:
        return {**asdict(self), "seen": list(self.seen)}


def owner_conflicts(plan: NodePlan) -> list[OwnerConflict]:
    """What stays wrong while an election could be going on; an EIP that moves just now is no conflict."""
    end = time.monotonic() + _ELECTION
    while True:
        found = _owner_conflicts(plan)
        if not found or time.monotonic() > end:
            return found
        time.sleep(_PAUSE)


def require_free(plan: NodePlan, before: NodePlan | None) -> None:
    """NodeError when an EIP that is new here belongs to somebody who is no gateway, or to this node for another use."""
    known = {a.address for a in before.floating()} if before else set()
    new = [a for a in _eips(plan) if a.address not in known]
    misplaced = _misplaced(Kernel(), new)
    taken = misplaced or _foreign(plan, new, *_asked(plan, new))
    if taken:
        raise NodeError(
            "%s (%s) cannot be an egress IP: %s %s"
            % (taken[0].address, taken[0].origin, taken[0].problem, " ".join(taken[0].seen))
        )


def astray(plan: NodePlan) -> list[OwnerConflict]:
    """EIPs of the main uplink whose packets leave by another device: that of the default route."""
    found = []
    main = plan.kernel.interface
    for family in FAMILIES:
        own_table = any(u.interface == main and u.cidrs.of(family) for u in plan.uplink_tables())
        devices = default_devices(family) if not own_table else []
        if devices and main not in devices:
            problem = "on %s, and its packets leave by" % main
            found += [
                OwnerConflict(eip.address, problem, (devices[0],), eip.origin)
                for eip in _eips(plan)
                if (":" in eip.address) == (family == 6) and eip.device == main
            ]
    return found


def _owner_conflicts(plan: NodePlan) -> list[OwnerConflict]:
    kernel = Kernel()
    eips = _eips(plan)
    found = [*astray(plan), *_misplaced(kernel, eips)]
    answered, gateways = _asked(plan, eips)
    here = kernel.addresses()
    for eip in eips:
        macs = tuple(sorted(answered.get(eip.address, ())))
        if eip.address in here and macs:
            found.append(OwnerConflict(eip.address, "held by this node and by another host", macs, eip.origin))
        elif eip.address not in here and not macs:
            found.append(OwnerConflict(eip.address, "held by nobody", (), eip.origin))
        elif len(macs) > 1:
            found.append(OwnerConflict(eip.address, "held by several hosts", macs, eip.origin))
    contested = {conflict.address for conflict in found}
    return found + [c for c in _foreign(plan, eips, answered, gateways) if c.address not in contested]


def _eips(plan: NodePlan) -> list[FloatingAddress]:
    return sorted((a for a in plan.floating() if a.device != TUNNEL_DEVICE), key=lambda a: a.address)


def _misplaced(kernel: Kernel, eips: Iterable[FloatingAddress]) -> list[OwnerConflict]:
    """EIPs that the node has and keepalived did not put there: on another device, or with a subnet."""
    there = {
        (a["local"], "%s/%s on %s" % (a["local"], a.get("prefixlen"), device))
        for device, link in kernel.links().items()
        for a in link.get("addr_info", ())
        if "local" in a
    }
    right = {"%s/%d on %s" % (e.address, 128 if ":" in e.address else 32, e.device) for e in eips}
    return [
        OwnerConflict(eip.address, "an address of this node's own:", (text,), eip.origin)
        for eip in eips
        for address, text in sorted(there)
        if address == eip.address and text not in right
    ]


def _asked(plan: NodePlan, eips: Iterable[FloatingAddress]) -> tuple[Mapping[str, frozenset[str]], frozenset[str]]:
    """Who answers for each EIP, and the MAC addresses of the other gateways, which are asked along with it."""
    devices = sorted({eip.device for eip in eips})
    peers = plan.gateway.peers if plan.gateway else ()
    found: dict[str, frozenset[str]] = {}
    gateways: set[str] = set()
    for device in devices:
        wanted = [eip.address for eip in eips if eip.device == device]
        answered = answers(device, [*wanted, *peers])
        found.update({address: answered[address] for address in wanted if address in answered})
        gateways.update(mac for peer in peers for mac in answered.get(peer, ()))
    return found, frozenset(gateways)


def _foreign(
    plan: NodePlan, eips: Iterable[FloatingAddress], answered: Mapping[str, frozenset[str]], gateways: frozenset[str]
) -> list[OwnerConflict]:
    """On the uplink alone: on another device the gateways may have other MAC addresses than those that are known."""
    found = []
    for eip in eips:
        others = answered.get(eip.address, frozenset()) - gateways
        if others and eip.device == plan.kernel.interface:
            found.append(
                OwnerConflict(eip.address, "held by a host that is no gateway:", tuple(sorted(others)), eip.origin)
            )
    return found
