"""The playbooks as people run them: over SSH, from the controller, with the lab's inventory."""

import json
import re
from pathlib import Path

import pytest
import yaml

from egress_compiler.lab import Lab
from tests.ansible.conftest import EXAMPLE, NODES, Node, node_files, playbook

pytestmark = pytest.mark.lab


def tallies(output: str) -> dict[str, int]:
    """Host to number of changed tasks, from the recap."""
    return {
        host: int(number) for host, number in re.findall(r"^(\S+)\s+: ok=\d+\s+changed=(\d+)", output, re.MULTILINE)
    }


def changed_in_order(output: str) -> list[str]:
    return re.findall(r"^changed: \[(\S+?)\]", output, re.MULTILINE)


def test_from_policies_to_nodes_and_back(lab: Lab, tmp_path: Path) -> None:
    before = {node: lab.snapshot_node(node) for node in NODES}
    given = {
        "egress_policies": [str(EXAMPLE / "policies")],
        "egress_cluster": [str(EXAMPLE / "cluster.json")],
        "egress_settings": str(EXAMPLE / "settings.yaml"),
        "egress_lock": str(tmp_path / "lock.json"),
        "egress_bundle": str(tmp_path / "bundle"),
    }
    extra = ["-e", json.dumps(given)]

    first = playbook(lab, "apply", *extra).stdout
    order = changed_in_order(first)
    assert order[:3] == ["localhost", "gw1", "gw2"], "gateways one after the other, then workers"
    assert sorted(order[3:]) == ["worker1", "worker2"]

    second = playbook(lab, "apply", *extra).stdout
    assert set(tallies(second).values()) == {0}

    element = "'{ 10.244.3.10 }'"
    Node(lab, "worker1").signal_agent("STOP")  # it would have it back by the time of the next task
    Node(lab, "worker1").shell(f"nft delete element inet egress_gateway governed_pods4 {element}")
    verified = playbook(lab, "verify", *extra, check=False)
    assert verified.returncode != 0
    assert "element 10.244.3.10 of map governed_pods4" in verified.stdout
    assert "EgressPolicy shop/web" in verified.stdout

    predicted = playbook(lab, "apply", *extra, "--check", "--diff").stdout
    assert changed_in_order(predicted) == ["worker1"]
    assert "+element 10.244.3.10 of map governed_pods4: goto policy.egp.shop.web" in predicted
    assert changed_in_order(playbook(lab, "apply", *extra).stdout) == ["worker1"]

    gone = playbook(lab, "absent").stdout
    assert sorted(changed_in_order(gone)[:2]) == ["worker1", "worker2"]
    assert sorted(changed_in_order(gone)[2:]) == ["gw1", "gw2"]
    for node in NODES:
        assert before[node].diff(lab.snapshot_node(node)) == ""


def test_a_failing_gateway_keeps_the_rest_as_it_is(lab: Lab, bundle_dir: Path) -> None:
    before = {node: lab.snapshot_node(node) for node in NODES}
    lab.exec("gw1", ["ip", "link", "add", "name", "keep0", "type", "bridge"])
    lab.exec("gw1", ["sh", "-ec", "mkdir /etc/egress-gateway; mount -t tmpfs -o ro none /etc/egress-gateway"])
    done = playbook(lab, "apply", "-e", f"egress_bundle={bundle_dir}", check=False)
    lab.exec("gw1", ["sh", "-ec", "umount /etc/egress-gateway; rmdir /etc/egress-gateway; ip link delete keep0"])
    assert done.returncode != 0
    assert "Read-only file system" in done.stdout
    assert "rolled back" in done.stdout
    for node in NODES:
        assert before[node].diff(lab.snapshot_node(node)) == ""


def test_a_failing_worker_keeps_the_next_batch_as_it_is(lab: Lab, bundle_dir: Path) -> None:
    before = {node: lab.snapshot_node(node) for node in NODES}
    lab.exec("worker1", ["sh", "-ec", "mkdir /etc/egress-gateway; mount -t tmpfs -o ro none /etc/egress-gateway"])
    given = ["-e", f"egress_bundle={bundle_dir}", "-e", "egress_worker_batch=1"]
    done = playbook(lab, "apply", *given, check=False)
    lab.exec("worker1", ["sh", "-ec", "umount /etc/egress-gateway; rmdir /etc/egress-gateway"])
    assert done.returncode != 0
    assert changed_in_order(done.stdout) == ["gw1", "gw2"]
    for node in ("worker1", "worker2"):
        assert before[node].diff(lab.snapshot_node(node)) == ""
    playbook(lab, "absent")


@pytest.mark.parametrize("dead", ["gw1", "gw2"], ids=["first", "last"])
def test_a_gateway_that_does_not_answer_stops_the_run(dead: str, lab: Lab, bundle_dir: Path, tmp_path: Path) -> None:
    """Before anything is changed, though any_errors_fatal would go on after a batch of one."""
    before = {node: lab.snapshot_node(node) for node in NODES}
    refuses = tmp_path / "refuses.yml"
    refuses.write_text(f"all: {{hosts: {{{dead}: {{ansible_port: 9}}}}}}\n", encoding="utf-8")
    done = playbook(lab, "apply", "-i", str(refuses), "-e", f"egress_bundle={bundle_dir}", check=False)
    assert done.returncode != 0
    assert f"something is amiss with {dead}" in done.stdout
    assert changed_in_order(done.stdout) == []
    for node in NODES:
        assert before[node].diff(lab.snapshot_node(node)) == ""


def test_a_worker_that_does_not_answer_keeps_the_next_batch_as_it_is(
    lab: Lab, bundle_dir: Path, tmp_path: Path
) -> None:
    before = lab.snapshot_node("worker2")
    refuses = tmp_path / "refuses.yml"
    refuses.write_text("all: {hosts: {worker1: {ansible_port: 9}}}\n", encoding="utf-8")
    given = ["-i", str(refuses), "-e", f"egress_bundle={bundle_dir}", "-e", "egress_worker_batch=1"]
    done = playbook(lab, "apply", *given, check=False)
    assert done.returncode != 0
    assert changed_in_order(done.stdout) == ["gw1", "gw2"]
    assert "something is amiss with worker1" in done.stdout
    assert before.diff(lab.snapshot_node("worker2")) == ""
    removed = playbook(lab, "absent", "-i", str(refuses), check=False)
    assert removed.returncode != 0
    assert "No gateway is cleared, for something is amiss with worker1" in removed.stdout
    playbook(lab, "absent")


def test_drain_stops_at_a_gateway_that_does_not_answer(lab: Lab, tmp_path: Path) -> None:
    refuses = tmp_path / "refuses.yml"
    refuses.write_text("all: {hosts: {gw1: {ansible_port: 9}}}\n", encoding="utf-8")
    done = playbook(lab, "drain", "-i", str(refuses), check=False)
    assert done.returncode != 0
    assert changed_in_order(done.stdout) == []


@pytest.mark.parametrize("name", ["apply", "verify", "facts", "absent"])
def test_an_inventory_without_nodes_is_a_failure(name: str, lab: Lab, bundle_dir: Path, tmp_path: Path) -> None:
    inventory = tmp_path / "none.yml"
    inventory.write_text("all: {}\n", encoding="utf-8")
    given = ["-e", f"egress_bundle={bundle_dir}"]
    done = playbook(lab, name, *given, check=False, inventory=inventory)
    assert done.returncode != 0
    assert "There are no hosts in egress_gateways and egress_workers" in done.stdout
    inventory.write_text("all: [\n", encoding="utf-8")
    assert playbook(lab, name, *given, check=False, inventory=inventory).returncode != 0


def test_a_node_of_the_bundle_must_be_in_the_inventory(lab: Lab, bundle_dir: Path, tmp_path: Path) -> None:
    inventory = tmp_path / "some.yml"
    inventory.write_text(
        "egress_workers: {hosts: {worker1: }}\negress_gateways: {hosts: {gw1: , one: {egress_node_name: gw2}}}\n",
        encoding="utf-8",
    )
    given = ["-e", f"egress_bundle={bundle_dir}"]
    done = playbook(lab, "nodes", *given, check=False, inventory=inventory)
    assert done.returncode != 0
    assert "In the bundle, but not in the inventory: worker2." in done.stdout
    playbook(lab, "nodes", *given, "-e", "egress_missing_nodes=true", inventory=inventory)


def test_errors_of_the_input_are_told_all_at_once(lab: Lab, tmp_path: Path) -> None:
    policies = tmp_path / "policies"
    policies.mkdir()
    for number in (1, 2):
        text = (
            "apiVersion: egressgateway.spidernet.io/v1beta1\nkind: EgressPolicy\n"
            f"metadata: {{name: p{number}, namespace: default}}\nspec: {{priority: {number}00000}}\n"
        )
        (policies / f"p{number}.yaml").write_text(text, encoding="utf-8")
    given = {"egress_policies": [str(policies)], "egress_cluster": [str(EXAMPLE / "cluster.json")]}
    bundle = tmp_path / "bundle"
    done = playbook(lab, "compile", "-e", json.dumps(given | {"egress_bundle": str(bundle)}), check=False)
    assert done.returncode != 0
    assert "p1.yaml:4:" in done.stdout
    assert "p2.yaml:4:" in done.stdout
    assert not bundle.exists()


def test_a_bundle_that_was_edited_is_refused(lab: Lab, bundle_dir: Path, tmp_path: Path) -> None:
    for path in bundle_dir.rglob("*"):
        if path.is_file():
            target = tmp_path / "bundle" / path.relative_to(bundle_dir)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes() + (b"# edited\n" if path.name == "sysctl.conf" else b""))
    done = playbook(lab, "apply", "-e", f"egress_bundle={tmp_path / 'bundle'}", check=False)
    assert done.returncode != 0
    assert "is not as the compiler wrote it" in done.stdout


def test_facts_feed_the_inventory(lab: Lab, tmp_path: Path) -> None:
    playbook(lab, "facts", "-e", f"egress_host_vars={tmp_path}")
    found = {
        path.parent.name: yaml.safe_load(path.read_text(encoding="utf-8")) for path in tmp_path.glob("*/egress.yml")
    }
    subnets = ["10.6.1.0/24", "fd00:10:6:1::/64"]
    told = {"egress_interface": "eth0", "egress_mtu": 1500, "egress_uplink_cidrs": subnets}
    told |= {"egress_default_interfaces": {"ipv4": "eth0", "ipv6": "eth0"}, "egress_uplink_gateways": {}}
    assert found == dict.fromkeys(NODES, told)
    assert "changed=1" not in playbook(lab, "facts", "-e", f"egress_host_vars={tmp_path}").stdout


def test_info_of_a_node(lab: Lab) -> None:
    done = Node(lab, "gw1").module("info")
    info = done["egress_info"]
    uplink = next(i for i in info["interfaces"] if i["name"] == info["default_interface"])
    assert "10.6.1.11/24" in uplink["addresses"]
    assert info["missing_tools"] == []
    other = Node(lab, "gw1").module("info", address="127.0.0.1")["egress_info"]
    assert (info["uplink"]["interface"], other["uplink"]["interface"]) == ("eth0", "lo")
    assert re.match(r"\d+\.\d+", info["versions"]["nftables"])
    assert done["ansible_facts"] == {"egress_info": info}


def test_roles_in_the_bundle_match_the_inventory_of_the_lab(bundle_dir: Path) -> None:
    assert all(("keepalived.conf" in node_files(bundle_dir, node)) == node.startswith("gw") for node in NODES)
