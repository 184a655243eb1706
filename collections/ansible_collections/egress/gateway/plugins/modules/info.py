#!/usr/bin/python
# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)

from __future__ import annotations

DOCUMENTATION = r"""
---
module: info
short_description: Tell what the egress compiler has to know about a node
version_added: "0.1.0"
description:
  - Reads interfaces, addresses, MTUs and versions. Changes nothing and needs no root.
options:
  address:
    description:
      - An address of the node, such as its InternalIP in Kubernetes. The device that has it is the uplink.
      - Without it, and where no device has it, the uplink is the device of the default route.
    type: str
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
  - ansible.builtin.action_common_attributes.facts
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  platform:
    platforms: linux
  facts:
    support: full
author:
  - The egress-compiler authors (@egress-compiler)
"""

EXAMPLES = r"""
- name: Read the node's interfaces
  egress.gateway.info:

- name: Show the device that the tunnel will run over
  egress.gateway.info:
    address: "{{ ansible_host }}"
  register: node

- name: Say when it is another than that of the default route
  ansible.builtin.debug:
    msg: "{{ node.egress_info.uplink.interface }}, not {{ node.egress_info.default_interface }}"
"""

RETURN = r"""
egress_info:
  description: What was found. Set as the fact C(egress_info), too.
  returned: success
  type: dict
  contains:
    uplink:
      description:
        - The uplink's C(interface), its C(mtu), and the C(cidrs) that it is in.
        - C(gateways) has the next hop by family (C(ipv4), C(ipv6)) where the default route is by another device, if the
          node has one route, or default route, by this one.
      type: dict
    default_interfaces:
      description:
        - The device of the default route by family (C(ipv4), C(ipv6)); the uplink where that is one of several.
      type: dict
    interfaces:
      description: Every device with its C(name), C(mtu), C(state), C(mac) and global C(addresses) with prefix length.
      type: list
      elements: dict
    default_interface:
      description: The device of the default route, IPv4 before IPv6; empty if there is none.
      type: str
    default_mtu:
      description: The MTU of that device; null if there is none.
      type: int
    drained:
      description: Whether M(egress.gateway.drain) has emptied the node.
      type: bool
    following:
      description:
        - What the node's follower says of itself, as in M(egress.gateway.verify); null where none runs.
      type: dict
    versions:
      description: Of C(kernel), C(iproute2), C(nftables), C(keepalived), C(conntrackd), C(python); null if missing.
      type: dict
    too_old:
      description: What every node needs and is older than it may be, in words with the version that does.
      type: list
      elements: str
    too_old_gateway:
      description: The same of what gateways need on top of that.
      type: list
      elements: str
    missing_tools:
      description: Programs that every node needs and that are not there.
      type: list
      elements: str
    missing_gateway_tools:
      description: Programs that gateways need on top of that and that are not there.
      type: list
      elements: str
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.egress.gateway.plugins.module_utils.checks.facts import node_info
from ansible_collections.egress.gateway.plugins.module_utils.kernel.command import NodeError


def main() -> None:
    module = AnsibleModule(argument_spec={"address": {"type": "str"}}, supports_check_mode=True)
    try:
        found = node_info(module.params["address"])
    except NodeError as error:
        module.fail_json(msg=str(error), failed_command=error.failed_command)
        return
    module.exit_json(changed=False, egress_info=found, ansible_facts={"egress_info": found})


if __name__ == "__main__":
    main()
