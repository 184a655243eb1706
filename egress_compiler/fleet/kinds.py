"""Which Node objects are no Linux host that could be configured."""

from __future__ import annotations

import re
from typing import NamedTuple

from egress_compiler.model.cluster import Node
from egress_compiler.model.settings import UnmanagedNodes

UNMANAGED_LABEL = "egressgateway.spidernet.io/unmanaged"
"""With any value but ``false``; ``egress: unmanaged`` says the same."""


class _Mark(NamedTuple):
    """A label or taint, or one with this value alone; and what a node with it is."""

    key: str
    value: str | None
    why: str


_VIRTUAL = "is a virtual-kubelet's, which runs pods elsewhere"
_FARGATE = "is Fargate's, which gives each pod a machine of its own"
_KWOK = "is a simulated node of KWOK"
_LABELS = (
    _Mark("egress", "unmanaged", "is labelled egress=unmanaged"),
    _Mark("eks.amazonaws.com/compute-type", "fargate", _FARGATE),
    _Mark("type", "virtual-kubelet", _VIRTUAL),
    _Mark("kubernetes.io/role", "virtual-kubelet", _VIRTUAL),
    _Mark("virtual-kubelet.io/provider", None, _VIRTUAL),
    _Mark("liqo.io/type", "virtual-node", "is a virtual node of Liqo, which runs pods in another cluster"),
    _Mark("node.kubernetes.io/instance-type", "eklet", _VIRTUAL),
    _Mark("type", "kwok", _KWOK),
    _Mark("kubernetes.io/arch", "wasm32-wasi", "runs WebAssembly"),
    _Mark("kubernetes.io/arch", "wasm32-wagi", "runs WebAssembly"),
)
_TAINTS = (
    _Mark("virtual-kubelet.io/provider", None, _VIRTUAL),
    _Mark("virtual-node.liqo.io/not-allowed", None, "is a virtual node of Liqo, which runs pods in another cluster"),
    _Mark("eks.amazonaws.com/compute-type", "fargate", _FARGATE),
    _Mark("eks.tke.cloud.tencent.com/eklet", None, _VIRTUAL),
    _Mark("kwok.x-k8s.io/node", None, _KWOK),
)
_OS_LABELS = ("kubernetes.io/os", "beta.kubernetes.io/os")
_KUBELETS = (
    (re.compile(r"(^|[-.+])(vk|eklet|virtual-?kubelet|virtual)([-.]|$)"), _VIRTUAL),
    (re.compile(r"^(kwok|fake)"), _KWOK),
)
"""Versions such as v1.19.10-vk-azure-aci-1.6.2."""


def foreign_kind(node: Node, unmanaged: UnmanagedNodes) -> str:
    """Why the node is no host of ours, as the end of a sentence that begins with its name; '' where it is one."""
    if node.name in unmanaged.names or (unmanaged.selector is not None and unmanaged.selector.matches(node.labels)):
        return "is one of unmanagedNodes in the settings"
    if node.labels.get(UNMANAGED_LABEL, "false") != "false":
        return f"is labelled {UNMANAGED_LABEL}"
    for system in (node.report.operating_system, *(node.labels.get(key, "") for key in _OS_LABELS)):
        if system and system.lower() != "linux":
            return f"runs {system}"
    for marks, given in ((_LABELS, node.labels), (_TAINTS, node.report.taints)):
        for mark in marks:
            if mark.key in given and mark.value in (None, given[mark.key]):
                return mark.why
    return next((why for pattern, why in _KUBELETS if pattern.search(node.report.kubelet)), "")
