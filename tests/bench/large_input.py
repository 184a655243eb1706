"""Input that is large for a cluster: 1,000 nodes, 30,000 pods and 2,000 policies, or a part of it.

The cluster stands as ``kubectl get -o json`` prints it, field for field; the policies as people keep them: YAML by
hand, a file for each team, with comments.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from egress_compiler.pipeline import Inputs

NODES, PODS, POLICIES = 1_000, 30_000, 2_000
GATEWAYS = 4
NAMESPACES_FOR = 10
"""Policies in each namespace, and in each file."""

POD: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {
        "annotations": {
            "checksum/config": "8f4c0a5f7ce6c5e8a2f0cf0a4d1d9a3b7d0f3a8f5b6e1c2d3e4f5a6b7c8d9e0f",
            "cni.projectcalico.org/containerID": "5f1a0bd6a5f2ce1d3bb9b6a3bb6ee7cb4a9a4bb17d1b7a2c2f2df5a6d81d6ac5",
            "cni.projectcalico.org/podIP": "%V4%/32",
            "cni.projectcalico.org/podIPs": "%V4%/32,%V6%/128",
            "prometheus.io/port": "9102",
            "prometheus.io/scrape": "true",
        },
        "creationTimestamp": "2025-03-02T09:41:27Z",
        "generateName": "%APP%-6764bb48cc-",
        "labels": {
            "app": "%APP%",
            "app.kubernetes.io/instance": "%NS%-%APP%",
            "app.kubernetes.io/managed-by": "Helm",
            "app.kubernetes.io/version": "1.27.4",
            "pod-template-hash": "6764bb48cc",
            "tier": "%TIER%",
        },
        "name": "%NAME%",
        "namespace": "%NS%",
        "ownerReferences": [
            {
                "apiVersion": "apps/v1",
                "blockOwnerDeletion": True,
                "controller": True,
                "kind": "ReplicaSet",
                "name": "%APP%-6764bb48cc",
                "uid": "6ff1b0c5-42a8-4a3f-8a09-5f9a6a6f0a11",
            }
        ],
        "resourceVersion": "184467440",
        "uid": "0c0f7d0e-8c7e-4a6b-9e0a-7d7a2f1b9c55",
    },
    "spec": {
        "containers": [
            {
                "args": ["--listen=:8080", "--config=/etc/%APP%/config.yaml", "--log-format=json"],
                "env": [
                    {"name": "POD_NAME", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}},
                    {"name": "POD_IP", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "status.podIP"}}},
                    {"name": "DB_PASS", "valueFrom": {"secretKeyRef": {"key": "password", "name": "%APP%-database"}}},
                ],
                "image": "registry.example.com/%NS%/%APP%:1.27.4",
                "imagePullPolicy": "IfNotPresent",
                "livenessProbe": {
                    "failureThreshold": 3,
                    "httpGet": {"path": "/healthz", "port": "http", "scheme": "HTTP"},
                    "periodSeconds": 10,
                    "successThreshold": 1,
                    "timeoutSeconds": 1,
                },
                "name": "%APP%",
                "ports": [{"containerPort": 8080, "name": "http", "protocol": "TCP"}],
                "resources": {
                    "limits": {"cpu": "1", "memory": "512Mi"},
                    "requests": {"cpu": "100m", "memory": "128Mi"},
                },
                "securityContext": {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True},
                "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "File",
                "volumeMounts": [
                    {"mountPath": "/etc/%APP%", "name": "config", "readOnly": True},
                    {"mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "name": "token", "readOnly": True},
                ],
            }
        ],
        "dnsPolicy": "ClusterFirst",
        "enableServiceLinks": True,
        "hostNetwork": "%HOSTNETWORK%",
        "nodeName": "%NODE%",
        "preemptionPolicy": "PreemptLowerPriority",
        "priority": 0,
        "restartPolicy": "Always",
        "schedulerName": "default-scheduler",
        "securityContext": {"fsGroup": 2000, "runAsNonRoot": True, "runAsUser": 1000},
        "serviceAccountName": "%APP%",
        "terminationGracePeriodSeconds": 30,
        "tolerations": [
            {"effect": "NoExecute", "key": f"node.kubernetes.io/{key}", "operator": "Exists", "tolerationSeconds": 300}
            for key in ("not-ready", "unreachable")
        ],
        "volumes": [
            {"configMap": {"defaultMode": 420, "name": "%APP%-config"}, "name": "config"},
            {
                "name": "token",
                "projected": {
                    "defaultMode": 420,
                    "sources": [
                        {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
                        {"configMap": {"items": [{"key": "ca.crt", "path": "ca.crt"}], "name": "kube-root-ca.crt"}},
                    ],
                },
            },
        ],
    },
    "status": {
        "conditions": [
            {"lastProbeTime": None, "lastTransitionTime": "2025-03-02T09:41:31Z", "status": "True", "type": kind}
            for kind in ("Initialized", "Ready", "ContainersReady", "PodScheduled")
        ],
        "containerStatuses": [
            {
                "containerID": "containerd://1f9b7c6d5e4f3a2b1c0d9e8f7a6b5c4d3e2f1a0b9c8d7e6f5a4b3c2d1e0f9a8b",
                "image": "registry.example.com/%NS%/%APP%:1.27.4",
                "imageID": "registry.example.com/%NS%/%APP%@sha256:0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a",
                "lastState": {},
                "name": "%APP%",
                "ready": True,
                "restartCount": 0,
                "started": True,
                "state": {"running": {"startedAt": "2025-03-02T09:41:30Z"}},
            }
        ],
        "hostIP": "%HOST%",
        "phase": "%PHASE%",
        "podIP": "%V4%",
        "podIPs": [{"ip": "%V4%"}, {"ip": "%V6%"}],
        "qosClass": "Burstable",
        "startTime": "2025-03-02T09:41:27Z",
    },
}


def node_addresses(number: int) -> tuple[str, str]:
    """Racks of 40 nodes, each in a subnet of its own."""
    rack, place = divmod(number, 40)
    return f"10.10.{rack}.{place + 10}", f"fd00:10:{rack:x}::{place + 16:x}"


def node(number: int) -> dict[str, Any]:
    labels = {"kubernetes.io/hostname": f"node-{number:04}", "topology.kubernetes.io/zone": f"z{number % 3}"}
    if number < GATEWAYS:
        labels["egress.example.com/gateway"] = "true"
    if number < GATEWAYS // 2:
        labels["egress.example.com/partners"] = "true"
    four, six = node_addresses(number)
    cidrs = [f"10.{128 + number // 256}.{number % 256}.0/24", f"fd00:20:0:{number:x}::/64"]
    addresses = [{"type": "InternalIP", "address": four}, {"type": "InternalIP", "address": six}]
    images = [{"names": [f"registry.example.com/image-{i}:1.{i}.0"], "sizeBytes": 123456 + i} for i in range(50)]
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": f"node-{number:04}", "labels": labels, "uid": "9c55"},
        "spec": {"podCIDR": cidrs[0], "podCIDRs": cidrs},
        "status": {"addresses": addresses, "images": images, "nodeInfo": {"architecture": "amd64"}},
    }


def pods(count: int, nodes: int, namespaces: int, *, slim: bool = False) -> Iterator[str]:
    """The first on each node is the node's own: a daemon on the host network."""
    whole = _line(_slim(POD)) if slim else json.dumps(POD, indent=4)
    template = whole.replace('"%HOSTNETWORK%"', "%HOSTNETWORK%")
    for number in range(count):
        on, place = number % nodes, number // nodes
        own = place == 0
        app = "kube-proxy" if own else f"app-{number // namespaces % 10}"
        values = {
            "NS": "kube-system" if own else f"team-{number % namespaces:03}",
            "APP": app,
            "TIER": str(number % 3),
            "NAME": f"{app}-6764bb48cc-{number:05x}",
            "NODE": f"node-{on:04}",
            "HOST": node_addresses(on)[0],
            "HOSTNETWORK": "true" if own else "false",
            "PHASE": "Succeeded" if number % 50 == 0 else "Running",
            "V4": node_addresses(on)[0] if own else f"10.{128 + on // 256}.{on % 256}.{place + 2}",
            "V6": node_addresses(on)[1] if own else f"fd00:20:0:{on:x}::{place + 2:x}",
        }
        text = template
        for key, value in values.items():
            text = text.replace(f"%{key}%", value)
        yield text


def few_objects(size: float) -> Iterator[dict[str, Any]]:
    """All but the pods."""
    yield from (node(number) for number in range(int(NODES * size)))
    for number in range(int(POLICIES * size) // NAMESPACES_FOR):
        labels = {"pci": "true"} if number % 20 == 0 else {"stage": f"s{number % 4}"}
        yield {"kind": "Namespace", "metadata": {"name": f"team-{number:03}", "labels": labels}}
    cidrs = ["10.96.0.0/12", "fd00:96::/112"]
    yield {"kind": "ServiceCIDR", "metadata": {"name": "kubernetes"}, "spec": {"cidrs": cidrs}}


def _slim(item: dict[str, Any]) -> dict[str, Any]:
    """What ``egress-compiler snapshot`` leaves of a node or a pod."""
    kept = {
        "metadata": ("labels", "name", "namespace"),
        "spec": ("hostNetwork", "nodeName", "podCIDR", "podCIDRs", "cidrs"),
    }
    kept["status"] = ("addresses", "phase", "podIP", "podIPs")
    parts = {
        part: {key: item[part][key] for key in keys if key in item[part]} for part, keys in kept.items() if part in item
    }
    return {"apiVersion": "v1", "kind": item["kind"], **parts}


def _line(item: dict[str, Any]) -> str:
    return json.dumps(item, sort_keys=True)


def write_snapshot(path: Path, size: float) -> None:
    """The cluster as ``egress-compiler snapshot`` writes it, one object a line."""
    of_pods = pods(int(PODS * size), int(NODES * size), int(POLICIES * size) // NAMESPACES_FOR, slim=True)
    lines = (f"    {text}" for text in (*(_line(_slim(item)) for item in few_objects(size)), *of_pods))
    text = ",\n".join(lines)
    path.write_text(f'{{\n  "apiVersion": "v1",\n  "kind": "List",\n  "items": [\n{text}\n  ]\n}}\n')


def write_cluster(path: Path, size: float) -> None:
    items = [json.dumps(item, indent=4) for item in few_objects(size)]
    items += pods(int(PODS * size), int(NODES * size), int(POLICIES * size) // NAMESPACES_FOR)
    text = ",\n".join(items).replace("\n", "\n        ")
    path.write_text(f'{{\n    "apiVersion": "v1",\n    "items": [\n        {text}\n    ],\n    "kind": "List"\n}}\n')


# ----------------------------------------------------------------------------------------------------------- policies


def policies(size: float) -> Iterator[dict[str, Any]]:
    """Nineteen of twenty are namespaced, most by label; a few cluster policies over all, some with podSubnets."""
    api = "egressgateway.spidernet.io/v1beta1"
    for name, label, v4, v6, default in (
        ("internet", "gateway", "10.10.250.0-10.10.251.255", "fd00:10:fa::-fd00:10:fa::1ff", True),
        ("partners", "partners", "10.10.252.0-10.10.252.63", "fd00:10:fc::-fd00:10:fc::3f", False),
    ):
        spec = {
            "ippools": {"ipv4": [v4], "ipv6": [v6]},
            "nodeSelector": {"selector": {"matchLabels": {f"egress.example.com/{label}": "true"}}},
            "clusterDefault": default,
        }
        yield {"apiVersion": api, "kind": "EgressGateway", "metadata": {"name": name}, "spec": spec}
    count = int(POLICIES * size)
    namespaces = count // NAMESPACES_FOR
    for number in range(count):
        cluster = number % 20 == 19
        selector: dict[str, Any] = {"matchLabels": {"app": f"app-{number // namespaces}"}}
        if number % 4 == 1:
            selector["matchExpressions"] = [{"key": "tier", "operator": "In", "values": ["0", "1"]}]
        spec = {"appliedTo": {"podSelector": selector}, "egressIP": {"allocatorPolicy": "rr"}}
        if cluster:
            spec["appliedTo"] = {
                "podSelector": {"matchLabels": {"app": f"app-{number // 20 % 10}"}},
                "namespaceSelector": {"matchLabels": {"pci": "true"}},
            }
        if number % 200 == 199:
            spec["appliedTo"] = {"podSubnet": [f"10.{128 + number // 1000}.{number // 200}.0/26"]}
        if number % 3 == 0:
            spec["egressGatewayName"] = "partners"
            spec["priority"] = 100 + number % 7
        if number % 3 == 0 or cluster:
            spec["destSubnet"] = [
                f"203.0.{number % 113}.0/24",
                f"198.51.{number % 100}.7",
                f"192.0.{number % 50}.10-192.0.{number % 50}.99",
                f"2001:db8:{number % 99:x}::/48",
            ]
        metadata = {"name": f"policy-{number:04}", "annotations": {"description": f"Contract {number}"}}
        if not cluster:
            metadata["namespace"] = f"team-{number % namespaces:03}"
        kind = "EgressClusterPolicy" if cluster else "EgressPolicy"
        yield {"apiVersion": api, "kind": kind, "metadata": metadata, "spec": spec}


def write_policies(directory: Path, documents: list[dict[str, Any]]) -> None:
    """The gateways in a file of their own, the policies of one team in one."""
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    gateways = [document for document in documents if document["kind"] == "EgressGateway"]
    rest = documents[len(gateways) :]
    parts = [gateways, *(rest[start : start + NAMESPACES_FOR] for start in range(0, len(rest), NAMESPACES_FOR))]
    directory.mkdir(parents=True)
    for number, part in enumerate(parts):
        texts = [f"# Asked for by team {number}; see the contract.\n{yaml.dump(d, Dumper=dumper)}" for d in part]
        (directory / f"team-{number:03}.yaml").write_text("---\n".join(texts))


def write_input(root: Path, size: float, *, slim: bool = False) -> Inputs:
    write_policies(root / "policies", list(policies(size)))
    (write_snapshot if slim else write_cluster)(root / "cluster.json", size)
    return Inputs((root / "policies",), (root / "cluster.json",), lock=root / "egress.lock.json")
