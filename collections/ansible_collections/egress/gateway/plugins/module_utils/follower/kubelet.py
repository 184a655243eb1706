# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""The kubeconfig that is used where the settings name none: the kubelet's own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ansible_collections.egress.gateway.plugins.module_utils.contract.plan import Follow

PLACES = (
    "/etc/kubernetes/kubelet.conf",  # kubeadm
    "/var/lib/kubelet/kubeconfig",  # managed clusters
    "/var/lib/rancher/k3s/agent/kubelet.kubeconfig",
    "/var/lib/rancher/rke2/agent/kubelet.kubeconfig",
    "/var/lib/k0s/kubelet.conf",
    "/var/snap/microk8s/current/credentials/kubelet.config",
)


def kubeconfig_of(follow: Follow, places: Sequence[str] = PLACES) -> str:
    """Its path; where there is none the first place, so that a message can name it."""
    if follow.kubeconfig:
        return follow.kubeconfig
    return next((place for place in places if Path(place).is_file()), places[0])
