"""Which Node objects are hosts, the addresses that count, and what becomes of the others."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from egress_compiler.diagnostics import Collector, InvalidInput
from egress_compiler.explain import explain_pod
from egress_compiler.fleet.kinds import foreign_kind
from egress_compiler.load import load_cluster
from egress_compiler.model.settings import UnmanagedNodes
from egress_compiler.net import format_address, parse_address
from egress_compiler.pipeline import Compilation, Inputs, compile_bundle, inventory_hosts
from egress_compiler.plan import between
from egress_compiler.status import gateway_rows
from tests.properties.strategies import Json, cluster_object, document


def node(name: str, *addresses: str, labels: Json | None = None, number: int = 0, **more: Any) -> Json:
    """``addresses`` are InternalIPs, and those with ``external=`` before them ExternalIPs."""
    entries = [
        {"type": "ExternalIP" if a.startswith("external=") else "InternalIP", "address": a.removeprefix("external=")}
        for a in addresses
    ]
    spec: Json = {"podCIDRs": [f"10.244.{number}.0/24"]} if number else {}
    spec |= {"taints": more.pop("taints")} if "taints" in more else {}
    return cluster_object("Node", name, labels=labels, spec=spec, status={"addresses": entries, **more})


GATEWAY_LABEL = {"egress": "true"}
GW1 = node("gw1", "10.6.1.11", labels=GATEWAY_LABEL, number=1)
GW2 = node("gw2", "10.6.1.12", labels=GATEWAY_LABEL, number=2)
W1 = node("w1", "10.6.1.21", number=3)
NOT_READY: Json = {
    "conditions": [{"type": "MemoryPressure", "status": "False"}, {"type": "Ready", "status": "Unknown"}]
}


def pod(name: str, where: str, *addresses: str, **labels: str) -> Json:
    status = {"phase": "Running", "podIPs": [{"ip": address} for address in addresses]}
    return cluster_object("Pod", name, "shop", labels or {"app": "web"}, spec={"nodeName": where}, status=status)


def policies(count: int = 1, *, ipv6: bool = False) -> list[Json]:
    pools = {"ipv4": ["10.6.1.60-10.6.1.63"]} | ({"ipv6": ["fd00:6::60-fd00:6::63"]} if ipv6 else {})
    selector = {"selector": {"matchLabels": GATEWAY_LABEL}}
    made = [document("EgressGateway", "internet", {"ippools": pools, "nodeSelector": selector})]
    for number in range(count):
        spec = {
            "egressGatewayName": "internet",
            "egressIP": {"allocatorPolicy": "rr"},
            "appliedTo": {"podSelector": {"matchLabels": {"app": "web"}}},
            "destSubnet": [f"203.0.113.{number}"],
        }
        made.append(document("EgressPolicy", f"p{number}", spec, "shop"))
    return made


class Place:
    """A directory with one input; compiling keeps the lock file."""

    def __init__(self, directory: Path) -> None:
        self.inputs = Inputs(
            policies=(directory / "policies.yaml",),
            cluster=(directory / "cluster.json",),
            settings=directory / "settings.yaml",
            lock=directory / "lock.json",
        )
        self.write(policies())

    def write(self, documents: Sequence[Json]) -> None:
        self.inputs.policies[0].write_text("---\n".join(json.dumps(item) + "\n" for item in documents))

    def compile(self, *nodes: Json, pods: Sequence[Json] = (), **settings: Any) -> Compilation:
        services = cluster_object("ServiceCIDR", "kubernetes", spec={"cidrs": ["10.96.0.0/16"]})
        shop = cluster_object("Namespace", "shop")
        items = [*nodes, *pods, services, shop]
        self.inputs.cluster[0].write_text(json.dumps({"kind": "List", "items": items}))
        assert self.inputs.settings is not None
        self.inputs.settings.write_text(json.dumps(settings))
        compilation = compile_bundle(self.inputs)
        self.inputs.lock_path.write_text(compilation.lock_text)
        return compilation


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def codes(compilation: Compilation) -> list[str]:
    return sorted({f"{d.severity} {d.code}" for d in compilation.diagnostics} - {"warning selects-nothing"})


def nodes_of(compilation: Compilation) -> dict[str, str]:
    """Every node with the address of its tunnel."""
    return {plan.node: plan.kernel.tunnel.underlay for plan in compilation.plans}


def refusal(place: Place, *nodes: Json, **options: Any) -> list[str]:
    with pytest.raises(InvalidInput) as caught:
        place.compile(*nodes, **options)
    return [d.message for d in caught.value.diagnostics if d.severity == "error"]


# ------------------------------------------------------------------------------------------------ which are hosts

FOREIGN = {
    "windows by label": node("n", labels={"kubernetes.io/os": "windows"}),
    "windows by its old label": node("n", labels={"beta.kubernetes.io/os": "windows"}),
    "windows by itself": node("n", nodeInfo={"operatingSystem": "windows"}),
    "another system": node("n", nodeInfo={"operatingSystem": "Darwin"}),
    "fargate": node("n", labels={"eks.amazonaws.com/compute-type": "fargate"}),
    "fargate by taint": node("n", taints=[{"key": "eks.amazonaws.com/compute-type", "value": "fargate"}]),
    "virtual-kubelet": node("n", labels={"type": "virtual-kubelet"}),
    "virtual-kubelet by taint": node("n", taints=[{"key": "virtual-kubelet.io/provider", "value": "azure"}]),
    "virtual-kubelet by version": node("n", nodeInfo={"kubeletVersion": "v1.19.10-vk-azure-aci-1.6.2"}),
    "liqo": node("n", labels={"liqo.io/type": "virtual-node"}),
    "kwok": node("n", taints=[{"key": "kwok.x-k8s.io/node", "value": "fake", "effect": "NoSchedule"}]),
    "wasm": node("n", labels={"kubernetes.io/arch": "wasm32-wasi"}),
    "unmanaged": node("n", labels={"egress": "unmanaged"}),
    "unmanaged by our label": node("n", labels={"egressgateway.spidernet.io/unmanaged": "true"}),
    "unmanaged by our label alone": node("n", labels={"egressgateway.spidernet.io/unmanaged": ""}),
}
HOSTS = {
    "plain": node("n"),
    "linux": node("n", labels={"kubernetes.io/os": "linux"}, nodeInfo={"operatingSystem": "Linux"}),
    "a cloud's kubelet": node("n", nodeInfo={"kubeletVersion": "v1.29.4-eks-036c24b"}),
    "another compute type": node("n", labels={"eks.amazonaws.com/compute-type": "ec2", "type": "worker"}),
    "not unmanaged": node("n", labels={"egressgateway.spidernet.io/unmanaged": "false", "egress": "true"}),
    "tainted": node("n", taints=[{"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}]),
}


@pytest.mark.parametrize("kind", [*FOREIGN, *HOSTS])
def test_kinds_of_nodes(kind: str, tmp_path: Path) -> None:
    (tmp_path / "cluster.json").write_text(json.dumps((FOREIGN | HOSTS)[kind]))
    (found,) = load_cluster([tmp_path / "cluster.json"], Collector()).nodes
    assert bool(foreign_kind(found, UnmanagedNodes())) == (kind in FOREIGN)


@pytest.mark.parametrize(
    "settings", [{"names": ["x1"]}, {"selector": {"matchExpressions": [{"key": "pool", "operator": "Exists"}]}}]
)
def test_settings_leave_nodes_out(settings: Json, place: Place) -> None:
    appliance = node("x1", "10.6.1.31", labels={"pool": "appliances"}, number=9)
    assert list(nodes_of(place.compile(GW1, W1, appliance))) == ["gw1", "w1", "x1"]
    compilation = place.compile(GW1, W1, appliance, unmanagedNodes=settings)
    assert list(nodes_of(compilation)) == ["gw1", "w1"]
    assert "10.6.1.31" in compilation.plans[0].inside.ipv4
    assert any("10.244.9.0" in text or "10.244.8.0" in text for text in compilation.plans[0].inside.ipv4)


FARGATE = node("fargate-1", "10.6.9.5", labels={"eks.amazonaws.com/compute-type": "fargate"})


def test_nobody_promises_an_eip_to_a_pod_on_another_node(place: Place) -> None:
    both = [pod("here", "w1", "10.244.3.10"), pod("there", "fargate-1", "10.6.9.5")]
    compilation = place.compile(GW1, W1, FARGATE, pods=both)
    assert codes(compilation) == ["warning pod-on-other-node"]
    assert list(nodes_of(compilation)) == ["gw1", "w1"]
    files = {name: text for name, text in compilation.files.items() if name.startswith(("nodes/", "endpoint"))}
    assert not any("shop/there" in text or "pod: there" in text for text in files.values())
    # Its address is inside, and nothing else.
    assert "10.6.9.5" in compilation.plans[0].inside.ipv4
    assert all("10.6.9.5" not in [s.source for s in plan.worker.pods.ipv4] for plan in compilation.plans)
    explained = explain_pod(compilation, "shop/there", parse_address("203.0.113.0"), Collector())
    assert explained is not None
    assert [(path.outcome, path.addresses) for path in explained.paths] == [("direct", ())]
    assert not any(entry.wins for entry in explained.considered)
    assert "is Fargate's" in explained.notes[0]
    here = explain_pod(compilation, "shop/here", parse_address("203.0.113.0"), Collector())
    assert here is not None
    assert here.paths[0].addresses == ("10.6.1.60",)


def test_a_virtual_node_may_have_the_address_of_a_pod_or_of_another_node(place: Place) -> None:
    virtual = [
        node(f"vk{n}", text, labels={"type": "virtual-kubelet"}) for n, text in enumerate(["10.244.3.77", "10.6.1.21"])
    ]
    compilation = place.compile(GW1, W1, *virtual, pods=[pod("aci", "w1", "10.244.3.77")])
    assert codes(compilation) == []
    assert nodes_of(compilation) == {"gw1": "10.6.1.11", "w1": "10.6.1.21"}


def test_a_pod_elsewhere_may_have_the_address_of_one_here(place: Place) -> None:
    virtual = node("vk", "10.9.0.1", labels={"type": "virtual-kubelet"})
    both = [pod("here", "w1", "10.244.3.10"), pod("there", "vk", "10.244.3.10")]
    assert codes(place.compile(GW1, W1, virtual, pods=both)) == ["warning pod-on-other-node"]


def test_a_pod_stays_governed_whose_address_a_virtual_node_has(place: Place) -> None:
    virtual = node("vk", "10.244.3.77", labels={"type": "virtual-kubelet"})
    spec = {"egressGatewayName": "internet", "appliedTo": {"podSubnet": ["10.244.0.0/16"]}}
    place.write([*policies(0), document("EgressClusterPolicy", "all", spec)])
    compilation = place.compile(GW1, W1, virtual, pods=[pod("aci", "w1", "10.244.3.77")])
    explained = explain_pod(compilation, "shop/aci", parse_address("203.0.113.0"), Collector())
    assert explained is not None
    assert explained.paths[0].addresses == ("10.6.1.60",)


def test_a_gateway_whose_nodes_are_none_is_blocked(place: Place) -> None:
    windows = node("win", "10.6.1.40", labels=GATEWAY_LABEL | {"kubernetes.io/os": "windows"})
    compilation = place.compile(W1, windows)
    assert codes(compilation) == ["warning foreign-gateway-node", "warning no-gateway-node"]
    assert all(plan.gateway is None for plan in compilation.plans)


def test_the_inventory_has_hosts_alone_and_the_addresses_of_their_tunnels(place: Place) -> None:
    first_is_none = node("w2", "169.254.1.0", "10.6.1.22", number=4)
    place.compile(GW1, W1, FARGATE, first_is_none, node("w3"), unmanagedNodes={"names": ["w1"]})
    hosts = inventory_hosts(place.inputs)
    assert [(host.node.name, format_address(*host.address), host.gateways) for host in hosts] == [
        ("gw1", "10.6.1.11", ("internet",)),
        ("w2", "10.6.1.22", ()),
    ]


def test_a_plan_says_who_loses_an_eip_where_a_node_is_no_host_any_more(place: Place) -> None:
    web = pod("web", "w1", "10.244.3.10")
    before = place.compile(GW1, W1, pods=[web])
    windows = {**W1, "metadata": W1["metadata"] | {"labels": {"kubernetes.io/os": "windows"}}}
    plan = between(before, place.compile(GW1, windows, pods=[web]), "before")
    assert plan.gone == ()
    assert [(m.name, f.before.outcome, f.after.outcome) for s in plan.sources for m in s.members for f in s.flows] == [
        ("shop/web", "eip", "direct")
    ]


def test_other_nodes_and_their_pods_come_and_go_without_disruption(place: Place) -> None:
    web = pod("web", "w1", "10.244.3.10")
    before = place.compile(GW1, W1, pods=[web])
    after = place.compile(GW1, W1, FARGATE, pods=[web, pod("x", "fargate-1", "10.6.9.7", app="x")])
    assert between(before, after, "before").sources == ()
    assert between(after, before, "after").sources == ()


def test_the_inventory_stands_while_an_object_is_in_quarantine(place: Place) -> None:
    place.compile(GW1, W1, quarantine=True)
    broken = policies()
    broken[0]["spec"]["nodeSelector"] = {"selector": {"matchLabels": {"egress": 1}}}
    place.write([*broken, document("EgressPolicy", "new", {"appliedTo": {}}, "shop")])
    assert [(host.node.name, host.gateways) for host in inventory_hosts(place.inputs)] == [
        ("gw1", ("internet",)),
        ("w1", ()),
    ]


# ------------------------------------------------------------------------------------------- addresses that count


@pytest.mark.parametrize(
    "useless",
    [
        "169.254.1.0",
        "fe80::1",
        "127.0.0.1",
        "::1",
        "0.0.0.0",
        "::",
        "224.0.0.5",
        "255.255.255.255",
        "::ffff:10.6.1.22",
        "",
    ],
)
def test_the_next_address_is_used(useless: str, place: Place) -> None:
    compilation = place.compile(GW1, node("w2", useless, "10.6.1.22", number=4))
    assert nodes_of(compilation)["w2"] == "10.6.1.22"
    assert codes(compilation) == ["warning node-address"]
    assert nodes_of(place.compile(GW1, node("w2", useless, number=4))) == {"gw1": "10.6.1.11"}


def test_an_address_of_the_cni_is_used_where_there_is_no_other(place: Place) -> None:
    both = node("w2", "10.244.4.1", "10.6.1.22", number=4)
    assert nodes_of(place.compile(GW1, both))["w2"] == "10.6.1.22"
    assert nodes_of(place.compile(GW1, node("w2", "10.244.4.1", number=4)))["w2"] == "10.244.4.1"
    pool = cluster_object("IPPool", "p", spec={"cidr": "10.250.0.0/16"}) | {"apiVersion": "crd.projectcalico.org/v1"}
    tunl0 = node("w2", "10.250.9.0", "10.6.1.22", number=4)
    compilation = place.compile(GW1, tunl0, pods=[pool])
    assert nodes_of(compilation)["w2"] == "10.6.1.22"
    assert codes(compilation) == ["warning node-address"]


@pytest.mark.parametrize("docker_first", [False, True])
def test_an_address_of_many_nodes_is_nobodys_tunnel_end(docker_first: bool, place: Place) -> None:
    nodes = []
    for number, name in enumerate(["gw1", "gw2", "w1"], 1):
        own = [f"10.6.1.{number}", "172.17.0.1"]
        labels = GATEWAY_LABEL if name != "w1" else None
        nodes.append(node(name, *(own[::-1] if docker_first else own), labels=labels, number=number))
    compilation = place.compile(*nodes)
    assert nodes_of(compilation) == {"gw1": "10.6.1.1", "gw2": "10.6.1.2", "w1": "10.6.1.3"}
    assert codes(compilation) == (["warning address-twice"] if docker_first else [])
    assert "172.17.0.1" in compilation.plans[0].inside.ipv4


def test_one_address_of_two_nodes_is_an_error_where_they_have_no_other(place: Place) -> None:
    twins = [node("w2", "10.6.1.22", number=4), node("w3", "10.6.1.22", number=5)]
    assert refusal(place, GW1, *twins) == ["10.6.1.22 is the address of node w2 and of node w3"]
    given = {"w2": ["10.6.1.23"], "w3": ["10.6.1.24"]}
    assert nodes_of(place.compile(GW1, *twins, nodeAddresses=given))["w3"] == "10.6.1.24"
    named = place.compile(GW1, *twins, nodeAddresses={"w3": ["10.6.1.22"]})
    assert nodes_of(named) == {"gw1": "10.6.1.11", "w3": "10.6.1.22"}
    taint = {"taints": [{"key": "node.cloudprovider.kubernetes.io/uninitialized", "value": "true"}]}
    fresh = [{**twin, "spec": twin["spec"] | taint} for twin in twins]
    assert nodes_of(place.compile(GW1, *fresh)) == {"gw1": "10.6.1.11"}


def test_a_node_object_that_is_left_over_gives_way_to_the_node(place: Place) -> None:
    old = node("old", "10.6.1.22", "fd00:6::22", number=4, **NOT_READY)
    new = node("new", "10.6.1.22", "fd00:6::22", number=5)
    compilation = place.compile(GW1, old, new)
    assert nodes_of(compilation) == {"gw1": "10.6.1.11", "new": "10.6.1.22"}
    assert codes(compilation) == ["warning node-address"]
    assert "10.6.1.22 is the address of node new and of node old" in refusal(
        place, GW1, old, {**new, "status": old["status"]}
    )


BOTH = ["10.6.1.1", "fd00:6::1"]
FAMILIES = [
    # gateway nodes, workers, the family, who is left out
    ([BOTH], [["10.6.1.2", "fd00:6::2"]], 4, []),
    ([BOTH], [["fd00:6::2"]], 6, []),
    ([["fd00:6::1"]], [["fd00:6::2"], ["fd00:6::3", "10.6.1.3"]], 6, []),
    ([["10.6.1.1"]], [["fd00:6::2"], ["10.6.1.3"]], 4, ["w0"]),
    ([["10.6.1.1"], ["fd00:6::9"]], [["10.6.1.2"], ["fd00:6::3"], ["fd00:6::4"]], 6, ["gw0", "w0"]),
]


@pytest.mark.parametrize(("gateways", "workers", "family", "left_out"), FAMILIES)
def test_all_tunnels_run_over_one_family(
    gateways: list[list[str]], workers: list[list[str]], family: int, left_out: list[str], place: Place
) -> None:
    made = [node(f"gw{i}", *a, labels=GATEWAY_LABEL, number=10 + i) for i, a in enumerate(gateways)]
    made += [node(f"w{i}", *a, number=20 + i) for i, a in enumerate(workers)]
    compilation = place.compile(*made)
    used = nodes_of(compilation)
    assert all((":" in address) == (family == 6) for address in used.values())
    assert sorted({item["metadata"]["name"] for item in made} - used.keys()) == left_out
    for plan in compilation.plans:
        assert {peer.node: peer.underlay for peer in plan.kernel.peers}.items() <= used.items()
        gateway = plan.gateway
        vrrp = gateway.vrrp if gateway is not None else ()
        assert all(peer in used.values() for instance in vrrp for peer in (instance.source, *instance.peers))
        sync = gateway.sync if gateway is not None else None
        assert sync is None or {sync.source, *sync.peers} <= set(used.values())


def test_the_family_stays_and_a_setting_changes_it(place: Place) -> None:
    gateway, worker = node("gw1", *BOTH, labels=GATEWAY_LABEL, number=1), node("w1", "10.6.1.2", "fd00:6::2", number=2)
    assert set(nodes_of(place.compile(gateway, worker)).values()) == {"10.6.1.1", "10.6.1.2"}
    late = node("w2", "fd00:6::3", number=3)
    compilation = place.compile(gateway, worker, late)
    assert nodes_of(compilation) == {"gw1": "10.6.1.1", "w1": "10.6.1.2"}
    assert codes(compilation) == ["warning node-address"]
    moved = place.compile(gateway, worker, late, tunnel={"underlay": "ipv6"})
    assert nodes_of(moved) == {"gw1": "fd00:6::1", "w1": "fd00:6::2", "w2": "fd00:6::3"}
    assert json.loads(moved.lock_text)["underlay"] == "ipv6"
    assert nodes_of(place.compile(gateway, worker))["w1"] == "fd00:6::2"


def test_settings_name_the_address_of_a_node(place: Place) -> None:
    compilation = place.compile(GW1, node("w2", "10.9.9.9", number=4), nodeAddresses={"w2": ["10.6.1.22"]})
    assert nodes_of(compilation)["w2"] == "10.6.1.22"
    assert {"10.9.9.9", "10.6.1.22"} <= set(compilation.plans[0].inside.ipv4)


# ------------------------------------------------------------------------------------------ nodes that are to come


def test_a_node_without_an_address_comes_later(place: Place) -> None:
    fresh = node("w9", number=9, taints=[{"key": "node.cloudprovider.kubernetes.io/uninitialized", "value": "true"}])
    governed = pod("late", "w9", "10.244.9.10")
    compilation = place.compile(GW1, W1, fresh, pods=[governed])
    assert codes(compilation) == ["warning node-address", "warning pod-on-other-node"]
    assert list(nodes_of(compilation)) == ["gw1", "w1"]
    later = place.compile(GW1, W1, node("w9", "10.6.1.29", number=9), pods=[governed])
    assert codes(later) == []
    assert list(nodes_of(later)) == ["gw1", "w1", "w9"]


def test_a_node_that_loses_its_address_keeps_its_number(place: Place) -> None:
    before = place.compile(GW1, W1, node("w2", "10.6.1.22", number=4))
    place.compile(GW1, W1, node("w2", number=4), node("w3", "10.6.1.23", number=5))
    after = place.compile(GW1, W1, node("w2", "10.6.1.22", number=4), node("w3", "10.6.1.23", number=5))
    assert after.allocation.node_index["w2"] == before.allocation.node_index["w2"]


def test_a_gateway_node_without_an_address_is_an_error_where_it_is_needed(place: Place) -> None:
    nameless = node("gw2", labels=GATEWAY_LABEL, number=2)
    assert codes(place.compile(GW1, nameless)) == ["warning node-address"]
    alone = "node gw2 has no InternalIP yet, and EgressGateway internet has no other node"
    assert refusal(place, W1, nameless) == [alone]
    place.write(policies(2))
    place.compile(GW1, GW2)
    in_use = "node gw2 has no InternalIP yet, and EgressGateway internet has EIPs or policies on it, which would move"
    assert refusal(place, GW1, nameless) == [in_use]


def test_a_pin_waits_for_a_node_that_has_no_address_yet(place: Place) -> None:
    place.write(policies(2))
    place.compile(GW1, GW2)
    lock = place.inputs.lock_path
    data = json.loads(lock.read_text())
    key = next(key for key, entry in data["eips"].items() if entry["node"] == "gw1")
    data["eips"][key]["pinned"] = True
    lock.write_text(json.dumps(data))
    assert codes(place.compile(GW2)) == ["warning pin-waits"]
    nameless = node("gw1", labels=GATEWAY_LABEL, number=1)
    compilation = place.compile(GW2, nameless)
    assert codes(compilation) == ["warning node-address", "warning pin-waits"]
    assert any("which has no InternalIP yet" in d.message for d in compilation.diagnostics)
    assert sorted(preferred(place.compile(GW1, GW2))) == ["gw1", "gw2"]


# -------------------------------------------------------------------------------------------------- our own traces


def test_an_eip_that_a_gateway_node_reports_is_not_its_address(place: Place) -> None:
    place.write(policies(ipv6=True))
    dual = ["10.6.1.11", "fd00:6::11"]
    plain = place.compile(node("gw1", *dual, labels=GATEWAY_LABEL, number=1), W1)
    for addresses in (
        [*dual, "10.6.1.60", "fd00:6::60", "external=10.6.1.60"],
        ["10.6.1.60", "fd00:6::60", *dual],
        [*dual, "external=10.6.1.60"],
        [*dual, "172.31.0.1", "172.31.255.254"],
    ):
        compilation = place.compile(node("gw1", *addresses, labels=GATEWAY_LABEL, number=1), W1)
        assert codes(compilation) == ["warning own-address-reported"], addresses
        assert {k: v for k, v in compilation.files.items() if k != "manifest.json"} == {
            k: v for k, v in plain.files.items() if k != "manifest.json"
        }


def test_an_eip_that_is_really_a_nodes_address_is_an_error(place: Place) -> None:
    taken = "10.6.1.60 in the pool of EgressGateway internet is the address of node {}"
    assert refusal(place, node("gw1", "10.6.1.60", labels=GATEWAY_LABEL, number=1)) == [taken.format("gw1")]
    first = node("gw1", "10.6.1.60", "10.6.1.11", labels=GATEWAY_LABEL, number=1)
    assert refusal(place, first) == [taken.format("gw1")]
    assert refusal(place, GW1, node("w1", "10.6.1.21", "10.6.1.60", number=3)) == [taken.format("w1")]


# ------------------------------------------------------------------------------------------------------- readiness


def node_files(compilation: Compilation) -> dict[str, str]:
    return {name: text for name, text in compilation.files.items() if name.startswith("nodes/")}


def states(compilation: Compilation) -> dict[str, str]:
    (status,) = [d for d in yaml.safe_load_all(compilation.files["status.yaml"]) if d["kind"] == "EgressGateway"]
    return {entry["name"]: entry["status"] for entry in status["status"]["nodeList"]}


def preferred(compilation: Compilation) -> list[str]:
    slots = compilation.allocation.slots
    return [slots[p.slot].node for p in compilation.allocation.placements.values() if p.slot is not None]


def test_a_new_policy_goes_to_a_ready_gateway_and_what_is_placed_stays(place: Place) -> None:
    down = node("gw1", "10.6.1.11", labels=GATEWAY_LABEL, number=1, **NOT_READY)
    first = place.compile(down, GW2, W1)
    assert preferred(first) == ["gw2"]
    assert states(first) == {"gw1": "NotReady", "gw2": "Ready"}
    tunnels = [item for item in yaml.safe_load_all(first.files["status.yaml"]) if item["kind"] == "EgressTunnel"]
    phases = {item["metadata"]["name"]: item["status"]["phase"] for item in tunnels}
    assert (phases["gw1"], phases["gw2"]) == ("NodeNotReady", "Ready")
    assert codes(first) == ["warning gateway-not-ready"]
    assert [row[-1] for row in gateway_rows(first.resolved, first.allocation)] == ["gw1(NotReady),gw2"]
    place.write(policies(4))
    assert preferred(place.compile(down, GW2, W1)) == ["gw2"] * 4
    well = place.compile(GW1, GW2, W1)
    assert preferred(well) == ["gw2"] * 4
    assert codes(well) == []


def test_readiness_changes_no_file_of_a_node(place: Place) -> None:
    place.write(policies(4))
    well = place.compile(GW1, GW2, W1)
    assert sorted(preferred(well)) == ["gw1", "gw1", "gw2", "gw2"]
    cordoned = {**W1, "spec": W1["spec"] | {"unschedulable": True}}
    down = [{**item, "status": item["status"] | NOT_READY} for item in (GW1, GW2, cordoned)]
    for nodes in ((down[0], GW2, W1), (GW1, down[1], down[2]), down):
        ill = place.compile(*nodes)
        assert node_files(ill) == node_files(well)
        assert ill.lock_text == well.lock_text
        assert codes(ill) == ["warning gateway-not-ready"]


def test_where_no_gateway_is_ready_policies_go_to_all(place: Place) -> None:
    place.write(policies(4))
    down = [{**item, "status": item["status"] | NOT_READY} for item in (GW1, GW2)]
    compilation = place.compile(*down, W1)
    assert sorted(preferred(compilation)) == ["gw1", "gw1", "gw2", "gw2"]
    (found,) = [d for d in compilation.diagnostics if d.code == "gateway-not-ready"]
    assert "gw1 and gw2 of EgressGateway internet are not ready, and it has no other node" in found.message
