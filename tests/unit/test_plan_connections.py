"""What becomes of open connections, change by change, on the smallest cluster that shows it."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from egress_compiler.cli.move import pinned
from egress_compiler.pipeline import Compilation, Inputs, compile_bundle
from egress_compiler.plan import Plan, between
from egress_compiler.plan.model import Flow
from tests.properties.strategies import Json, cluster_object, document

WEB = {"podSelector": {"matchLabels": {"app": "web"}}}
API = {"podSelector": {"matchLabels": {"app": "api"}}}
BOTH = {"podSelector": {"matchExpressions": [{"key": "app", "operator": "Exists"}]}}


def node(name: str, address: str, number: int, *, gateway: bool = False) -> Json:
    labels = {"egress": "yes"} if gateway else {}
    status = {"addresses": [{"type": "InternalIP", "address": address}]}
    return cluster_object("Node", name, labels=labels, spec={"podCIDRs": [f"10.244.{number}.0/24"]}, status=status)


def pod(name: str, app: str, where: str, address: str) -> Json:
    status = {"phase": "Running", "podIPs": [{"ip": address}]}
    return cluster_object("Pod", name, "shop", {"app": app}, spec={"nodeName": where}, status=status)


NODES = [
    node("gw1", "10.6.1.11", 1, gateway=True),
    node("gw2", "10.6.1.12", 2, gateway=True),
    node("worker", "10.6.1.21", 3),
]
PODS = [pod("web", "web", "worker", "10.244.3.10"), pod("api", "api", "worker", "10.244.3.20")]
OTHERS = [
    cluster_object("Namespace", "shop"),
    cluster_object("ServiceCIDR", "kubernetes", spec={"cidrs": ["10.96.0.0/16"]}),
]

GATEWAY = document(
    "EgressGateway",
    "internet",
    {
        "clusterDefault": True,
        "ippools": {"ipv4": ["10.6.1.60-10.6.1.69"]},
        "nodeSelector": {"selector": {"matchLabels": {"egress": "yes"}}},
    },
)
LEADS_NOWHERE = "no policy leads them to a gateway any more, and the nodes of these pods drop them"
ONE_GATEWAY = [*NODES[:1], *NODES[2:], *PODS, *OTHERS]
NO_GATEWAY = [node("gw1", "10.6.1.11", 1), *NODES[2:], *PODS, *OTHERS]


def policy(name: str, eip: str, applied: Json = WEB, **more: object) -> Json:
    own = {"useNodeIP": True} if eip == "node" else {"ipv4": eip}
    return document("EgressPolicy", name, {"egressIP": own, "appliedTo": applied, **more}, "shop")


class Cluster:
    """Compiles what a test gives it, each time with the lock file of the time before."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._last: Compilation | None = None
        self._settings: Path | None = None

    def settings(self, text: str) -> None:
        self._settings = self._directory / "settings.yaml"
        self._settings.write_text(text)

    def compiled(
        self, *policies: Json, objects: Sequence[Json] = (), move: tuple[str, str] | None = None
    ) -> Compilation:
        spec = {
            "ippools": {"ipv4": ["10.6.1.60-10.6.1.69"]},
            "nodeSelector": {"selector": {"matchLabels": {"egress": "yes"}}},
        }
        gateway = document("EgressGateway", "internet", {"clusterDefault": True, **spec})
        documents = [json.dumps(item) for item in (gateway, *policies)]
        (self._directory / "policies.yaml").write_text("\n---\n".join(documents))
        items = {"kind": "List", "items": list(objects or (*NODES, *PODS, *OTHERS))}
        (self._directory / "cluster.json").write_text(json.dumps(items))
        inputs = Inputs(
            (self._directory / "policies.yaml",), (self._directory / "cluster.json",), settings=self._settings
        )
        lock = self._last.allocation.lock if self._last else None
        if lock is not None and move is not None:
            lock = pinned(lock, [move[0]], move[1])
        self._last = compile_bundle(inputs, lock)
        return self._last


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster(tmp_path)


def flows(plan: Plan, name: str) -> list[Flow]:
    return [flow for group in plan.sources for flow in group.flows if name in {m.name for m in group.members}]


def only_flow(before: Compilation, after: Compilation, name: str = "shop/web") -> Flow:
    found = flows(between(before, after, "before"), name)
    assert len(found) == 1
    return found[0]


def test_a_new_policy_leaves_open_connections_alone(cluster: Cluster) -> None:
    before = cluster.compiled(policy("api", "10.6.1.61", API))
    flow = only_flow(before, cluster.compiled(policy("api", "10.6.1.61", API), policy("web", "10.6.1.62")))
    assert (flow.kind, flow.connections.outcome, flow.disruptive) == ("gains", "kept", False)
    assert flow.connections.reason == "go on through no gateway, with the address that they have, until they close"


def test_another_eip_keeps_open_connections_while_the_old_one_stays_in_its_slot(cluster: Cluster) -> None:
    before = cluster.compiled(policy("api", "10.6.1.61", API), policy("web", "10.6.1.61"))
    flow = only_flow(before, cluster.compiled(policy("api", "10.6.1.61", API), policy("web", "10.6.1.62")))
    assert (flow.kind, flow.connections.outcome, flow.disruptive) == ("changes", "kept", True)
    assert flow.connections.reason == "keep 10.6.1.61 until they close"


def test_another_eip_breaks_open_connections_where_nobody_else_has_the_old_one(cluster: Cluster) -> None:
    stays = policy("api", "10.6.1.63", API)
    before = cluster.compiled(policy("web", "10.6.1.61"), stays)
    before = cluster.compiled(policy("web", "10.6.1.61"), stays, move=("internet/10.6.1.63", before_node(before)))
    flow = only_flow(before, cluster.compiled(policy("web", "10.6.1.62"), stays))
    assert (flow.kind, flow.connections.outcome) == ("changes", "broken")
    assert flow.connections.reason == "10.6.1.61 is on no gateway any more"


def before_node(compilation: Compilation) -> str:
    """The node of 10.6.1.61."""
    return compilation.allocation.lock.eips["internet/10.6.1.61"].node


def test_a_policy_that_goes_breaks_what_it_led_to_a_gateway(cluster: Cluster) -> None:
    api = policy("api", "10.6.1.63", API)
    before = cluster.compiled(policy("web", "10.6.1.61"), api)
    assert before_node(before) != before.allocation.lock.eips["internet/10.6.1.63"].node
    flow = only_flow(before, cluster.compiled(api))
    assert (flow.kind, flow.connections.outcome) == ("loses", "broken")
    assert flow.connections.reason == LEADS_NOWHERE


def test_a_policy_that_goes_keeps_its_own_where_another_one_has_the_same_eip(cluster: Cluster) -> None:
    """Its answer number goes on meaning the EIP, on the nodes whose pods use the slot."""
    api = policy("api", "10.6.1.61", API)
    before = cluster.compiled(policy("web", "10.6.1.61"), api)
    flow = only_flow(before, cluster.compiled(api))
    assert (flow.kind, flow.connections.outcome, flow.disruptive) == ("loses", "kept", True)
    assert flow.connections.reason == "keep 10.6.1.61 until they close"


def test_a_pod_that_leaves_a_policy_keeps_what_its_node_still_gives_to_others(cluster: Cluster) -> None:
    more = pod("more", "web", "worker", "10.244.3.30")
    before = cluster.compiled(policy("web", "10.6.1.61"), objects=[*NODES, *PODS, more, *OTHERS])
    other = [*NODES, pod("web", "none", "worker", "10.244.3.10"), PODS[1], more, *OTHERS]
    flow = only_flow(before, cluster.compiled(policy("web", "10.6.1.61"), objects=other))
    assert (flow.kind, flow.connections.outcome, flow.disruptive) == ("loses", "kept", True)
    assert flow.connections.reason == "keep 10.6.1.61 until they close"


@pytest.mark.parametrize("told", [True, False])
def test_another_eip_on_another_gateway_is_a_matter_of_what_that_one_was_told(cluster: Cluster, told: bool) -> None:
    cluster.settings(f"connectionSync: {{enabled: {str(told).lower()}}}\n")
    stays = policy("stays", "10.6.1.61", {"podSelector": {"matchLabels": {"app": "far"}}})
    here = policy("web", "10.6.1.61"), policy("api", "10.6.1.62", API), stays
    objects = [*NODES, *PODS, pod("far", "far", "gw1", "10.244.1.10"), *OTHERS]
    before = cluster.compiled(*here, objects=objects)
    home = before_node(before)
    there = "gw2" if home == "gw1" else "gw1"
    before = cluster.compiled(*here, objects=objects, move=("internet/10.6.1.62", there))
    flow = only_flow(before, cluster.compiled(policy("web", "10.6.1.62"), *here[1:], objects=objects))
    assert (flow.kind, flow.before.node, flow.after.node) == ("changes", home, there)
    reason = "keep 10.6.1.61 until they close" if told else f"they now lead to {there}, which does not know them"
    assert (flow.connections.outcome, flow.connections.reason) == ("kept" if told else "broken", reason)


@pytest.mark.parametrize(("told", "how"), [(True, "was told of them"), (False, "picks them up when their pods speak")])
def test_an_eip_that_moves_takes_its_open_connections_along(cluster: Cluster, told: bool, how: str) -> None:
    cluster.settings(f"connectionSync: {{enabled: {str(told).lower()}}}\n")
    policies = policy("web", "10.6.1.61"), policy("api", "10.6.1.62", BOTH, destSubnet=["203.0.113.0/24"], priority=1)
    before = cluster.compiled(*policies)
    other = "gw2" if before_node(before) == "gw1" else "gw1"
    plan = between(before, cluster.compiled(*policies, move=("internet/10.6.1.61", other)), "before")
    (flow,) = flows(plan, "shop/web")
    assert (flow.kind, flow.before.address, flow.after.address) == ("moves", "10.6.1.61", "10.6.1.61")
    assert (flow.connections.outcome, plan.disruptive) == ("kept", False)
    assert flow.connections.reason == f"go on by {other}, which {how}"
    assert [(eip.before, eip.after) for eip in plan.eips] == [("gw1" if other == "gw2" else "gw2", other)]


@pytest.mark.parametrize("told", [True, False])
def test_it_does_so_while_its_old_slot_lives(cluster: Cluster, told: bool) -> None:
    cluster.settings(f"connectionSync: {{enabled: {str(told).lower()}}}\n")
    both = policy("web", "10.6.1.61"), policy("api", "10.6.1.62", API)
    before = cluster.compiled(*both)
    here = before_node(before)
    before = cluster.compiled(*both, move=("internet/10.6.1.62", here))
    there = "gw2" if here == "gw1" else "gw1"
    flow = only_flow(before, cluster.compiled(*both, move=("internet/10.6.1.61", there)))
    how = "was told of them" if told else "picks them up when their pods speak"
    assert (flow.connections.outcome, flow.connections.reason) == ("kept", f"go on by {there}, which {how}")


def test_node_addresses_break_where_the_gateway_lets_them_out_no_more(cluster: Cluster) -> None:
    keeps_slot = policy("api", "10.6.1.62", API), policy("other", "10.6.1.63", API, destSubnet=["203.0.113.0/24"])
    before = cluster.compiled(policy("web", "node"), *keeps_slot)
    flow = only_flow(before, cluster.compiled(*keeps_slot))
    assert (flow.kind, flow.connections.outcome) == ("loses", "broken")


def test_a_blocked_pod_has_nothing_open(cluster: Cluster) -> None:
    before = cluster.compiled(policy("web", "10.6.1.61"), objects=NO_GATEWAY)
    flow = only_flow(before, cluster.compiled(policy("web", "10.6.1.61"), objects=ONE_GATEWAY))
    assert (flow.kind, flow.connections.outcome, flow.disruptive) == ("unblocks", "none", False)


def test_losing_the_last_gateway_node_blocks(cluster: Cluster) -> None:
    before = cluster.compiled(policy("web", "10.6.1.61"), objects=ONE_GATEWAY)
    plan = between(before, cluster.compiled(policy("web", "10.6.1.61"), objects=NO_GATEWAY), "before")
    (flow,) = flows(plan, "shop/web")
    assert (flow.kind, flow.connections.outcome, plan.disruptive) == ("blocks", "broken", True)
    assert flow.connections.reason == "they are refused as new ones are"


def test_a_pod_that_came_back_elsewhere_has_nothing_open(cluster: Cluster) -> None:
    before = cluster.compiled(policy("web", "10.6.1.61"))
    again = [*NODES, pod("web", "web", "gw2", "10.244.2.10"), PODS[1], *OTHERS]
    flow = only_flow(before, cluster.compiled(policy("web", "10.6.1.62"), objects=again))
    assert (flow.kind, flow.connections.outcome) == ("changes", "none")


def test_a_pod_that_leaves_the_cluster_loses_nothing(cluster: Cluster) -> None:
    before = cluster.compiled(policy("web", "10.6.1.61"))
    plan = between(before, cluster.compiled(policy("web", "10.6.1.61"), objects=[*NODES, PODS[1], *OTHERS]), "before")
    assert (plan.gone, plan.sources, plan.disruptive) == (("shop/web",), (), False)


def test_a_new_node_is_told_once_and_not_of_every_pod(cluster: Cluster) -> None:
    before = cluster.compiled(policy("web", "10.6.1.61"))
    more = [*NODES, node("new", "10.6.1.22", 4), *PODS, *OTHERS]
    plan = between(before, cluster.compiled(policy("web", "10.6.1.61"), objects=more), "before")
    assert plan.inside[4] == (("10.6.1.22", "10.244.4.0/24"), ())
    assert (plan.sources, plan.disruptive, plan.empty) == ((), False, False)


def test_a_destination_that_somebody_puts_inside_is_lost_to_its_pods(cluster: Cluster) -> None:
    web = policy("web", "10.6.1.61", destSubnet=["203.0.113.0/24", "198.51.100.0/24"])
    before = cluster.compiled(web)
    info = document("EgressClusterInfo", "default", {"extraCidr": ["203.0.113.0/25", "192.0.2.0/24"]})
    plan = between(before, cluster.compiled(web, info), "before")
    (flow,) = flows(plan, "shop/web")
    assert (flow.kind, flow.region.destinations, plan.disruptive) == ("loses", ("203.0.113.0/25",), True)
    assert flow.connections.outcome == "kept"
    assert plan.inside[4] == (("192.0.2.0/24", "203.0.113.0/25"), ())


def test_a_tunnel_that_changes_under_all_nodes_is_noted(cluster: Cluster, tmp_path: Path) -> None:
    before = cluster.compiled(policy("web", "10.6.1.61"))
    settings = tmp_path / "settings.yaml"
    settings.write_text("tunnel: {vni: 7}\nvrrp: {advertIntervalMs: 500}\n")
    inputs = Inputs((tmp_path / "policies.yaml",), (tmp_path / "cluster.json",), settings=settings)
    plan = between(before, compile_bundle(inputs, before.allocation.lock), "before")
    assert [note.disruptive for note in plan.notes] == [True, True]
    assert plan.notes[0].text.startswith("the tunnel of gw1, gw2, worker changes")
    assert plan.notes[1].text.startswith("VRRP of gw1, gw2 changes")


def test_a_policy_that_asks_for_it_cuts_what_was_open_before_and_what_it_changes(cluster: Cluster) -> None:
    web = policy("web", "10.6.1.62")
    web["metadata"]["annotations"] = {"egressgateway.spidernet.io/connections": "cut"}
    api = policy("api", "10.6.1.61", API)
    gains = only_flow(cluster.compiled(api), cluster.compiled(api, web))
    assert (gains.connections.outcome, gains.connections.reason) == ("broken", "cut, as EgressPolicy shop/web says")
    before = cluster.compiled(api, web)
    assert flows(between(before, cluster.compiled(api, web), "before"), "shop/web") == []
    web["spec"]["egressIP"] = {"ipv4": "10.6.1.61"}
    assert only_flow(before, cluster.compiled(api, web)).connections.outcome == "broken"
