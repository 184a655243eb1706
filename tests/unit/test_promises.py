"""What people rely on stays, or that it does not is said: EIPs, pins, families, defaults that are no pair."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from egress_compiler.diagnostics import InvalidInput
from egress_compiler.pipeline import Compilation, Inputs, compile_bundle
from egress_compiler.status import wide_rows
from tests.properties.strategies import Json, cluster_object, document

RELEASED = "egressgateway.spidernet.io/released-eips"


def a_node(name: str, number: int, *, gateway: bool = True, families: Sequence[int] = (4, 6)) -> Json:
    texts = {4: f"10.0.0.{number}", 6: f"fd00::{number}"}
    spec = {"podCIDRs": [f"10.1.{number}.0/24", f"fd00:1:{number}::/64"]}
    addresses = [{"type": "InternalIP", "address": texts[family]} for family in families]
    labels = {"egress": "yes"} if gateway else {}
    return cluster_object("Node", name, labels=labels, spec=spec, status={"addresses": addresses})


def a_gateway(first: int = 60, last: int = 69, released: str = "", **pools: Any) -> Json:
    ippools = {"ipv4": [f"10.0.0.{first}-10.0.0.{last}"], "ipv6": [f"fd00::{first}-fd00::{last}"], **pools}
    selector = {"selector": {"matchLabels": {"egress": "yes"}}}
    made = document("EgressGateway", "internet", {"ippools": ippools, "nodeSelector": selector})
    made["metadata"]["annotations"] = {RELEASED: released} if released else {}
    return made


def a_policy(name: str, **egress_ip: Any) -> Json:
    applied = {"podSelector": {"matchLabels": {"app": name}}}
    return document(
        "EgressPolicy", name, {"egressGatewayName": "internet", "egressIP": egress_ip, "appliedTo": applied}, "a"
    )


class Repository:
    """Policies, cluster and lock file in one directory; each ``compile`` writes the lock."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.nodes = [a_node("gw1", 1), a_node("gw2", 2), a_node("w1", 3, gateway=False)]
        self.lock_path = directory / "egress.lock.json"

    def compile(self, *documents: Json, rebalance: bool = False) -> Compilation:
        policies, cluster = self.directory / "p.yaml", self.directory / "c.json"
        policies.write_text(yaml.safe_dump_all(documents))
        pod = {"phase": "Running", "podIPs": [{"ip": "10.1.3.9"}, {"ip": "fd00:1:3::9"}]}
        objects = [
            *self.nodes,
            cluster_object("Pod", "web", "a", {"app": "web"}, spec={"nodeName": "w1"}, status=pod),
            cluster_object("Namespace", "a"),
            cluster_object("ServiceCIDR", "kubernetes", spec={"cidrs": ["10.2.0.0/24", "fd00:2::/112"]}),
        ]
        cluster.write_text(json.dumps({"kind": "List", "items": objects}))
        made = compile_bundle(Inputs((policies,), (cluster,), lock=self.lock_path, rebalance=rebalance))
        self.lock_path.write_text(made.lock_text)
        return made

    def refused(self, *documents: Json) -> list[str]:
        with pytest.raises(InvalidInput) as caught:
            self.compile(*documents)
        return [d.message for d in caught.value.diagnostics if d.severity == "error"]

    @property
    def lock(self) -> dict[str, Any]:
        return dict(json.loads(self.lock_path.read_text()))

    def edit(self, section: str, key: str, entry: object) -> None:
        lock = self.lock
        lock[section][key] = entry
        self.lock_path.write_text(json.dumps(lock))


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path)


def eip(made: Compilation, name: str) -> tuple[str, str, str]:
    for item in yaml.safe_load_all(made.files["status.yaml"]):
        if item["kind"] == "EgressPolicy" and item["metadata"]["name"] == name:
            status = item["status"]
            return status["eip"].get("ipv4", ""), status["eip"].get("ipv6", ""), status["node"]
    raise AssertionError(name)


def codes(made: Compilation) -> list[str]:
    return sorted(d.code for d in made.diagnostics if d.code not in ("selects-nothing", "equal-priority"))


# ------------------------------------------------------------------------------------------------------------- pools


@pytest.mark.parametrize("egress_ip", [{}, {"allocatorPolicy": "rr"}])
def test_an_eip_in_use_does_not_leave_its_pool_in_silence(repository: Repository, egress_ip: Json) -> None:
    web = a_policy("web", **egress_ip)
    assert eip(repository.compile(a_gateway(), web), "web")[:2] == ("10.0.0.60", "fd00::60")
    before = repository.lock
    messages = repository.refused(a_gateway(61), web)
    assert len(messages) == 2  # one a family
    assert all("EgressPolicy a/web leaves with it" in message for message in messages)
    assert "10.0.0.60 is no longer" in messages[0]
    assert "would leave with 10.0.0.61" in messages[0]
    assert repository.lock == before
    made = repository.compile(a_gateway(61, released="10.0.0.60, fd00::60"), web)
    assert (eip(made, "web")[:2], codes(made)) == (("10.0.0.61", "fd00::61"), [])
    assert codes(repository.compile(a_gateway(61, released="10.0.0.60, fd00::60"), web)) == []
    assert repository.refused(a_gateway(62, released="10.0.0.60, fd00::60"), web)  # it covers no other address


def test_what_nobody_uses_may_leave_the_pool(repository: Repository) -> None:
    repository.compile(a_gateway(), a_policy("web"), a_policy("rr", allocatorPolicy="rr"))
    made = repository.compile(a_gateway(60, 61), a_policy("web"), a_policy("rr", allocatorPolicy="rr"))
    assert codes(made) == []
    made = repository.compile(
        a_gateway(61, 62), a_policy("web", ipv4="10.0.0.62"), a_policy("rr", allocatorPolicy="rr")
    )
    assert eip(made, "web")[0] == "10.0.0.62"  # the policy asked for it


def test_a_pool_that_loses_a_family(repository: Repository) -> None:
    repository.compile(a_gateway(), a_policy("web"))
    assert repository.refused(a_gateway(ipv6=[]), a_policy("web")) == [
        "fd00::60 is no longer in the pool of EgressGateway internet, and EgressPolicy a/web leaves with it: it would "
        "have no IPv6 EIP from now on"
    ]


def test_a_pool_that_shifts_changes_no_pair(repository: Repository) -> None:
    """Which address pairs with which is the pool's order: of what is given out nothing follows it."""
    web, named = a_policy("web", allocatorPolicy="rr"), a_policy("named", ipv4="10.0.0.65")
    before = repository.compile(a_gateway(), web, named)
    after = repository.compile(a_gateway(ipv4=["10.0.0.59-10.0.0.68"]), web, named)
    for name in ("web", "named"):
        assert eip(after, name) == eip(before, name)


@pytest.mark.parametrize(
    ("entry", "fields"),
    [
        ({"ipv4": "10.0.0.65", "ipv6": "fd00::60"}, ["ipv4"]),
        ({"ipv4": "10.9.9.9", "ipv6": "fd00::99"}, ["ipv4", "ipv6"]),
        ({"ipv4": "10.0.0.60", "ipv6": "10.0.0.60"}, ["ipv6"]),
        ({"ipv4": "ten", "ipv6": "fd00::60"}, ["ipv4"]),
    ],
)
def test_what_no_run_has_written_is_not_believed_in_silence(
    repository: Repository, entry: Json, fields: list[str]
) -> None:
    before = repository.compile(a_gateway(), a_policy("web"))
    lock_text = repository.lock_path.read_text()
    repository.edit("policies", "EgressPolicy a/web", {"gateway": "internet"} | entry)
    made = repository.compile(a_gateway(), a_policy("web"))
    assert codes(made) == ["lock-entry"] * len(fields)
    assert all(any(f"gave out '{entry[field]}'" in d.message for d in made.diagnostics) for field in fields)
    assert eip(made, "web") == eip(before, "web")
    assert repository.lock_path.read_text() == lock_text


def test_a_node_that_no_run_has_chosen_is_named_and_one_that_left_is_not(repository: Repository) -> None:
    policies = [a_policy("web"), a_policy("node", useNodeIP=True)]
    before = repository.compile(a_gateway(), *policies)
    repository.edit("eips", "internet/10.0.0.60", {"node": "w1"})
    repository.edit("policies", "EgressPolicy a/node", {"gateway": "internet", "node": "nowhere"})
    made = repository.compile(a_gateway(), *policies)
    assert codes(made) == ["lock-entry", "lock-entry"]
    assert repository.lock == json.loads(before.lock_text)
    for number in (0, 1):
        kept, repository.nodes = repository.nodes, [n for i, n in enumerate(repository.nodes) if i != number]
        assert codes(repository.compile(a_gateway(), *policies)) == []
        repository.nodes = kept


# -------------------------------------------------------------------------------------------------------------- pins


def test_a_pin_waits_for_its_node(repository: Repository) -> None:
    repository.compile(a_gateway(), a_policy("web"))
    repository.edit("eips", "internet/10.0.0.60", {"node": "gw2", "pinned": True})
    nodes = repository.nodes
    assert eip(repository.compile(a_gateway(), a_policy("web")), "web")[2] == "gw2"
    repository.nodes = [node for node in nodes if node["metadata"]["name"] != "gw2"]
    for _ in range(2):
        made = repository.compile(a_gateway(), a_policy("web"), rebalance=True)
        assert (eip(made, "web")[2], codes(made)) == ("gw1", ["pin-waits"])
        assert wide_rows(made.resolved, made.allocation)["a", "web"][-1] == "(gw2)"
        entry = {"node": "gw2", "pinned": True, "meanwhile": "gw1"}
        assert repository.lock["eips"] == {"internet/10.0.0.60": entry}
    repository.nodes = [node for node in nodes if node["metadata"]["name"] == "w1"]
    repository.compile(a_gateway(), a_policy("web"))
    repository.nodes = nodes
    made = repository.compile(a_gateway(), a_policy("web"))
    assert (eip(made, "web")[2], codes(made)) == ("gw2", [])
    assert repository.lock["eips"] == {"internet/10.0.0.60": {"node": "gw2", "pinned": True}}


def test_a_pin_outlives_the_policies_that_use_its_eip(repository: Repository) -> None:
    repository.compile(a_gateway(), a_policy("web", ipv4="10.0.0.65"))
    repository.edit("eips", "internet/10.0.0.65", {"node": "gw2", "pinned": True})
    assert codes(repository.compile(a_gateway())) == []
    made = repository.compile(a_gateway(), a_policy("web", ipv4="10.0.0.65"))
    assert eip(made, "web")[2] == "gw2"


# ---------------------------------------------------------------------------------------------------------- no pairs

UNPAIRED: dict[str, Any] = {"ipv4DefaultEIP": "10.0.0.60", "ipv6DefaultEIP": "fd00::61"}


def test_defaults_that_are_no_pair_are_taken_as_they_are(repository: Repository) -> None:
    policies = [a_policy("web"), *(a_policy(f"rr{n}", allocatorPolicy="rr") for n in range(3))]
    made = repository.compile(a_gateway(**UNPAIRED), *policies, a_policy("both", ipv4="10.0.0.60", ipv6="fd00::61"))
    assert eip(made, "web")[:2] == eip(made, "both")[:2] == ("10.0.0.60", "fd00::61")
    # Those whose addresses nobody has come first, and they pair.
    assert [eip(made, f"rr{n}")[:2] for n in range(3)] == [(f"10.0.0.6{n}", f"fd00::6{n}") for n in (2, 3, 4)]
    again = repository.compile(a_gateway(**UNPAIRED), *policies)
    assert [eip(again, p["metadata"]["name"]) for p in policies] == [eip(made, p["metadata"]["name"]) for p in policies]


def test_eips_that_share_an_address_share_a_node(repository: Repository) -> None:
    """Else two nodes would own one address."""
    named = [a_policy(f"n{n}", ipv4=f"10.0.0.6{n}") for n in range(4)]
    made = repository.compile(a_gateway(), *named)
    assert {eip(made, f"n{n}")[2] for n in range(2)} == {"gw1", "gw2"}
    made = repository.compile(a_gateway(**UNPAIRED), *named)
    together = {eip(made, name)[2] for name in ("n0", "n1")}
    assert len(together) == 1  # already now, so that the next policy moves nobody
    made = repository.compile(a_gateway(**UNPAIRED), *named, a_policy("web"), a_policy("web2"))
    assert eip(made, "web")[:2] == ("10.0.0.60", "fd00::61")
    assert {eip(made, name)[2] for name in ("web", "web2", "n0", "n1")} == together
    owners: dict[str, set[str]] = {}
    for plan in made.plans:
        for slot in plan.gateway.memberships if plan.gateway is not None else ():
            for address in slot.eips:
                owners.setdefault(address.address, set()).add(slot.preferred_node)
    assert all(len(nodes) == 1 for nodes in owners.values())
    assert made.allocation.groups["internet/10.0.0.60"] == ("internet/10.0.0.60", "internet/10.0.0.61")


def test_a_default_of_which_one_address_is_written_keeps_the_other(repository: Repository) -> None:
    repository.compile(a_gateway(**UNPAIRED), a_policy("web"))
    some: list[dict[str, Any]] = [{"ipv4DefaultEIP": "10.0.0.60"}, {"ipv6DefaultEIP": "fd00::61"}, {}]
    for pools in some:
        assert eip(repository.compile(a_gateway(**pools), a_policy("web")), "web")[:2] == ("10.0.0.60", "fd00::61")
    made = repository.compile(a_gateway(ipv4DefaultEIP="10.0.0.65"), a_policy("web"))
    assert eip(made, "web")[:2] == ("10.0.0.65", "fd00::65")


# ---------------------------------------------------------------------------------------------------------- families


def test_a_family_that_no_gateway_node_has_is_not_promised(repository: Repository) -> None:
    dual, web = repository.nodes, a_policy("web")
    repository.nodes = [a_node("gw1", 1, families=[4]), a_node("gw2", 2, families=[4]), dual[2]]
    made = repository.compile(a_gateway(), web)
    assert (eip(made, "web")[:2], codes(made)) == (("10.0.0.60", ""), ["family-blocked"])
    (slice_,) = yaml.safe_load_all(made.files["endpointslices.yaml"])
    assert [(e["ipv4"], e["ipv6"]) for e in slice_["endpoints"]] == [(["10.1.3.9"], [])]
    gateways = [plan.gateway for plan in made.plans if plan.gateway is not None]
    assert gateways
    assert not any(gateway.eips.ipv6 or gateway.leave_with.ipv6 for gateway in gateways)
    repository.nodes = dual
    made = repository.compile(a_gateway(), web)
    assert (eip(made, "web")[:2], codes(made)) == (("10.0.0.60", "fd00::60"), [])
