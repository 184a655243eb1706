"""The inventory plugin as ansible-inventory and the compiler read it; playbooks on its groups without a node."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "gitops"
ENVIRONMENT = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1", "COLUMNS": "1000"}
FROM_BUNDLE = "plugin: egress.gateway.cluster\nbundle: bundle\n"
FROM_SOURCES = "plugin: egress.gateway.cluster\ncluster: [cluster.json]\npolicies: [policies]\n"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A copy of the GitOps example, elsewhere than where Ansible is started."""
    shutil.copytree(EXAMPLE, tmp_path / "repository")
    return tmp_path / "repository"


def ansible(tool: str, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    program = str(Path(sys.executable).with_name(tool))
    command = [program, *arguments]
    environment = ENVIRONMENT | environment
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=60)


def listed(repository: Path, text: str, **environment: str) -> tuple[dict[str, list[str]], dict[str, Any]]:
    """Groups and host variables of an inventory with this text."""
    (repository / "egress.yml").write_text(text, encoding="utf-8")
    done = ansible("ansible-inventory", "-i", str(repository / "egress.yml"), "--list", **environment)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    found = json.loads(done.stdout, object_hook=lambda o: o.get("__ansible_unsafe", o))
    hostvars = found.pop("_meta")["hostvars"]
    return {name: group["hosts"] for name, group in found.items() if group.get("hosts")}, hostvars


def refused(repository: Path, text: str) -> str:
    (repository / "egress.yml").write_text(text, encoding="utf-8")
    done = ansible(
        "ansible-inventory", "-i", str(repository / "egress.yml"), "--list", ANSIBLE_INVENTORY_UNPARSED_FAILED="1"
    )
    assert done.returncode != 0
    assert "Traceback" not in done.stdout + done.stderr
    return done.stderr


def record(repository: Path, **digests: str | None) -> None:
    """What the nodes have: the bundle, but for these nodes."""
    manifest = json.loads((repository / "bundle" / "manifest.json").read_text(encoding="utf-8"))
    for node, digest in digests.items():
        name = node.replace("_", "-")
        if digest is None:
            del manifest["nodes"][name]
        else:
            manifest["nodes"][name] = {**manifest["nodes"]["node-1"], "digest": digest}
    (repository / "applied.json").write_text(json.dumps(manifest), encoding="utf-8")


GATEWAYS, WORKERS = ["gate-a", "gate-b"], ["node-1", "node-2"]


def test_a_bundle_is_enough(repository: Path) -> None:
    groups, hosts = listed(repository, FROM_BUNDLE)
    assert groups == {
        "egress_gateways": GATEWAYS,
        "egress_workers": WORKERS,
        "egw_internet": GATEWAYS,
        "changed": GATEWAYS + WORKERS,
    }
    assert hosts["gate-a"] == {
        "ansible_host": "192.0.2.11",
        "egress_bundle": str(repository / "bundle"),
        "egress_digest": json.loads((repository / "bundle/manifest.json").read_text())["nodes"]["gate-a"]["digest"],
        "egress_gateway_names": ["internet"],
        "egress_node_labels": {},
        "egress_role": "gateway",
    }


def test_sources_say_the_same_before_the_first_compile_and_know_labels(repository: Path) -> None:
    shutil.rmtree(repository / "bundle")
    groups, hosts = listed(
        repository,
        FROM_SOURCES
        + "bundle: bundle\n"
        + "compose:\n  ansible_user: \"'ops'\"\n  where: egress_node_labels['kubernetes.io/hostname']\n"
        + "keyed_groups:\n  - {key: egress_role, prefix: role}\n"
        + "groups:\n  marked: \"'egress.example.com/gateway' in egress_node_labels\"\n",
    )
    assert groups == {
        "egress_gateways": GATEWAYS,
        "egress_workers": WORKERS,
        "egw_internet": GATEWAYS,
        "changed": GATEWAYS + WORKERS,
        "role_gateway": GATEWAYS,
        "role_worker": WORKERS,
        "marked": GATEWAYS,
    }
    assert hosts["node-2"]["ansible_host"] == "192.0.2.14"
    assert (hosts["node-2"]["ansible_user"], hosts["node-2"]["where"]) == ("ops", "node-2")


def test_node_objects_that_are_no_hosts_are_left_out(repository: Path) -> None:
    file = repository / "cluster.json"
    cluster = json.loads(file.read_text(encoding="utf-8"))
    first = next(item for item in cluster["items"] if item["kind"] == "Node" and item["metadata"]["name"] == "node-1")
    first["status"]["addresses"].insert(0, {"type": "InternalIP", "address": "169.254.1.1"})
    for name, labels in (("win-1", {"kubernetes.io/os": "windows"}), ("box-1", {}), ("late-1", {})):
        status = {"addresses": [{"type": "InternalIP", "address": f"10.6.77.{len(name)}"}] if name != "late-1" else []}
        cluster["items"].append({"kind": "Node", "metadata": {"name": name, "labels": labels}, "status": status})
    file.write_text(json.dumps(cluster), encoding="utf-8")
    (repository / "box.yaml").write_text("unmanagedNodes: {names: [box-1]}\n", encoding="utf-8")
    before = listed(repository, FROM_SOURCES)[1]
    groups, hosts = listed(repository, FROM_SOURCES + "settings: box.yaml\nlock: egress.lock.json\n")
    assert sorted(before) == sorted([*GATEWAYS, *WORKERS, "box-1"])
    assert groups["egress_workers"] == WORKERS
    assert hosts["node-1"]["ansible_host"] not in ("169.254.1.1", "")


def test_who_changed_and_who_is_gone(repository: Path) -> None:
    record(repository, node_1="sha256:before", gate_b=None, node_9="sha256:gone")
    groups, hosts = listed(repository, FROM_BUNDLE + "against: applied.json\n")
    assert (groups["changed"], groups["removed"]) == (["gate-b", "node-1"], ["node-9"])
    assert "ansible_host" not in hosts.get("node-9", {})
    record(repository)
    groups, _ = listed(repository, FROM_BUNDLE, EGRESS_AGAINST="applied.json")
    assert "changed" not in groups
    groups, _ = listed(repository, FROM_BUNDLE + "against: missing\n")
    assert groups["changed"] == GATEWAYS + WORKERS


def test_labels_and_names_stay_text(repository: Path) -> None:
    cluster = (repository / "cluster.json").read_text(encoding="utf-8")
    hostile = "{{ lookup('pipe', 'touch " + str(repository / "touched") + "') }}"
    (repository / "cluster.json").write_text(cluster.replace('"kubernetes.io/hostname": "node-1"', f'"x": "{hostile}"'))
    _, hosts = listed(repository, FROM_SOURCES + "keyed_groups: [{key: egress_node_labels, prefix: l}]\n")
    assert hosts["node-1"]["egress_node_labels"] == {"x": hostile}
    shown = ansible(
        "ansible", "node-1", "-i", str(repository / "egress.yml"), "-m", "debug", "-a", "var=egress_node_labels"
    )
    assert "touch" in shown.stdout
    assert not (repository / "touched").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("plugin: egress.gateway.cluster\n", "give 'bundle', or 'cluster' and 'policies'"),
        ("plugin: egress.gateway.cluster\ncluster: [cluster.json]\n", "only work together"),
        ("plugin: egress.gateway.cluster\nbundle: nowhere\n", "nowhere: No such file or directory: compile first"),
        (FROM_SOURCES + "bundel: bundle\n", "there is no option 'bundel': did you mean 'bundle'?"),
        (FROM_BUNDLE + "against: policies/shop.yaml\n", "shop.yaml is damaged"),
        (FROM_BUNDLE + "compose: {x: nothing.there}\nstrict: true\n", "Could not set x"),
    ],
)
def test_what_is_wrong_is_said_without_a_traceback(repository: Path, text: str, message: str) -> None:
    assert message in refused(repository, text)


def test_errors_in_the_sources_have_their_place(repository: Path) -> None:
    policy = repository / "policies" / "shop.yaml"
    policy.write_text(policy.read_text().replace("podSelector", "podSelecter"), encoding="utf-8")
    text = refused(repository, FROM_SOURCES)
    assert "policies/shop.yaml:" in text
    assert "did you mean 'podSelector'?" in text


def test_the_compiler_reads_it_too(repository: Path) -> None:
    """On its own, without an ansible-playbook around it."""
    (repository / "egress.yml").write_text(
        FROM_SOURCES + "compose: {egress_interface: \"'bond9'\"}\n", encoding="utf-8"
    )
    inputs = ["-p", "policies", "-c", "cluster.json", "-s", "settings.yaml", "-i", "egress.yml", "-l", "lock.json"]
    command = [sys.executable, "-m", "egress_compiler", "compile", *inputs, "--out", "out"]
    environment = {**ENVIRONMENT, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads((repository / "out/nodes/node-1/plan.json").read_text())["kernel"]["interface"] == "bond9"


def batches(repository: Path, *arguments: str) -> list[list[str]]:
    """The batches of both plays of apply, in their order: its own plays, with a task that only names them."""
    plays = yaml.safe_load((ROOT / "collections/ansible_collections/egress/gateway/playbooks/apply.yml").read_text())
    tell = [{"ansible.builtin.debug": {"msg": "batch {{ ansible_play_batch | join(' ') }}"}, "run_once": True}]
    plays = [{**play, "become": False, "tasks": tell} for play in plays if "serial" in play]
    (repository / "plays.yml").write_text(yaml.safe_dump(plays), encoding="utf-8")
    done = ansible("ansible-playbook", "-i", str(repository / "egress.yml"), str(repository / "plays.yml"), *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return [batch.split() for batch in re.findall(r"msg: batch (.*)", done.stdout)]


def test_gateways_go_first_and_never_all_of_one_egressgateway_together(repository: Path) -> None:
    record(repository, gate_b="sha256:before", node_1="sha256:before")
    (repository / "egress.yml").write_text(FROM_BUNDLE + "against: applied.json\n", encoding="utf-8")
    assert batches(repository) == [["gate-a"], ["gate-b"], WORKERS]
    assert batches(repository, "-e", "egress_only_changed=true") == [["gate-b"], ["node-1"]]
    assert batches(repository, "--limit", "gate-b:node-2") == [["gate-b"], ["node-2"]]
    record(repository)
    assert batches(repository, "-e", "egress_only_changed=true") == [], "nothing to do is no error"


def test_four_gateways_of_two_egressgateways_go_crosswise(repository: Path) -> None:
    (repository / "egress.yml").write_text(
        "all: {children: {egress_gateways: {hosts: {a1: , a2: , b1: , b2: }}, "
        "egw_a: {hosts: {a1: , a2: }}, egw_b: {hosts: {b1: , b2: }}}}\n",
        encoding="utf-8",
    )
    assert batches(repository) == [["a1"], ["a2", "b1"], ["b2"]]
    assert batches(repository, "--limit", "!b1") == [["a1"], ["a2"], ["b2"]]
    assert batches(repository, "-e", "egress_gateway_batch=1") == [["a1"], ["a2"], ["b1"], ["b2"]]
