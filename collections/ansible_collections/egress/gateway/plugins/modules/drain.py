#!/usr/bin/python
# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)

from __future__ import annotations

DOCUMENTATION = r"""
---
module: drain
short_description: Empty a gateway node before maintenance, or take it back
version_added: "0.1.0"
description:
  - Gives the node the lowest VRRP priority in every slot. The other gateways take over its egress IPs, each slot by the
    next one in its order, before the node lets go of them.
  - The node keeps its configuration. When all other gateways are gone it takes over again.
  - The state is a file, C(/etc/egress-gateway/drained), which keepalived watches. It survives a reboot,
    M(egress.gateway.apply) leaves it alone, and M(egress.gateway.verify) tells about it.
  - With C(preempt=false) in the compiler's settings a drained node holds no address at all, not even as the last one,
    and an active one gets its addresses back when somebody else lets go of them.
options:
  state:
    description:
      - With V(drained) the task ends when the node holds no egress IP any more. If no other gateway takes them over,
        the drain is undone and the task fails.
      - With V(active) the node takes part again. Its addresses come back by themselves within a second.
    type: str
    choices: [drained, active]
    default: drained
  wait:
    description: Seconds to wait until the node's addresses are gone.
    type: float
    default: 10.0
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
  - module: egress.gateway.verify
author:
  - The egress-compiler authors (@egress-compiler)
"""

EXAMPLES = r"""
- name: Let the other gateways have the node's addresses
  egress.gateway.drain:
  become: true

- name: Take the node back
  egress.gateway.drain:
    state: active
  become: true
"""

RETURN = r"""
drained:
  description: Whether the node is drained now. In check mode whether it would be.
  returned: success
  type: bool
held:
  description: The egress IPs and tunnel addresses that the node holds at the end of the task.
  returned: success
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.egress.gateway.plugins.module_utils import task
from ansible_collections.egress.gateway.plugins.module_utils.drain import drain
from ansible_collections.egress.gateway.plugins.module_utils.kernel.command import NodeError
from ansible_collections.egress.gateway.plugins.module_utils.node import Paths
from ansible_collections.egress.gateway.plugins.module_utils.undo import lock


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["drained", "active"], "default": "drained"},
            "wait": {"type": "float", "default": 10.0},
        },
        supports_check_mode=True,
    )
    task.require_root(module)
    wanted = module.params["state"] == "drained"
    paths = Paths()
    try:
        if module.check_mode:
            done = drain(paths, wanted, module.params["wait"], check_only=True)
        else:
            with lock.held(paths):
                done = drain(paths, wanted, module.params["wait"], check_only=False)
    except (NodeError, OSError) as error:
        task.fail(module, msg=str(error), failed_command=getattr(error, "failed_command", None))
        return
    task.succeed(module, changed=done.changed, drained=wanted, held=list(done.held))


if __name__ == "__main__":
    main()
