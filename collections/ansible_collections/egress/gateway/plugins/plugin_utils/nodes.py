# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""Who the nodes are, for the inventory: from a bundle, or from the cluster's objects and the policies."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ansible.errors import AnsibleParserError

from ansible_collections.egress.gateway.plugins.module_utils.contract.reading import DamagedPlan, read_plan
from ansible_collections.egress.gateway.plugins.plugin_utils.handover import read_manifest

try:
    from egress_compiler.diagnostics import InvalidInput, as_text
    from egress_compiler.net import format_address
    from egress_compiler.pipeline import Inputs, inventory_hosts

    MISSING = None
except ImportError as error:
    MISSING = error

_NODE = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")


@dataclass(frozen=True)
class Node:
    """A node as the inventory shows it; ``gateways`` are the EgressGateways that it serves, sorted."""

    name: str
    role: str
    address: str
    gateways: tuple[str, ...]
    labels: Mapping[str, str]


def of_cluster(
    policies: Sequence[Path], cluster: Sequence[Path], settings: Path | None, lock: Path | None
) -> list[Node]:
    """The nodes that are hosts, sorted by name.

    AnsibleParserError with all that is wrong, and where the compiler is not installed.
    """
    if MISSING is not None:
        raise AnsibleParserError(
            "'policies' and 'cluster' need the Python package egress-compiler where Ansible runs (%s); "
            "a 'bundle' alone does without" % MISSING
        )
    try:
        hosts = inventory_hosts(Inputs(tuple(policies), tuple(cluster), settings=settings, lock=lock))
    except InvalidInput as error:
        raise AnsibleParserError("\n".join(as_text(diagnostic) for diagnostic in error.diagnostics)) from None
    return [
        Node(host.node.name, _role(bool(host.gateways)), format_address(*host.address), host.gateways, host.node.labels)
        for host in hosts
    ]


def of_bundle(bundle: Path) -> list[Node]:
    """Sorted by name. AnsibleParserError when it is not there, or not as the compiler writes it."""
    return [of_plan(bundle, name) for name in sorted(digests(bundle))]


def digests(bundle: Path) -> dict[str, str]:
    """Node to digest, as a bundle's manifest has them; ``bundle`` may be the manifest itself."""
    try:
        nodes = read_manifest(bundle)["nodes"]
        found = {str(name): str(entry["digest"]) for name, entry in nodes.items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise AnsibleParserError("%s is no bundle that the compiler wrote" % bundle) from error
    strange = [name for name in found if not _NODE.fullmatch(name)]
    if strange:
        raise AnsibleParserError("%s: %r is not possible as the name of a node" % (bundle, strange[0]))
    return found


def of_plan(bundle: Path, name: str) -> Node:
    """A node of the bundle; AnsibleParserError as above."""
    path = bundle / "nodes" / name / "plan.json"
    try:
        plan = read_plan(path.read_text(encoding="utf-8"), None)
    except OSError as error:
        raise AnsibleParserError("%s: %s: compile again" % (path, error.strerror)) from error
    except (ValueError, DamagedPlan) as error:
        raise AnsibleParserError("%s is not as the compiler wrote it: compile again" % path) from error
    gateways = {membership.gateway for membership in plan.gateway.memberships} if plan.gateway else set()
    if not all(_NODE.fullmatch(gateway) for gateway in gateways):
        raise AnsibleParserError("%s is not as the compiler wrote it: compile again" % path)
    return Node(name, plan.role, plan.kernel.tunnel.underlay, tuple(sorted(gateways)), {})


def _role(gateway: bool) -> str:
    return "gateway" if gateway else "worker"
