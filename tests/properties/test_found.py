"""What the properties found, each as the smallest case that shows it."""

from __future__ import annotations

from ipaddress import ip_address

from egress_compiler.diagnostics import InvalidInput
from egress_compiler.pipeline import Compilation
from tests.properties import packet_path
from tests.properties.compiled import compiled
from tests.properties.strategies import Json, Scenario, cluster_object, document


def node(name: str, *addresses: str, labels: Json | None = None) -> Json:
    number = int(name[1:])
    status = {"addresses": [{"type": "InternalIP", "address": a} for a in addresses or (f"10.0.0.{number}",)]}
    spec = {"podCIDRs": [f"10.1.{number}.0/24", f"fd00:1:{number:x}::/64"]}
    return cluster_object("Node", name, labels=labels or {"gw": "x"}, spec=spec, status=status)


def pod(name: str, on: str, *addresses: str, namespace: str = "a", labels: Json | None = None) -> Json:
    status = {"phase": "Running", "podIP": addresses[0], "podIPs": [{"ip": a} for a in addresses]}
    return cluster_object("Pod", name, namespace, labels or {"app": "web"}, spec={"nodeName": on}, status=status)


def gateway(name: str = "g", *pool: str, selector: Json | None = None) -> Json:
    spec = {
        "ippools": {"ipv4": list(pool) or ["10.0.0.64-10.0.0.79"]},
        "nodeSelector": {"selector": selector or {"matchLabels": {"gw": "x"}}},
        "clusterDefault": name == "g",
    }
    return document("EgressGateway", name, spec)


def policy(name: str, namespace: str = "a", kind: str = "EgressPolicy", **spec: object) -> Json:
    applied = {"appliedTo": {"podSelector": {"matchLabels": {"app": "web"}}}}
    return document(kind, name, applied | spec, namespace if kind == "EgressPolicy" else "")


SERVICES = cluster_object("ServiceCIDR", "kubernetes", spec={"cidrs": ["10.2.0.0/24"]})
NAMESPACE = cluster_object("Namespace", "a")


def leave(compilation: Compilation, start: str, source: str, destination: str) -> set[str]:
    files = packet_path.nodes_of(compilation.files)
    return set(packet_path.leave(files, start, ip_address(source), ip_address(destination)).values())


def test_pods_with_ipv6_on_nodes_without_reach_each_other() -> None:
    scenario = Scenario(
        (gateway(), policy("p")), (node("n1"), pod("p", "n1", "10.1.1.1", "fd00:1:1::1"), NAMESPACE, SERVICES)
    )
    compilation = compiled(scenario)
    assert leave(compilation, "n1", "fd00:1:1::1", "fd00:1:1::2") == {"direct"}
    assert leave(compilation, "n1", "fd00:1:1::1", "2001:db8::1") == {"blocked"}


def test_no_policy_can_be_named_like_an_order_of_others() -> None:
    """The name of an order of several policies is computable; a tenant must not be able to take it."""
    bank = policy("bank", priority=1, destSubnet=["203.0.113.0/24"])
    cluster = policy("all", kind="EgressClusterPolicy")
    objects = (
        node("n1"),
        pod("p", "n1", "10.1.1.1"),
        pod("q", "n1", "10.1.1.2", labels={"app": "q"}),
        NAMESPACE,
        SERVICES,
    )
    plan = compiled(Scenario((gateway(), bank, cluster), objects)).plans[0]
    (order,) = plan.worker.orders
    namesake = policy(order.name.removeprefix("egp.a."), appliedTo={"podSelector": {"matchLabels": {"app": "q"}}})
    try:
        compilation = compiled(Scenario((gateway(), bank, cluster, namesake), objects))
    except InvalidInput:
        return  # no name at all, so nobody can have it
    worker = compilation.plans[0].worker
    names = [*(order.name for order in worker.orders), *(chain.name for chain in worker.policies)]
    assert len(names) == len(set(names)) == 4


def test_a_master_without_the_family_drops_and_lets_no_other_policy_answer() -> None:
    """Found by breaking the compiler on purpose; the random clusters rarely have it."""
    six = {"ippools": {"ipv6": ["fd00::40-fd00::4f"]}, "nodeSelector": {"selector": {"matchLabels": {"gw": "x"}}}}
    own = policy("own", egressIP={"useNodeIP": True}, destSubnet=["2001:db8::/64"], priority=1, egressGatewayName="g")
    rest = policy("rest", egressGatewayName="g")
    objects = (
        node("n1", "10.0.0.1", "fd00::1"),
        node("n2", "10.0.0.2"),
        pod("p", "n2", "10.1.2.1", "fd00:1:2::1"),
        NAMESPACE,
        SERVICES,
    )
    compilation = compiled(Scenario((document("EgressGateway", "g", six), own, rest), objects))
    files = packet_path.nodes_of(compilation.files)
    ways = packet_path.leave(files, "n2", ip_address("fd00:1:2::1"), ip_address("2001:db8::1"))
    assert ways == {"n1": "fd00::1", "n2": "blocked"}


def test_a_pod_with_an_eip_inside_a_subnet_that_leaves_with_the_nodes_address() -> None:
    """Its replies come to the EIP, whatever the policy with useNodeIP says about the addresses around it."""
    own = policy(
        "own", kind="EgressClusterPolicy", egressIP={"useNodeIP": True}, appliedTo={"podSubnet": ["10.1.0.0/16"]}
    )
    some = policy("some", destSubnet=["203.0.113.0/24"])
    objects = (node("n1"), pod("p", "n1", "10.1.1.1"), NAMESPACE, SERVICES)
    compilation = compiled(Scenario((gateway(), own, some), objects))
    assert leave(compilation, "n1", "10.1.1.1", "203.0.113.7") == {"10.0.0.64"}
    assert leave(compilation, "n1", "10.1.1.1", "192.0.2.1") == {"10.0.0.1"}
    assert leave(compilation, "n1", "10.1.1.9", "203.0.113.7") == {"10.0.0.1"}
    everything = compiled(Scenario((gateway(), own, policy("all")), objects))
    assert leave(everything, "n1", "10.1.1.1", "192.0.2.1") == {"10.0.0.64"}


def test_the_slots_of_a_node_that_dies_go_to_different_nodes() -> None:
    """Found by breaking the compiler on purpose: three gateways on the same four nodes."""
    own = {"useNodeIP": True}
    gateways = [gateway(f"g{g}", f"10.0.0.{64 + g}") for g in range(3)]
    policies = [policy(f"p{g}{n}", egressGatewayName=f"g{g}", egressIP=own) for g in range(3) for n in range(4)]
    objects = (*(node(f"n{number}") for number in range(1, 5)), NAMESPACE, SERVICES)
    slots = compiled(Scenario((*gateways, *policies), objects)).allocation.slots.values()
    for name in ("n1", "n2", "n3", "n4"):
        assert len({slot.order[1] for slot in slots if slot.node == name}) == 3
