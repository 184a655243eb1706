#!/usr/bin/python
# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)

from __future__ import annotations

DOCUMENTATION = r"""
---
module: probe
short_description: Ask an outside echo service which source address it sees
version_added: "0.1.0"
description:
  - Opens one connection to each target and reports the source address that arrives there.
  - The echo service is the one of the egress-compiler.
options:
  targets:
    description: Echo services to ask.
    type: list
    elements: dict
    required: true
    suboptions:
      address:
        description: IPv4 or IPv6 address.
        type: str
        required: true
      port:
        description: Port.
        type: int
        required: true
      protocol:
        description: How to ask.
        type: str
        choices: [tcp, udp, http, websocket]
        default: tcp
  namespace:
    description:
      - Network namespace to ask from, by its name in C(ip netns). Needs root.
      - Without it the host itself asks.
    type: str
  pod:
    description:
      - Pod to ask from, through C(kubectl exec). The task runs where kubectl does, on the controller as a rule.
      - The container needs C(python3). With C(curl) or C(wget) alone it can ask over V(http), and nothing else.
      - Excludes O(namespace).
    type: dict
    suboptions:
      name:
        description: Name of the pod.
        type: str
        required: true
      namespace:
        description: Namespace of the pod in Kubernetes.
        type: str
        default: default
      container:
        description: Container of the pod. The default is kubectl's.
        type: str
      context:
        description: Context of the kubeconfig. The default is the current one.
        type: str
      kubeconfig:
        description: Path of the kubeconfig. The default is kubectl's.
        type: path
      kubectl:
        description: The program.
        type: path
        default: kubectl
  timeout:
    description: Seconds to wait for each answer.
    type: float
    default: 5.0
  expect:
    description:
      - Source addresses that are right. Any other, and no answer, makes the task fail.
      - With one address of each family, targets are judged by theirs.
    type: list
    elements: str
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
attributes:
  check_mode:
    support: full
    details: Asks in check mode too, for it changes nothing.
  diff_mode:
    support: none
  platform:
    platforms: linux
author:
  - The egress-compiler authors (@egress-compiler)
"""

EXAMPLES = r"""
- name: See with which address this host leaves
  egress.gateway.probe:
    targets:
      - address: 203.0.113.10
        port: 7001

- name: Make sure that a pod leaves with its egress IP
  egress.gateway.probe:
    namespace: cni-0f3c8f2e-5c1d-4b7a-9a53-6d1f1f6a0b7e
    targets:
      - address: 203.0.113.10
        port: 7080
        protocol: websocket
      - address: 2001:db8:ffff::10
        port: 7002
        protocol: udp
    expect:
      - 172.22.0.110
      - fd00:172:22::110
  become: true

- name: The same from the controller, through kubectl
  egress.gateway.probe:
    pod:
      namespace: default
      name: visitor-6764bb48cc-29vq9
    targets:
      - address: 203.0.113.10
        port: 7080
        protocol: http
    expect: [172.22.0.110]
  delegate_to: localhost
  run_once: true
"""

RETURN = r"""
results:
  description: One entry for each target, in their order.
  returned: always
  type: list
  elements: dict
  contains:
    address:
      description: The target's address.
      type: str
    port:
      description: The target's port.
      type: int
    protocol:
      description: How it was asked.
      type: str
    seen:
      description: The source address that it saw; null if there was no answer.
      type: str
    error:
      description: Why there was no answer; null if there was one.
      type: str
    as_expected:
      description: Whether O(expect) holds; null without O(expect).
      type: bool
"""

import ipaddress
from collections.abc import Sequence

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.egress.gateway.plugins.module_utils.probe.echo_client import (
    PROTOCOLS,
    AskError,
    Target,
    ask,
    inside,
)
from ansible_collections.egress.gateway.plugins.module_utils.probe.pod import Answer, Pod, ask_all

_POD = {
    "name": {"type": "str", "required": True},
    "namespace": {"type": "str", "default": "default"},
    "container": {"type": "str"},
    "context": {"type": "str"},
    "kubeconfig": {"type": "path"},
    "kubectl": {"type": "path", "default": "kubectl"},
}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "targets": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "address": {"type": "str", "required": True},
                    "port": {"type": "int", "required": True},
                    "protocol": {"type": "str", "choices": list(PROTOCOLS), "default": "tcp"},
                },
            },
            "namespace": {"type": "str"},
            "pod": {"type": "dict", "options": _POD},
            "timeout": {"type": "float", "default": 5.0},
            "expect": {"type": "list", "elements": "str"},
        },
        mutually_exclusive=[("namespace", "pod")],
        supports_check_mode=True,
    )
    try:
        targets = [Target(_address(t["address"]), t["port"], t["protocol"]) for t in module.params["targets"]]
        expected = None if module.params["expect"] is None else {_address(a) for a in module.params["expect"]}
        answers = _answers(module, targets)
        results = [_result(target, *answer, expected) for target, answer in zip(targets, answers)]
    except AskError as error:
        module.fail_json(msg=str(error), results=[])
        return
    wrong = [r for r in results if r["as_expected"] is False]
    if wrong:
        module.fail_json(msg="; ".join(_story(r, expected or set()) for r in wrong), results=results)
    module.exit_json(changed=False, results=results)


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError as error:
        raise AskError(str(error)) from error


def _answers(module: AnsibleModule, targets: Sequence[Target]) -> list[Answer]:
    timeout = module.params["timeout"]
    if module.params["pod"]:
        return ask_all(Pod(**module.params["pod"]), targets, timeout)
    with inside(module.params["namespace"]):
        return [_ask(target, timeout) for target in targets]


def _ask(target: Target, timeout: float) -> Answer:
    try:
        return _address(ask(target, timeout)), None
    except AskError as error:
        return None, str(error)


def _result(target: Target, seen: str | None, problem: str | None, expected: set[str] | None) -> dict[str, object]:
    return {
        "address": target.address,
        "port": target.port,
        "protocol": target.protocol,
        "seen": seen,
        "error": problem,
        "as_expected": None if expected is None else seen in expected,
    }


def _story(result: dict[str, object], expected: set[str]) -> str:
    found = "saw %s" % result["seen"] if result["seen"] else "gave no answer (%s)" % result["error"]
    where = "%s port %s over %s" % (result["address"], result["port"], result["protocol"])
    return "%s %s, expected %s" % (where, found, " or ".join(sorted(expected)))


if __name__ == "__main__":
    main()
