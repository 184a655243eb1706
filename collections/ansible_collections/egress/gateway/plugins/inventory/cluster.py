# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)

from __future__ import annotations

DOCUMENTATION = r"""
---
name: cluster
short_description: The nodes of a cluster, from what the egress compiler reads or writes
version_added: "0.1.0"
description:
  - Hosts are the nodes, by their names in Kubernetes. C(ansible_host) is the address that a node's tunnel runs over,
    as a rule its first InternalIP.
  - Node objects that are no Linux hosts are left out, such as those of Windows, virtual-kubelet and Fargate, those with
    the label C(egress=unmanaged) or C(egressgateway.spidernet.io/unmanaged), and nodes without an address.
  - The group C(egress_gateways) has the nodes that an EgressGateway selects, C(egress_workers) all others, and one
    group C(egw_NAME) for each EgressGateway its nodes. In NAME every C(-) is C(_), and every C(.) is C(__).
  - The group C(changed) has the nodes whose part of O(bundle) is another than in O(against), or is not there. Without
    O(bundle) it has all nodes.
  - The group C(removed) has the nodes of O(against) that are gone. They are in no other group, and have
    C(ansible_host) where O(against) is a whole bundle.
  - Either O(bundle), or O(cluster) and O(policies), must be given. With both, hosts and groups come from O(cluster)
    and O(policies), which know the nodes' labels and need no compile before; O(bundle) then counts for C(changed)
    only, and may be missing.
  - Variables of a host beside the inventory, such as those that the playbook C(egress.gateway.facts) writes, win over
    what this plugin sets.
  - The sources are files on the controller and read in an instant, so nothing is cached.
options:
  plugin:
    description: Marks the file as one of this plugin.
    type: str
    required: true
    choices: [egress.gateway.cluster]
  bundle:
    description:
      - Directory that the compiler wrote, or will write.
      - The variable C(egress_bundle) is set to it, so that the playbooks take it from there.
      - A relative path starts from the inventory file. So do all others.
    type: str
  cluster:
    description:
      - Files and directories with the cluster's objects.
      - C(kubectl get -o json) and C(egress-compiler snapshot) write them.
    type: list
    elements: str
  policies:
    description: Files and directories with EgressGateways. Policies in them are checked and do not count otherwise.
    type: list
    elements: str
  settings:
    description:
      - The compiler's settings file, for O(cluster) and O(policies). It may name nodes that are no hosts
        (C(unmanagedNodes)), and nodes' addresses (C(nodeAddresses)).
    type: str
  lock:
    description:
      - The compiler's lock file, for O(cluster) and O(policies). It knows the family that the tunnels run over, and
        EIPs that a node reports as if they were its own.
      - Without it, C(egress.lock.json) beside the policies.
    type: str
  against:
    description:
      - What the nodes have, for the groups C(changed) and C(removed); a bundle or its C(manifest.json), such as that of
        the revision that was applied last.
      - If there is nothing at the path, as before the first apply, all nodes are changed.
    type: str
    env:
      - name: EGRESS_AGAINST
extends_documentation_fragment:
  - constructed
requirements:
  - the Python package egress-compiler on the controller, for O(cluster) and O(policies)
seealso:
  - module: egress.gateway.compile
  - module: egress.gateway.apply
author:
  - The egress-compiler authors (@egress-compiler)
"""

EXAMPLES = r"""
---
# The nodes of a compiled bundle: nothing else is needed.
plugin: egress.gateway.cluster
bundle: bundle
---
# From the sources, also before the first compile, with what Ansible has to know about the nodes.
plugin: egress.gateway.cluster
cluster: [cluster.json]
policies: [policies]
bundle: bundle
against: applied.json # git show deployed:bundle/manifest.json > applied.json
compose:
  ansible_user: "'ops'"
  egress_interface: "'bond0' if egress_role == 'gateway' else 'eth0'"
keyed_groups:
  - key: egress_node_labels['topology.kubernetes.io/zone']
    prefix: zone
groups:
  dedicated: "'node-role.kubernetes.io/egress' in egress_node_labels"
"""

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError, AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin, Constructable

from ansible_collections.egress.gateway.plugins.plugin_utils.nodes import Node, digests, of_bundle, of_cluster, of_plan

GATEWAYS = "egress_gateways"
WORKERS = "egress_workers"
CHANGED = "changed"
REMOVED = "removed"


class InventoryModule(BaseInventoryPlugin, Constructable):
    NAME = "egress.gateway.cluster"

    def verify_file(self, path: str) -> bool:
        return bool(super().verify_file(path)) and path.endswith((".yml", ".yaml"))

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = True) -> None:
        super().parse(inventory, loader, path, cache)
        self._refuse_unknown(self._read_config_data(path))
        try:
            self._fill(Path(path).absolute().parent)
        except AnsibleParserError:
            raise
        except AnsibleError as error:
            raise AnsibleParserError(str(error)) from None

    def _refuse_unknown(self, given: Mapping[str, Any]) -> None:
        """Ansible itself passes over an option that it does not know."""
        known = sorted(self.get_options())
        for option in given:
            if option not in known:
                near = difflib.get_close_matches(str(option), known, 1)
                hint = ": did you mean %r?" % near[0] if near else ", there are: " + ", ".join(known)
                raise AnsibleParserError("there is no option %r%s" % (option, hint))

    def _fill(self, base: Path) -> None:
        bundle, against = self._path("bundle", base), self._path("against", base)
        nodes = self._nodes(base, bundle)
        now = digests(bundle) if bundle and bundle.exists() else {}
        before = digests(against) if against and against.exists() else {}
        for group in (
            GATEWAYS,
            WORKERS,
            CHANGED,
            REMOVED,
            *sorted({g for n in nodes for g in map(_group, n.gateways)}),
        ):
            self.inventory.add_group(group)
        if bundle:
            self.inventory.set_variable("all", "egress_bundle", str(bundle))
        for node in nodes:
            changed = node.name not in now or now[node.name] != before.get(node.name)
            self._add(node, changed, now.get(node.name))
        for name in sorted(set(before) - {node.name for node in nodes}):
            self.inventory.add_host(name, group=REMOVED)
            if against and against.is_dir():
                self.inventory.set_variable(name, "ansible_host", of_plan(against, name).address)

    def _nodes(self, base: Path, bundle: Path | None) -> list[Node]:
        cluster, policies = self._paths("cluster", base), self._paths("policies", base)
        if cluster and policies:
            return of_cluster(policies, cluster, self._path("settings", base), self._path("lock", base))
        if cluster or policies:
            raise AnsibleParserError("'cluster' and 'policies' only work together: which nodes are gateways, both say")
        if bundle is None:
            raise AnsibleParserError("give 'bundle', or 'cluster' and 'policies'")
        return of_bundle(bundle)

    def _add(self, node: Node, changed: bool, digest: str | None) -> None:
        groups = [GATEWAYS if node.role == "gateway" else WORKERS, *map(_group, node.gateways), *([CHANGED] * changed)]
        for group in groups:
            self.inventory.add_host(node.name, group=group)
        values = {
            "ansible_host": node.address,
            "egress_role": node.role,
            "egress_gateway_names": list(node.gateways),
            "egress_node_labels": dict(node.labels),
            "egress_digest": digest,
        }
        for key, value in values.items():
            self.inventory.set_variable(node.name, key, value)
        strict = self.get_option("strict")
        self._set_composite_vars(self.get_option("compose"), values, node.name, strict=strict)
        self._add_host_to_composed_groups(self.get_option("groups"), values, node.name, strict=strict)
        self._add_host_to_keyed_groups(self.get_option("keyed_groups"), values, node.name, strict=strict)

    def _path(self, option: str, base: Path) -> Path | None:
        text = self.get_option(option)
        return _from(base, text) if text else None

    def _paths(self, option: str, base: Path) -> list[Path]:
        return [_from(base, text) for text in self.get_option(option) or ()]


def _from(base: Path, text: str) -> Path:
    """As its user would write it: messages and variables show the path."""
    return Path(os.path.normpath(base / Path(text).expanduser()))


def _group(gateway: str) -> str:
    return "egw_" + gateway.replace("-", "_").replace(".", "__")
