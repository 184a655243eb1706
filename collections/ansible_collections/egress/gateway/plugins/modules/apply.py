#!/usr/bin/python
# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)

from __future__ import annotations

DOCUMENTATION = r"""
---
module: apply
short_description: Bring a node to its egress gateway bundle, or remove all of it
version_added: "0.1.0"
description:
  - Reads what the node's kernel holds, computes the difference to the node's plan object by object, checks everything
    that can be checked first, makes the changes in an order that neither leaks nor cuts traffic, and reads again.
  - When a step or the final comparison fails, the node goes back to the bundle that it had before.
  - Everything happens in one module call, so there is one round trip for each node.
  - A run that finds nothing to do touches nothing, neither counters nor sessions.
  - What is managed is the nftables table C(inet egress_gateway), routes of protocol 213 in tables from 3000, rules with
    that protocol or with preference 98 or 99 and the product's mark mask, the device C(egress.vxlan), the directory
    C(/etc/egress-gateway), the sysctls of the plan, keepalived with that directory's configuration, and the systemd
    units C(egress-gateway.service) and C(egress-gateway-keepalived.service). Nothing else is changed.
options:
  bundle:
    description:
      - Directory on the controller that the compiler wrote.
      - A relative path starts from the directory in which Ansible was started.
      - Required when O(state=present).
    type: path
  node:
    description:
      - Name of the node in the bundle.
      - The default is the variable C(egress_node_name) if it is set, else C(inventory_hostname).
    type: str
  state:
    description:
      - With V(present) the node gets what its bundle says.
      - With V(absent) nothing of the product remains; sysctls go back to what they were before the first run.
    type: str
    choices: [present, absent]
    default: present
  service_manager:
    description:
      - How keepalived is run, and whether systemd units restore the node at boot.
      - V(auto) means V(systemd) if C(/run/systemd/system) exists, else V(direct).
      - With V(direct) no unit is written, and keepalived is started as a daemon.
    type: str
    choices: [auto, systemd, direct]
    default: auto
  payload:
    description:
      - The node's files. The action plugin fills it in; do not set it.
    type: str
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  platform:
    platforms: linux
requirements:
  - root on the node
  - nftables, iproute2 5.10 or later, util-linux
  - keepalived 2.2 or later on gateways
seealso:
  - module: egress.gateway.compile
  - module: egress.gateway.verify
author:
  - The egress-compiler authors (@egress-compiler)
"""

EXAMPLES = r"""
- name: Bring the node to its bundle
  egress.gateway.apply:
    bundle: bundle
  become: true

- name: Take everything away again
  egress.gateway.apply:
    state: absent
  become: true
"""

RETURN = r"""
changes:
  description:
    - Every object that differed from the plan, in the order of application. In check mode those that would be changed.
  returned: always
  type: list
  elements: dict
  contains:
    object:
      description: The object, such as C(rule ipv4 preference 99 fwmark 0x26000001/0xff003fff).
      type: str
    action:
      description: One of C(create), C(modify), C(remove).
      type: str
    before:
      description: What it was; null if it was not there.
      type: str
    after:
      description: What it is now; null if it is gone.
      type: str
    origin:
      description: The policy, slot or node that the object comes from.
      type: str
rolled_back:
  description: Whether a failure was answered by restoring what the node had before.
  returned: always
  type: bool
digest:
  description: Digest of the node's files according to the bundle's manifest.
  returned: when O(state=present)
  type: str
failed_command:
  description: The command that failed, with its exit status and messages; null if the failure was no command's.
  returned: on failure
  type: dict
  contains:
    argv:
      description: The program and its arguments.
      type: list
      elements: str
    line:
      description: The failing line, if the program read several.
      type: str
    status:
      description: Exit status; null if it took too long.
      type: int
    stderr:
      description: What it said.
      type: str
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.egress.gateway.plugins.module_utils import task
from ansible_collections.egress.gateway.plugins.module_utils.bundle import unpack
from ansible_collections.egress.gateway.plugins.module_utils.command import NodeError
from ansible_collections.egress.gateway.plugins.module_utils.node import Paths
from ansible_collections.egress.gateway.plugins.module_utils.report import result
from ansible_collections.egress.gateway.plugins.module_utils.transaction import apply


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "bundle": {"type": "path"},
            "node": {"type": "str"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "service_manager": {"type": "str", "choices": ["auto", "systemd", "direct"], "default": "auto"},
            "payload": {"type": "str"},
        },
        required_if=[("state", "present", ["payload"])],
        supports_check_mode=True,
    )
    task.require_root(module)
    paths = Paths()
    try:
        wanted = unpack(module.params["payload"]) if module.params["state"] == "present" else None
        outcome = apply(paths, task.service(module), wanted, check_only=module.check_mode)
    except (NodeError, OSError) as error:
        command = getattr(error, "failed_command", None)
        task.fail(module, msg=str(error), changes=[], rolled_back=False, failed_command=command)
        return
    for warning in outcome.warnings:
        module.warn(warning)
    values = result(outcome, paths, wanted.files if wanted else {}, module._diff)
    if outcome.error is not None:
        task.fail(module, **values)
    else:
        task.succeed(module, **values)


if __name__ == "__main__":
    main()
