"""What many gateway nodes cost: one EgressGateway of 50, 100 and 200, and 100 EgressGateways on the same three nodes.

`make bench PYTEST_ARGS="-k gateways"`, or `python -m tests.bench.bench_gateways`.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from tests.bench.bench_limits import Cost, cost
from tests.properties.strategies import cluster_object, document

WORKERS = 300
POLICIES_FOR_EACH = 10


def write_input(root: Path, gateway_nodes: int, egress_gateways: int, policies: int) -> list[object]:
    """The arguments of a compile; policies take their EIPs in turn, which spreads them over the nodes."""
    items = [cluster_object("ServiceCIDR", "kubernetes", spec={"cidrs": ["10.96.0.0/12"]})]
    for number in range(gateway_nodes + WORKERS):
        name = f"gateway-{number:03}" if number < gateway_nodes else f"worker-{number:03}"
        address = f"10.6.{number // 250}.{1 + number % 250}"
        labels = {"egress": str(number < gateway_nodes).lower()}
        spec = {"podCIDR": f"10.{128 + number // 250}.{number % 250}.0/24"}
        status = {"addresses": [{"type": "InternalIP", "address": address}]}
        items.append(cluster_object("Node", name, labels=labels, spec=spec, status=status))
    made = []
    for number in range(egress_gateways):
        pool, selector = f"10.{200 + number // 250}.{number % 250}.0/24", {"matchLabels": {"egress": "true"}}
        gateway = {"ippools": {"ipv4": [pool]}, "nodeSelector": {"selector": selector}}
        made.append(document("EgressGateway", f"g{number:03}", gateway))
    for number in range(policies):
        name = f"g{number % egress_gateways:03}"
        worker = gateway_nodes + number % WORKERS
        source = f"10.{128 + worker // 250}.{worker % 250}.{number // WORKERS * 4}/30"
        policy = {
            "egressGatewayName": name,
            "appliedTo": {"podSubnet": [source]},
            "egressIP": {"allocatorPolicy": "rr"},
        }
        made.append(document("EgressPolicy", f"p{number:04}", policy, "shop"))
    root.mkdir(parents=True)
    for name, documents in (("cluster", items), ("policies", made)):
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": documents})
        (root / f"{name}.json").write_text(text)
    return ["-p", root / "policies.json", "-c", root / "cluster.json", "-l", root / "lock.json", "-o", root / "out"]


class Measured:
    def __init__(self, root: Path, gateway_nodes: int, egress_gateways: int, policies: int) -> None:
        arguments = write_input(root, gateway_nodes, egress_gateways, policies)
        self.cost: Cost = cost("-m", "egress_compiler", "compile", *arguments)
        nodes = (root / "out" / "nodes").iterdir()
        sizes = [sum(f.stat().st_size for f in node.iterdir()) for node in nodes if node.name.startswith("gateway")]
        self.largest = max(sizes)
        conf = root / "out" / "nodes" / "gateway-000" / "keepalived.conf"
        self.instances = conf.read_text().count("vrrp_instance ")

    def row(self, name: str) -> str:
        seconds, mebibytes = self.cost
        return f"| {name} | {seconds:.1f} | {mebibytes:.0f} | {self.largest / 1e3:.0f} | {self.instances} |"


def measure(root: Path) -> dict[str, Measured]:
    found = {
        f"one EgressGateway, {nodes} nodes": Measured(root / str(nodes), nodes, 1, POLICIES_FOR_EACH * nodes)
        for nodes in (50, 100, 200)
    }
    return found | {"100 EgressGateways, the same 3 nodes": Measured(root / "same", 3, 100, 300)}


def show(found: dict[str, Measured]) -> None:
    print("\n| | processor seconds | MiB | kB for the largest gateway | VRRP instances on one |\n|---|--:|--:|--:|--:|")
    for name, one in found.items():
        print(one.row(name))


def test_a_gateway_does_not_grow_with_the_number_of_gateways(tmp_path: Path) -> None:
    found = measure(tmp_path)
    show(found)
    fifty, hundred, more, same = found.values()
    assert hundred.largest < 1.5 * fifty.largest
    assert more.largest < 1.5 * hundred.largest
    assert more.cost.seconds < 3 * hundred.cost.seconds
    assert more.instances < 3 * 8
    assert same.instances <= 255


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        show(measure(Path(directory)))
