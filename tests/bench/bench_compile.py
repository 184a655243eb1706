"""How long a compilation takes, stage by stage, at a size that is large for a cluster and at a tenth of it.

`make bench`, or `python tests/bench/bench_compile.py [SIZE…]`, 1 being 1,000 nodes, 30,000 pods and 2,000 policies.
The yardstick is merely decoding the same cluster file.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import msgspec
import pytest
import yaml

from egress_compiler import bundle, pipeline
from egress_compiler.pipeline import Compilation, Inputs, compile_bundle

NODES, PODS, POLICIES = 1_000, 30_000, 2_000
GATEWAYS = 4
NAMESPACES_FOR = 10
"""Policies in each namespace."""

# ------------------------------------------------------------------------------------- a cluster as kubectl prints it

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


def pods(count: int, nodes: int, namespaces: int) -> Iterator[str]:
    """The first on each node is the node's own: a daemon on the host network."""
    template = json.dumps(POD, indent=4).replace('"%HOSTNETWORK%"', "%HOSTNETWORK%")
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


def write_cluster(path: Path, size: float) -> None:
    nodes, namespaces = int(NODES * size), int(POLICIES * size) // NAMESPACES_FOR
    items = [json.dumps(node(number), indent=4) for number in range(nodes)]
    for number in range(namespaces):
        labels = {"pci": "true"} if number % 20 == 0 else {"stage": f"s{number % 4}"}
        name = f"team-{number:03}"
        items.append(json.dumps({"kind": "Namespace", "metadata": {"name": name, "labels": labels}}))
    cidrs = ["10.96.0.0/12", "fd00:96::/112"]
    items.append(json.dumps({"kind": "ServiceCIDR", "metadata": {"name": "kubernetes"}, "spec": {"cidrs": cidrs}}))
    items += pods(int(PODS * size), nodes, namespaces)
    path.write_text(
        '{\n    "apiVersion": "v1",\n    "items": [\n' + ",\n".join(items) + '\n    ],\n    "kind": "List"\n}\n'
    )


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


def write_input(root: Path, size: float) -> Inputs:
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    policies_file, cluster_file = root / "policies.yaml", root / "cluster.json"
    policies_file.write_text(yaml.dump_all(policies(size), Dumper=dumper))
    write_cluster(cluster_file, size)
    return Inputs((policies_file,), (cluster_file,), lock=root / "egress.lock.json")


# -------------------------------------------------------------------------------------------------------- measurements

STAGES = (
    "load_documents",
    "load_cluster",
    "load_settings",
    "load_uplinks",
    "load_lock",
    "validate_policies",
    "resolve",
    "analyze",
    "allocate",
    "lower",
    "bundle_files",
    "lock_text",
)


@contextmanager
def timed_stages(times: dict[str, float]) -> Iterator[None]:
    """Measures each stage that the pipeline calls, in the order in which it calls them."""

    def timed(name: str, stage: Callable[..., object]) -> Callable[..., object]:
        def run(*args: object, **options: object) -> object:
            start = perf_counter()
            try:
                return stage(*args, **options)
            finally:
                times[name] = times.get(name, 0.0) + perf_counter() - start

        return run

    patch = pytest.MonkeyPatch()
    for name in STAGES:
        patch.setattr(pipeline, name, timed(name, getattr(pipeline, name)))
    try:
        yield
    finally:
        patch.undo()


def duration(action: Callable[[], object]) -> float:
    start = perf_counter()
    action()
    return perf_counter() - start


def measure(size: float, root: Path) -> float:
    """Prints the times at one size and returns the whole compilation's, in seconds."""
    inputs = write_input(root, size)
    content = inputs.cluster[0].read_bytes()
    stdlib, fast = duration(lambda: json.loads(content)), duration(lambda: msgspec.json.decode(content))
    times: dict[str, float] = {}
    compiled: list[Compilation] = []
    with timed_stages(times):
        whole = duration(lambda: compiled.append(compile_bundle(inputs)))
    (compilation,) = compiled
    files = len(compilation.files)
    megabytes = sum(map(len, compilation.files.values())) / 1e6
    write = duration(lambda: bundle.write(compilation, root / "out"))
    again = duration(lambda: compile_bundle(inputs))
    counted = f"{int(NODES * size):,} nodes, {int(PODS * size):,} pods, {int(POLICIES * size):,} policies"
    print(f"\n{counted}: {len(content) / 1e6:.0f} MB in; {files:,} files, {megabytes:.0f} MB out")
    for name, seconds in times.items():
        print(f"  {name:20} {seconds:8.3f} s")
    print(f"  {'compile':20} {whole:8.3f} s   {whole / stdlib:.2f} x json, {whole / fast:.2f} x msgspec")
    print(f"  {'write the bundle':20} {write:8.3f} s")
    print(f"  {'compile with lock':20} {again:8.3f} s")
    print(f"  {'json.loads alone':20} {stdlib:8.3f} s")
    print(f"  {'msgspec alone':20} {fast:8.3f} s")
    return whole


def test_compile_takes_seconds_and_grows_linearly(tmp_path: Path) -> None:
    measure(0.01, _made(tmp_path / "warm"))
    small = measure(0.1, _made(tmp_path / "small"))
    large = measure(1.0, _made(tmp_path / "large"))
    print(f"\nten times the input takes {large / small:.1f} times as long")
    assert large / small < 15
    assert large < 60


def _made(path: Path) -> Path:
    path.mkdir(parents=True)
    return path


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        for text in sys.argv[1:] or ["0.1", "1"]:
            measure(float(text), _made(Path(directory) / text))
