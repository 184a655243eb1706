#!/usr/bin/python
# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)

from __future__ import annotations

DOCUMENTATION = r"""
---
module: verify
short_description: Compare a node's kernel with its egress gateway plan
version_added: "0.1.0"
description:
  - Reads the same objects that M(egress.gateway.apply) manages and reports each one that differs from the plan, with
    the policy, slot or node that it comes from.
  - Changes nothing, takes no lock, and can be run at any time.
  - Addresses that keepalived moves between gateways are no drift where keepalived is master of their slot, and all of
    them are there; nor is a node that was drained.
  - A node that follows its pods asks the cluster's API once, too, with the follower's credential. Pods that are in
    force and should not be, or the other way round, are drift, and so is a follower that does not run.
options:
  bundle:
    description:
      - Directory on the controller that the compiler wrote. The node is compared with it, files included.
      - Without it the node is compared with the plan that it holds in C(/etc/egress-gateway).
      - A relative path starts from the directory in which Ansible was started.
    type: path
  node:
    description:
      - Name of the node in the bundle.
      - The default is the variable C(egress_node_name) if it is set, else C(inventory_hostname).
    type: str
  fail_on_drift:
    description: Whether drift or a conflict makes the task fail.
    type: bool
    default: true
  service_manager:
    description:
      - As in M(egress.gateway.apply).
    type: str
    choices: [auto, systemd, direct]
    default: auto
  probe_owners:
    description:
      - Whether a gateway asks its segment who answers for the egress IPs, by ARP and neighbour discovery.
      - Each must have one owner, a gateway. While gateways change places the question is repeated, for up to five
        seconds.
    type: bool
    default: true
  command_timeout:
    description:
      - As in M(egress.gateway.apply).
    type: int
    default: 60
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
    support: none
  platform:
    platforms: linux
requirements:
  - root on the node
seealso:
  - module: egress.gateway.apply
author:
  - The egress-compiler authors (@egress-compiler)
"""

EXAMPLES = r"""
- name: Compare the node with the bundle
  egress.gateway.verify:
    bundle: bundle
  become: true

- name: Report drift without failing
  egress.gateway.verify:
    fail_on_drift: false
  become: true
  register: verified
"""

RETURN = r"""
drift:
  description: Every object that differs from the plan; empty if there is none.
  returned: always
  type: list
  elements: dict
  contains:
    object:
      description: The object, such as C(element 10.42.1.7 of map steer4).
      type: str
    expected:
      description: What the plan says; null if the object should not be there.
      type: str
    actual:
      description: What the node has; null if the object is missing.
      type: str
    origin:
      description: The policy, slot or node that the object comes from.
      type: str
following:
  description:
    - What the node's follower says of itself, null where none runs. C(synced) tells whether what is in force is what
      the API says; C(since) when that began, or the last moment at which it surely was so; C(reason) why it is not.
    - C(pods) are known to it, C(governed) of them have policies, C(changed) was the last change, C(heartbeat) its last
      sign of life. Times are seconds since 1970.
  returned: always
  type: dict
held:
  description: The floating addresses that the node holds now, those of the slots that it is master of.
  returned: always
  type: list
  elements: str
drained:
  description: Whether M(egress.gateway.drain) has emptied the node.
  returned: always
  type: bool
conflicts:
  description:
    - Every egress IP that has no owner, several, or one that is no gateway, and those whose packets leave by another
      device than theirs. No apply on this node can put that right.
    - Empty on workers, and without O(probe_owners).
  returned: always
  type: list
  elements: dict
  contains:
    address:
      description: The egress IP.
      type: str
    problem:
      description: What is wrong, such as C(held by this node and by another host).
      type: str
    seen:
      description: MAC addresses that answer for it, or the device of this node that has it.
      type: list
      elements: str
    origin:
      description: The policies that it is for.
      type: str
confirm_within:
  description: Seconds until the node goes back to what it had before; null if nothing waits for a confirmation.
  returned: always
  type: int
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.egress.gateway.plugins.module_utils import task
from ansible_collections.egress.gateway.plugins.module_utils.bundle import NodeBundle, installed, unpack
from ansible_collections.egress.gateway.plugins.module_utils.checks.conflicts import conflicts, taken_numbers
from ansible_collections.egress.gateway.plugins.module_utils.checks.eip_owners import owner_conflicts
from ansible_collections.egress.gateway.plugins.module_utils.checks.following import following
from ansible_collections.egress.gateway.plugins.module_utils.drain import is_drained
from ansible_collections.egress.gateway.plugins.module_utils.firewall.host_firewall_accepts import locked
from ansible_collections.egress.gateway.plugins.module_utils.kernel.command import NodeError
from ansible_collections.egress.gateway.plugins.module_utils.kernel.reading import Kernel
from ansible_collections.egress.gateway.plugins.module_utils.known import read_known
from ansible_collections.egress.gateway.plugins.module_utils.node import Paths
from ansible_collections.egress.gateway.plugins.module_utils.report import drift
from ansible_collections.egress.gateway.plugins.module_utils.resources.drop_ins import networkd_warnings
from ansible_collections.egress.gateway.plugins.module_utils.resources.keepalived import held
from ansible_collections.egress.gateway.plugins.module_utils.transition import Transition, settled_differences
from ansible_collections.egress.gateway.plugins.module_utils.undo.rollback import seconds_left


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "bundle": {"type": "path"},
            "node": {"type": "str"},
            "fail_on_drift": {"type": "bool", "default": True},
            "service_manager": {"type": "str", "choices": ["auto", "systemd", "direct"], "default": "auto"},
            "probe_owners": {"type": "bool", "default": True},
            "command_timeout": {"type": "int", "default": 60},
            "payload": {"type": "str"},
        },
        supports_check_mode=True,
    )
    task.require_root(module)
    task.limit_commands(module)
    task.forgo_cycle_collection()
    paths = Paths()
    try:

        def read() -> Transition:
            before, wanted = _bundles(paths, module.params["payload"])
            if wanted is None:
                raise NodeError("there is no plan in %s, and no bundle was given" % paths.config)
            return Transition(paths, task.service(module), wanted, before)

        found = drift(settled_differences(read))
        wanted = read().wanted
        follower = following(paths, lambda: read().before)
        found += follower.drift
        wrong = [c.as_dict() for c in owner_conflicts(wanted.plan)] if module.params["probe_owners"] else []
        state = {"drift": found, "conflicts": wrong, "held": held(Kernel(), wanted.plan)}
        state.update(confirm_within=seconds_left(paths), drained=is_drained(paths), following=follower.status)
        in_the_way = (*(c.text for c in conflicts(wanted.plan, Kernel(), installed=True)), *taken_numbers(wanted.plan))
        in_the_way += (*locked(wanted.plan), *follower.warnings)
        in_the_way += (*networkd_warnings(paths, task.service(module)),)
    except (NodeError, OSError) as error:
        task.fail(module, msg=str(error), failed_command=getattr(error, "failed_command", None))
        return
    for warning in in_the_way:
        module.warn(warning)
    if (found or wrong) and module.params["fail_on_drift"]:
        task.fail(module, msg=_story(found, wrong), **state)
    else:
        task.succeed(module, changed=False, **state)


def _bundles(paths: Paths, payload: str | None) -> tuple[NodeBundle | None, NodeBundle | None]:
    """What the node holds, and what is wanted: the same without a payload. With one, a damaged plan is drift."""
    if not payload:
        found = installed(paths)
        return found, found
    wanted = unpack(payload).with_known(read_known(paths))
    try:
        return installed(paths), wanted
    except NodeError:
        return None, wanted


def _story(found: list[dict[str, Any]], wrong: list[dict[str, Any]]) -> str:
    lines = [
        "%s: expected %s, found %s (%s)" % (d["object"], d["expected"] or "none", d["actual"] or "none", d["origin"])
        for d in found[:10]
    ]
    lines += ["and %d more" % (len(found) - 10)] if len(found) > 10 else []
    parts = ["%d objects differ from the plan: %s" % (len(found), "; ".join(lines))] if found else []
    parts += ["%s is %s" % (c["address"], " ".join([c["problem"], *c["seen"]])) for c in wrong]
    return ". ".join(parts)


if __name__ == "__main__":
    main()
