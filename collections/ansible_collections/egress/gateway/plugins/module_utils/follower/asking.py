# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""What the API says of a node's pods at one moment, for runs that cannot wait for a follower, or do not believe it."""

from __future__ import annotations

from ansible_collections.egress.gateway.plugins.module_utils.bundle import NodeBundle
from ansible_collections.egress.gateway.plugins.module_utils.contract.membership import Known
from ansible_collections.egress.gateway.plugins.module_utils.follow.api import Api
from ansible_collections.egress.gateway.plugins.module_utils.follow.credentials import Credentials
from ansible_collections.egress.gateway.plugins.module_utils.follow.pods import NAMESPACES, pods_of
from ansible_collections.egress.gateway.plugins.module_utils.follow.reflector import Reflector
from ansible_collections.egress.gateway.plugins.module_utils.follower.claims import Claims
from ansible_collections.egress.gateway.plugins.module_utils.follower.facts import Facts
from ansible_collections.egress.gateway.plugins.module_utils.follower.kubelet import kubeconfig_of
from ansible_collections.egress.gateway.plugins.module_utils.node import Paths


def ask(paths: Paths, bundle: NodeBundle) -> Known:
    """By the credential that the follower has, and with what the gate has told it.

    FollowError where the API does not answer, or refuses; NodeError when members.json is damaged.
    """
    plan = bundle.static
    if plan.follow is None:
        return Known()
    credentials = Credentials(kubeconfig_of(plan.follow))
    facts = Facts(Known(), Claims.read(paths.gate))
    Reflector(Api(credentials), NAMESPACES, facts.namespaces_changed).list()
    Reflector(Api(credentials), pods_of(plan.node), lambda changes: facts.pods_changed(changes, 0.0)).list()
    return facts.known(bundle.members(), bundle.known.kept)
