# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)

from __future__ import annotations

DOCUMENTATION = r"""
---
name: batches
short_description: Sizes of batches of gateways, for a play's serial
version_added: "0.1.0"
description:
  - Cuts gateways, in the order of their names, into batches such that no batch holds all gateways of one EgressGateway.
    An EgressGateway with one gateway cannot be helped.
  - The first batch is one gateway, so that what is wrong shows there first.
positional: groups
options:
  _input:
    description: The hosts of the play.
    type: list
    elements: str
    required: true
  groups:
    description:
      - The variable C(groups). What counts is each group C(egw_NAME), as the inventory plugin makes them.
      - Without such groups all gateways are taken for those of one EgressGateway.
    type: dict
    required: true
  largest:
    description: The most hosts in a batch, as a number or a percentage of all.
    type: str
    default: 50%
seealso:
  - plugin: egress.gateway.cluster
    plugin_type: inventory
author:
  - The egress-compiler authors (@egress-compiler)
"""

EXAMPLES = r"""
- name: Restart something on the gateways
  hosts: egress_gateways
  order: sorted # the filter counts in this order
  serial: "{{ ansible_play_hosts_all | intersect(groups['egress_gateways']) | egress.gateway.batches(groups) }}"
  any_errors_fatal: true
  tasks:
    - name: Reboot
      ansible.builtin.reboot:
      become: true
"""

RETURN = r"""
_value:
  description: Numbers of hosts.
  type: list
  elements: int
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.egress.gateway.plugins.plugin_utils.batches import batches


def of_groups(hosts: Sequence[str], groups: Mapping[str, Sequence[str]], largest: int | str = "50%") -> list[int]:
    teams = [members for name, members in groups.items() if name.startswith("egw_")]
    return batches(hosts, teams or [groups.get("egress_gateways", hosts)], largest)


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"batches": of_groups}
