"""A gateway drained under load, as the pods and the nodes see it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from egress_compiler.lab import Lab, ProbeTarget
from tests.ansible.conftest import EXAMPLE, NODES, Node, compiled, node_files, playbook
from tests.ansible.test_playbooks import changed_in_order
from tests.lab.by_hand import wait_for

pytestmark = pytest.mark.lab

POD, EIP = "shop/web-5d8f7c9b6d-4kq2x", "10.6.1.61"
ALONE = 1000
"""Milliseconds: a slot whose master just vanishes takes 600 to 850."""


def held(node: Node) -> list[str]:
    """The EIPs and tunnel VIPs that the node has; whatever it has is no drift."""
    done = node.module("verify", service_manager="direct")
    assert not done.get("failed"), done["msg"]
    assert done["drift"] == []
    addresses: list[str] = done["held"]
    return addresses


@pytest.fixture(autouse=True)
def nothing_left(lab: Lab) -> Iterator[None]:
    yield
    for name in reversed(NODES):
        Node(lab, name).absent()


def test_a_drained_gateway_hands_over_without_an_outage_and_takes_back(lab: Lab, bundle_dir: Path) -> None:
    gw1, gw2 = Node(lab, "gw1"), Node(lab, "gw2")
    for name in NODES:
        done = Node(lab, name).apply(node_files(bundle_dir, name))
        assert not done.get("failed"), done["msg"]
    wait_for(lambda: EIP in held(gw1) and "10.6.1.60" in held(gw2), "each gateway to have its own")
    everything = sorted({*held(gw1), *held(gw2)})

    assert changed_in_order(playbook(lab, "drain", "--limit", "gw1", "--check").stdout) == ["gw1"]
    assert EIP in held(gw1), "check mode touches nothing"
    refused = playbook(lab, "drain", check=False)
    assert refused.returncode != 0
    assert "These are all gateways of egress_gateways" in refused.stdout
    assert EIP in held(gw1)

    server = lab.topology.outside.far4[0]
    with lab.outage(POD, ProbeTarget("udp", server), 60) as udp, lab.outage(POD, ProbeTarget("tcp", server), 60) as tcp:
        _there_and_back(gw1, gw2, everything, node_files(bundle_dir, "gw1"))
        for meter in (udp, tcp):
            outage = meter.stop()
            print(f"{meter.target.protocol}: longest gap {outage.longest_gap_ms:.0f} ms over drain and undrain")
            assert (outage.error, outage.seen) == (None, (EIP,))
            assert outage.longest_gap_ms < ALONE / 2


def _there_and_back(gw1: Node, gw2: Node, everything: list[str], files: dict[str, str]) -> None:
    lab = gw1.lab
    assert changed_in_order(playbook(lab, "drain", "--limit", "gw1").stdout) == ["gw1"]
    assert held(gw1) == []
    wait_for(lambda: held(gw2) == everything, "the other one to have all")
    assert changed_in_order(playbook(lab, "drain", "--limit", "gw1").stdout) == []
    assert gw1.apply(files)["changes"] == [], "what keepalived watches is no drift"
    assert gw1.module("verify", service_manager="direct")["drained"]
    assert gw1.module("info")["egress_info"]["drained"]

    refused = gw2.module("drain", wait=1.5)
    assert refused["failed"]
    assert "no other gateway took 10.6.1.60, " in refused["msg"]
    assert refused["msg"].endswith("The drain was undone.")
    assert held(gw2) == everything

    assert changed_in_order(playbook(lab, "undrain").stdout) == ["gw1"]
    wait_for(lambda: EIP in held(gw1) and EIP not in held(gw2), "the addresses to come back")


def test_where_nobody_preempts_a_drained_gateway_lets_go_too(lab: Lab, tmp_path: Path) -> None:
    settings = (EXAMPLE / "settings.yaml").read_text(encoding="utf-8") + "vrrp: {preempt: false}\n"
    (tmp_path / "settings.yaml").write_text(settings, encoding="utf-8")
    bundle = compiled(tmp_path / "bundle", settings=tmp_path / "settings.yaml")
    gw1, gw2 = Node(lab, "gw1"), Node(lab, "gw2")
    for node in (gw1, gw2):
        done = node.apply(node_files(bundle, node.name))
        assert not done.get("failed"), done["msg"]
    wait_for(lambda: EIP in held(gw1) + held(gw2), "a master")
    first, second = (gw1, gw2) if EIP in held(gw1) else (gw2, gw1)
    for node, other in ((first, second), (second, first)):
        assert node.module("drain")["held"] == []
        wait_for(lambda other=other: EIP in held(other), "the other gateway to take over")  # type: ignore[misc]  # mypy infers no default
        assert node.module("drain", state="active")["changed"]
        assert EIP in held(other), "it stays there: nobody preempts"


def test_a_worker_is_refused(worker: Node, bundle_dir: Path) -> None:
    assert "apply the bundle first" in worker.module("drain")["msg"]
    worker.apply(node_files(bundle_dir, "worker1"))
    assert worker.module("drain")["msg"] == "worker1 is a worker: only gateways hold addresses that could go"


def test_removal_forgets_the_drain(gateway: Node, bundle_dir: Path) -> None:
    gateway.apply(node_files(bundle_dir, "gw1"))
    gateway.shell("echo 1 >/etc/egress-gateway/drained")
    assert "file /etc/egress-gateway/drained" in [change["object"] for change in gateway.absent()["changes"]]
    assert gateway.shell("test -e /etc/egress-gateway || echo gone") == "gone\n"
