#!/usr/bin/python
# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)

from __future__ import annotations

DOCUMENTATION = r"""
---
module: compile
short_description: Compile egress policies into a bundle of node files
version_added: "0.1.0"
description:
  - Runs the egress-compiler on the controller. The bundle and the lock file are written only where they differ.
  - All errors of the input are reported at once, each with file, line and column.
options:
  policies:
    description: Policy files and directories.
    type: list
    elements: path
    required: true
  cluster:
    description: Files or directories with the cluster's objects, as C(kubectl get -o json) writes them.
    type: list
    elements: path
    required: true
  inventory:
    description: Inventory file with the nodes' interfaces.
    type: path
  settings:
    description: Settings file.
    type: path
  lock:
    description: Lock file that keeps allocations stable between runs. It is read and written.
    type: path
  out:
    description: Directory of the bundle.
    type: path
    required: true
notes:
  - Relative paths start from the directory in which Ansible was started.
  - Runs on the controller whatever the host is; use it with C(run_once) and C(delegate_to) localhost.
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  platform:
    platforms: all
requirements:
  - the Python package egress-compiler in Ansible's own Python on the controller
seealso:
  - module: egress.gateway.apply
author:
  - The egress-compiler authors (@egress-compiler)
"""

EXAMPLES = r"""
- name: Compile the policies
  egress.gateway.compile:
    policies:
      - policies
    cluster:
      - cluster.json
    lock: egress.lock.json
    out: bundle
  delegate_to: localhost
  run_once: true
"""

RETURN = r"""
diagnostics:
  description: Warnings, and on failure errors too, as data.
  returned: always
  type: list
  elements: dict
files:
  description: Paths that were written or removed. In check mode those that would be.
  returned: success
  type: list
  elements: str
nodes:
  description: Nodes whose files changed.
  returned: success
  type: list
  elements: str
"""
