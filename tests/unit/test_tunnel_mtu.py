"""The tunnel's MTU leaves room for what VXLAN adds over the family that the nodes speak."""

from pathlib import Path

import pytest
import yaml

from egress_compiler.pipeline import Inputs, compile_bundle

GATEWAY = """
apiVersion: egressgateway.spidernet.io/v1beta1
kind: EgressGateway
metadata: {name: internet}
spec: {nodeSelector: {selector: {matchLabels: {gw: "yes"}}}}
"""


@pytest.mark.parametrize(
    ("address", "pod_cidr", "mtu"), [("10.0.0.1", "10.1.0.0/24", 1450), ("fd00::1", "fd00:1::/64", 1430)]
)
def test_vxlan_takes_50_bytes_over_ipv4_and_70_over_ipv6(tmp_path: Path, address: str, pod_cidr: str, mtu: int) -> None:
    node = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": "gate", "labels": {"gw": "yes"}},
        "spec": {"podCIDRs": [pod_cidr]},
        "status": {"addresses": [{"type": "InternalIP", "address": address}]},
    }
    (tmp_path / "policies.yaml").write_text(GATEWAY)
    (tmp_path / "cluster.yaml").write_text(yaml.safe_dump(node))
    (tmp_path / "settings.yaml").write_text("serviceCIDRs: [10.96.0.0/16]\n")
    policies, cluster, settings = (tmp_path / f"{name}.yaml" for name in ("policies", "cluster", "settings"))
    inputs = Inputs((policies,), (cluster,), settings=settings, lock=tmp_path / "lock.json")
    (plan,) = compile_bundle(inputs).plans
    assert plan.kernel.tunnel.mtu == mtu
