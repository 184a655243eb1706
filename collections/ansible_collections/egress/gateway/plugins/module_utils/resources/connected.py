# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""The routes that the kernel makes of the tunnel device's addresses: without them no next hop on it can be added."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_interface

from ansible_collections.egress.gateway.plugins.module_utils.contract.names import TUNNEL_DEVICE
from ansible_collections.egress.gateway.plugins.module_utils.contract.plan import FAMILIES, NodePlan
from ansible_collections.egress.gateway.plugins.module_utils.kernel.command import NodeError, batch
from ansible_collections.egress.gateway.plugins.module_utils.kernel.reading import Kernel
from ansible_collections.egress.gateway.plugins.module_utils.resources.key import Key
from ansible_collections.egress.gateway.plugins.module_utils.resources.resource import Change, Item, Items, Resource

_KERNEL = 2
"""RTPROT_KERNEL of linux/rtnetlink.h."""


class Connected(Resource):
    """They come with an address and go with it; only one that somebody took away while that stays has to be made."""

    def __init__(self, kernel: Kernel, plan: NodePlan | None) -> None:
        self._kernel = kernel
        addresses = map(ip_interface, plan.kernel.tunnel.addresses) if plan else ()
        subnets = (one for one in addresses if one.network.num_addresses > 1)  # a single address has none
        self._wanted = {_key(str(one.network)): one for one in subnets}

    def forget(self) -> None:
        self._kernel.forget()

    def desired(self) -> Items:
        here = self._kernel.addresses() if self._wanted else ()
        return {k: Item("present", "the tunnel") for k, one in self._wanted.items() if str(one.ip) in here}

    def actual(self) -> Items:
        there = {_key(destination) for destination in self._kernel.connected()} if self._wanted else set()
        return {k: Item("present") for k in self.desired() if k in there}

    def fix(self, changes: Sequence[Change]) -> NodeError | None:
        errors = []
        for family in FAMILIES:
            lines = []
            for address in (self._wanted[change.key] for change in changes):
                if address.version == family:
                    rest = "scope link src %s" % address.ip if family == 4 else "metric 256"
                    lines.append(
                        "route replace %s dev %s protocol %d %s" % (address.network, TUNNEL_DEVICE, _KERNEL, rest)
                    )
            errors.append(batch(["ip", "-%d" % family], lines))
        return next((e for e in errors if e is not None), None)


def _key(destination: str) -> Key:
    return Key.of("connected route", destination, TUNNEL_DEVICE)
