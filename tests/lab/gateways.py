"""An example for drills: gateways that share everything, workers, and governed pods on all, in both families."""

import json
from collections.abc import Mapping
from pathlib import Path

POLICIES = """
apiVersion: egressgateway.spidernet.io/v1beta1
kind: EgressGateway
metadata:
  name: internet
spec:
  clusterDefault: true
  ippools:
    ipv4: [10.6.1.60-10.6.1.65]
    ipv6: ["fd00:10:6:1::60-fd00:10:6:1::65"]
  nodeSelector:
    selector:
      matchLabels: {gateway: "true"}
---
apiVersion: egressgateway.spidernet.io/v1beta1
kind: EgressPolicy
metadata:
  name: one
  namespace: drill
spec:
  egressIP: {ipv4: 10.6.1.61}
  appliedTo:
    podSelector:
      matchLabels: {app: one}
---
apiVersion: egressgateway.spidernet.io/v1beta1
kind: EgressPolicy
metadata:
  name: two
  namespace: drill
spec:
  egressIP: {ipv4: 10.6.1.62}
  appliedTo:
    podSelector:
      matchLabels: {app: two}
"""
FAILING, OTHER = "gw1", "gw2"
"""``one`` prefers gw1, ``two`` gw2."""
WORKER_PODS = ("drill/one-worker1", "drill/one-worker2")
FAILING_POD, OTHER_POD = "drill/one-gw1", "drill/one-gw2"


def write_example(directory: Path, *, gateways: int = 2, advert_ms: int = 200) -> Path:
    """An example directory: gw1.., worker1 and worker2, on each node a pod of policy ``one`` and one of ``two``."""
    names = [*(f"gw{n + 1}" for n in range(gateways)), "worker1", "worker2"]
    items = []
    for index, name in enumerate(names, 1):
        items.append(_node(name, index))
        items += [_pod(f"{app}-{name}", app, name, index, offset) for offset, app in ((10, "one"), (20, "two"))]
    (directory / "policies").mkdir(parents=True)
    (directory / "policies" / "policies.yaml").write_text(POLICIES, encoding="utf-8")
    cluster = {"apiVersion": "v1", "kind": "List", "items": items}
    (directory / "cluster.json").write_text(json.dumps(cluster), encoding="utf-8")
    settings = f"serviceCIDRs: [10.96.0.0/16, 'fd00:10:96::/112']\nvrrp:\n  advertIntervalMs: {advert_ms}\n"
    (directory / "settings.yaml").write_text(settings, encoding="utf-8")
    return directory


def add_pods(cluster: Path, apps: Mapping[str, int]) -> None:
    """On each node one of each app; by app the last part of their addresses."""
    made = json.loads(cluster.read_text(encoding="utf-8"))
    nodes = [item["metadata"]["name"] for item in made["items"] if item["kind"] == "Node"]
    made["items"] += [
        _pod(f"{app}-{name}", app, name, index, offset)
        for index, name in enumerate(nodes, 1)
        for app, offset in apps.items()
    ]
    cluster.write_text(json.dumps(made), encoding="utf-8")


def _node(name: str, index: int) -> dict[str, object]:
    return {
        "kind": "Node",
        "metadata": {"name": name, "labels": {"gateway": str(name.startswith("gw")).lower()}},
        "spec": {"podCIDRs": [f"10.244.{index}.0/24", f"fd00:10:244:{index}::/64"]},
        "status": {
            "addresses": [
                {"type": "InternalIP", "address": f"10.6.1.{10 + index}"},
                {"type": "InternalIP", "address": f"fd00:10:6:1::{10 + index}"},
            ]
        },
    }


def _pod(name: str, app: str, node: str, index: int, offset: int) -> dict[str, object]:
    ips = [f"10.244.{index}.{offset}", f"fd00:10:244:{index}::{offset}"]
    return {
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "drill", "labels": {"app": app}},
        "spec": {"nodeName": node},
        "status": {"phase": "Running", "podIP": ips[0], "podIPs": [{"ip": ip} for ip in ips]},
    }
