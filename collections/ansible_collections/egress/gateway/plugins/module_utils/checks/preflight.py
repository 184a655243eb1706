# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""What can be known to fail before anything is touched."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence

from ansible_collections.egress.gateway.plugins.module_utils.bundle import NodeBundle, mode
from ansible_collections.egress.gateway.plugins.module_utils.checks import conflicts, eip_owners
from ansible_collections.egress.gateway.plugins.module_utils.checks.facts import too_old, version
from ansible_collections.egress.gateway.plugins.module_utils.contract.names import (
    CONNTRACKD,
    KEEPALIVED,
    OWN_DEVICES,
    TUNNEL_DEVICE,
    TUNNEL_OVERHEAD,
)
from ansible_collections.egress.gateway.plugins.module_utils.contract.order import sysctl_phase
from ansible_collections.egress.gateway.plugins.module_utils.contract.plan import NodePlan
from ansible_collections.egress.gateway.plugins.module_utils.firewall import host_firewall_accepts
from ansible_collections.egress.gateway.plugins.module_utils.kernel.command import NodeError, find, run
from ansible_collections.egress.gateway.plugins.module_utils.kernel.reading import Kernel
from ansible_collections.egress.gateway.plugins.module_utils.node import Paths
from ansible_collections.egress.gateway.plugins.module_utils.resources.files import file_key
from ansible_collections.egress.gateway.plugins.module_utils.resources.keepalived import KEEPALIVED_KEY
from ansible_collections.egress.gateway.plugins.module_utils.resources.resource import Change

KEEPALIVED_PROGRAM = "keepalived"

_ASKED = ("nftables", "iproute2", KEEPALIVED_PROGRAM)

_CHECK_KEEPALIVED = (
    "mount -t tmpfs egress-gateway /run && cd /run && tar -x -f - && while [ $# -gt 0 ]; do "
    'ip link add name "$1" type veth peer name "$2" || exit; shift 2; done && exec keepalived -t -f /run/%s'
    % KEEPALIVED
)


def require_tools(bundle: NodeBundle | None) -> None:
    """NodeError naming every program that is missing for this bundle."""
    files = bundle.files if bundle else {}
    tools = ["ip", "bridge", "nft", "unshare"]
    tools += ["keepalived", "mount", "tar"] if KEEPALIVED in files else []
    tools += ["conntrackd"] if CONNTRACKD in files else []
    missing = [tool for tool in tools if find(tool) is None]
    if missing:
        raise NodeError("not installed on this node: %s" % ", ".join(missing))


def check(
    bundle: NodeBundle, before: NodePlan | None, kernel: Kernel, paths: Paths, changes: Sequence[Change]
) -> list[str]:
    """Warnings. NodeError when the changes cannot succeed. Touches nothing."""
    _check_versions(bundle)
    _check_interfaces(bundle.plan, kernel)
    _check_sysctls(bundle.plan, paths)
    warnings = _check_conflicts(bundle.plan, before, kernel, changes)
    # nftables.nft has been loaded already, into a namespace of its own, to be compared: that says more than nft -c.
    reads_again = (KEEPALIVED_KEY, file_key(paths.file(KEEPALIVED)))
    if KEEPALIVED in bundle.files and any(change.key in reads_again for change in changes):
        _check_keepalived(bundle, paths)
    eip_owners.require_free(bundle.plan, before)
    warnings += _mtu_warnings(bundle.plan, kernel) + _astray(bundle.plan)
    return [*warnings, *conflicts.taken_numbers(bundle.plan), *host_firewall_accepts.locked(bundle.plan)]


def _astray(plan: NodePlan) -> list[str]:
    return [
        "%s (%s) is %s %s, the device of the default route: set egress_uplink_gateways in the inventory, "
        "playbooks/facts.yml finds it where the node has a route by %s"
        % (first.address, first.origin, first.problem, first.seen[0], plan.kernel.interface)
        for first in eip_owners.astray(plan)[:1]
    ]


def _check_conflicts(plan: NodePlan, before: NodePlan | None, kernel: Kernel, changes: Sequence[Change]) -> list[str]:
    """What was in the way of the plan ``before`` already is warned of: to refuse would leave worse things broken."""
    to_make = {change.key for change in changes if change.action != "remove"}
    found = conflicts.conflicts(plan, kernel, installed=before is not None)
    known = {c.object for c in conflicts.conflicts(before, kernel, installed=True)} if before and found else set()
    new = [c.text for c in found if c.object not in known or c.forbids in to_make]
    if new:
        raise NodeError("; ".join(new))
    return [c.text for c in found]


def _check_versions(bundle: NodeBundle) -> None:
    """The kernel is not asked for its version: it is the one that loads the table when it is compared."""
    for program in _ASKED:
        if program != KEEPALIVED_PROGRAM or KEEPALIVED in bundle.files:
            for text in too_old(program, version(program)):
                raise NodeError("this node's %s" % text)


def _check_interfaces(plan: NodePlan, kernel: Kernel) -> None:
    links = kernel.links()
    others = ", ".join(sorted(n for n in links if n not in ("lo", *OWN_DEVICES)))
    for uplink in plan.further_uplinks():
        if uplink not in links:
            raise NodeError(
                "the plan of %s uses the further uplink %s, which this node does not have (it has %s): make the device,"
                " or set egress_uplinks in the inventory" % (plan.node, uplink, others)
            )
    if plan.kernel.interface not in links:
        raise NodeError(
            "the plan of %s uses the interface %s, which this node does not have (it has %s): "
            "set egress_interface in the inventory, playbooks/facts.yml finds it"
            % (plan.node, plan.kernel.interface, others)
        )
    if plan.kernel.tunnel.underlay not in kernel.addresses():
        raise NodeError(
            "the plan of %s has the tunnel start from %s, which is no address of this node: is it another node's plan?"
            % (plan.node, plan.kernel.tunnel.underlay)
        )


def _check_sysctls(plan: NodePlan, paths: Paths) -> None:
    missing = [
        s.key for s in plan.kernel.sysctls if sysctl_phase(s.key) == "node" and not (paths.sysctls / s.key).exists()
    ]
    if missing:
        raise NodeError("this kernel has no sysctl %s" % ", ".join(missing))


def _check_keepalived(bundle: NodeBundle, paths: Paths) -> None:
    """By keepalived itself, in a copy in which each file has its place in a directory that ends with the check.

    keepalived wants the interfaces to exist, which the tunnel device may not do yet: it gets a network namespace that
    has them. Files and devices are gone with the last process, whatever ends it.
    """
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, text in bundle.files.items():
            moved = text.replace("%s/" % paths.config, "/run/") if name == KEEPALIVED else text
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(moved.encode()), mode(text)
            tar.addfile(member, io.BytesIO(moved.encode()))
    devices = [bundle.plan.kernel.interface, TUNNEL_DEVICE, *bundle.plan.further_uplinks()]
    devices += ["egress.check"] * (len(devices) % 2)  # they come in pairs
    words = ["unshare", "--net", "--mount", "sh", "-c", _CHECK_KEEPALIVED, "keepalived-check"]
    run([*words, *devices], archive.getvalue())


def _mtu_warnings(plan: NodePlan, kernel: Kernel) -> list[str]:
    overhead = TUNNEL_OVERHEAD[6 if ":" in plan.kernel.tunnel.underlay else 4]
    uplink = int(kernel.links()[plan.kernel.interface].get("mtu", 0))
    if plan.kernel.tunnel.mtu + overhead <= uplink:
        return []
    return [
        "the tunnel's MTU %d does not fit into that of %s: %d - %d for VXLAN; set egress_mtu: %d in the inventory"
        % (plan.kernel.tunnel.mtu, plan.kernel.interface, uplink, overhead, uplink)
    ]
