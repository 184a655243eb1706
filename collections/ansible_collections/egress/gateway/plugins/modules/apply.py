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
  - Refuses to start where somebody else's rule, route or device takes what is the product's, and names it. On a node
    that has a plan already it repairs what that plan lacks all the same.
  - Where a firewall of the host refuses what none of its rules accepts, accepts with the comment C(egress-gateway) go
    into its chains (iptables in both variants, ip6tables, other nftables tables), and are all that changes there.
  - What is managed is the nftables table C(inet egress_gateway), routes of protocol 213 in tables from 3000, rules with
    that protocol or with preference 99 and the product's mark mask, the device C(egress.vxlan), the directory
    C(/etc/egress-gateway), the sysctls of the plan, keepalived with that directory's configuration, the agent that
    brings back what others take away, and with systemd the units C(egress-gateway*.service) and drop-ins for
    systemd-networkd and C(nftables.service). Nothing else is changed.
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
      - With V(confirmed) the node stays as it is, if it was about to go back because of O(confirm_timeout).
    type: str
    choices: [present, absent, confirmed]
    default: present
  service_manager:
    description:
      - How keepalived is run, and whether systemd units restore the node at boot.
      - V(auto) means V(systemd) if C(/run/systemd/system) exists, else V(direct).
      - With V(direct) no unit is written, and keepalived is started as a daemon.
    type: str
    choices: [auto, systemd, direct]
    default: auto
  confirm_timeout:
    description:
      - Seconds in which a later task must confirm, with O(state=confirmed). If none does, the node goes back by itself
        to the bundle that it had before, without controller or network. V(0) is without.
      - The time counts from the end of this task. It starts nothing where there is nothing to change.
      - A run without it confirms what an earlier run left to be confirmed. A run with it extends the time, and what the
        node would go back to stays the bundle that was confirmed last.
      - A node that is rebooted before it is confirmed comes up with the bundle that it had before.
    type: int
    default: 0
  connections:
    description:
      - What becomes of open connections that would leave otherwise if they began now.
      - With V(keep) they stay as they are until they close, as far as their address is still there.
        Policies with the annotation C(egressgateway.spidernet.io/connections) set to C(cut) end theirs.
      - With V(cut) they end, and no others. A gateway knows which these are after their pods' nodes, so gateways are to
        be asked once more when workers have ended some. The playbook does that.
      - Connections of a pod whose address belongs to another pod now end in any case.
    type: str
    choices: [keep, cut]
    default: keep
  command_timeout:
    description:
      - Seconds that one command on the node may take. It is ended then, and the node rolled back.
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

- name: Bring the node to its bundle, and let it go back by itself if nobody confirms within two minutes
  egress.gateway.apply:
    bundle: bundle
    confirm_timeout: 120
  become: true

- name: See whether the outside sees the egress IP
  egress.gateway.probe:
    targets:
      - address: 203.0.113.10
        port: 8081
        protocol: tcp
    expect: [192.0.2.66]

- name: Keep it
  egress.gateway.apply:
    state: confirmed
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
warnings:
  description: What is not as it should be and did not stop the run, such as an MTU that does not fit.
  returned: when there are any
  type: list
  elements: str
ended:
  description:
    - Open connections that ended, by source. In check mode those that would.
    - They are no changes, for they come and go by themselves.
  returned: always
  type: list
  elements: dict
  contains:
    source:
      description: Address of the pod.
      type: str
    connections:
      description: How many.
      type: int
    reason:
      description: Why.
      type: str
confirm_within:
  description: Seconds until the node goes back by itself; null if nothing waits for a confirmation.
  returned: success
  type: int
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
from ansible_collections.egress.gateway.plugins.module_utils.bundle import NodeBundle, unpack
from ansible_collections.egress.gateway.plugins.module_utils.kernel.command import NodeError
from ansible_collections.egress.gateway.plugins.module_utils.node import Paths
from ansible_collections.egress.gateway.plugins.module_utils.report import result
from ansible_collections.egress.gateway.plugins.module_utils.transaction import Outcome, apply, confirmed
from ansible_collections.egress.gateway.plugins.module_utils.undo.rollback import seconds_left

_LONGEST = 86400


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "bundle": {"type": "path"},
            "node": {"type": "str"},
            "state": {"type": "str", "choices": ["present", "absent", "confirmed"], "default": "present"},
            "service_manager": {"type": "str", "choices": ["auto", "systemd", "direct"], "default": "auto"},
            "confirm_timeout": {"type": "int", "default": 0},
            "connections": {"type": "str", "choices": ["keep", "cut"], "default": "keep"},
            "command_timeout": {"type": "int", "default": 60},
            "payload": {"type": "str"},
        },
        required_if=[("state", "present", ["payload"])],
        supports_check_mode=True,
    )
    task.require_root(module)
    task.limit_commands(module)
    task.forgo_cycle_collection()
    paths = Paths()
    try:
        wanted = unpack(module.params["payload"]) if module.params["state"] == "present" else None
        outcome = _run(module, paths, wanted)
        left = seconds_left(paths)
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
        task.succeed(module, confirm_within=left, **values)


def _run(module: AnsibleModule, paths: Paths, wanted: NodeBundle | None) -> Outcome:
    check_only = bool(module.check_mode)
    if module.params["state"] == "confirmed":
        return confirmed(paths, check_only)
    seconds = module.params["confirm_timeout"]
    if not 0 <= seconds <= _LONGEST or (seconds and wanted is None):
        raise NodeError("confirm_timeout is for state present, and at most %d seconds" % _LONGEST)
    cut = module.params["connections"] == "cut"
    return apply(paths, task.service(module), wanted, check_only, seconds, cut)


if __name__ == "__main__":
    main()
