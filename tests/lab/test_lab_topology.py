"""The lab: what it builds from a cluster, that it behaves like one, and that nothing of it stays."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from egress_compiler.lab import (
    TCP_PORT,
    Lab,
    LabError,
    LabTopology,
    NodeState,
    ProbeTarget,
    build_topology,
    down,
    kill,
    open_lab,
    state,
    up,
)

CLUSTER = Path(__file__).with_name("cluster.json")
ROOT = Path(__file__).parents[2]
PODS = {
    "default/on-gateway": ("172.30.0.11", "fd00:172:30::11"),
    "default/visitor": ("172.30.0.13", "fd00:172:30::13"),
    "ops/tool": ("172.30.0.14", "fd00:172:30::14"),
}
"""Pods, with the addresses of their nodes."""


def node(name: str, *addresses: str, cidrs: tuple[str, ...] = ()) -> dict[str, Any]:
    ips = [{"type": "InternalIP", "address": ip} for ip in addresses]
    return {"kind": "Node", "metadata": {"name": name}, "spec": {"podCIDRs": cidrs}, "status": {"addresses": ips}}


def pod(name: str, on: str, *addresses: str, **spec: bool) -> dict[str, Any]:
    return {
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"nodeName": on, **spec},
        "status": {"phase": "Running", "podIPs": [{"ip": ip} for ip in addresses]},
    }


Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_cluster(*items: dict[str, Any]) -> Path:
        path = tmp_path / "cluster.json"
        path.write_text(json.dumps({"kind": "List", "items": items}))
        return path

    return write_cluster


# ------------------------------------------------------------------------------------------------------------ topology


def test_hosts_are_the_nodes_and_the_running_pods_with_a_network_of_their_own(topology: LabTopology) -> None:
    assert [n.name for n in topology.nodes] == ["gw1", "gw2", "worker1", "worker2"]
    assert [p.host for p in topology.pods] == [
        *("default/on-gateway", "default/on-other-gateway", "default/plain", "default/visitor"),
        *("default/web-1", "default/web-2", "ops/tool", "ops/watch"),
    ]


def test_outside_addresses_are_free_and_high_in_the_uplink_subnet(topology: LabTopology) -> None:
    assert topology.uplinks == ("172.30.0.0/24", "fd00:172:30::/64")
    assert topology.outside.gateways == ("172.30.0.254", "fd00:172:30::fffe")
    assert topology.outside.on_uplink == ("172.30.0.253", "fd00:172:30::fffd")
    assert topology.controller == ("172.30.0.252", "fd00:172:30::fffc")
    assert topology.outside.far4 == ("203.0.113.10", "198.51.100.10")
    assert topology.outside.far6 == ("2001:db8:ffff::10",)


@pytest.mark.parametrize(
    ("addresses", "extra", "uplink", "gateway"),
    [
        (["10.6.1.21"], [], "10.6.1.0/24", "10.6.1.254"),
        (["10.6.1.21", "10.6.2.1"], [], "10.6.0.0/22", "10.6.3.254"),
        (["10.6.1.21"], ["10.6.1.250-10.6.1.254"], "10.6.1.0/24", "10.6.1.249"),
        (["10.6.1.21"], ["10.6.1.0/24"], "10.6.0.0/23", "10.6.0.255"),
        (["10.6.1.21"], ["10.6.9.1"], "10.6.0.0/20", "10.6.15.254"),
    ],
)
def test_the_uplink_subnet_covers_nodes_and_reserved_addresses_and_has_room(
    write: Write, addresses: list[str], extra: list[str], uplink: str, gateway: str
) -> None:
    nodes = [node(f"n{i}", ip) for i, ip in enumerate(addresses)]
    built = build_topology([write(*nodes)], extra_addresses=extra)
    assert built.uplinks == (uplink,)
    assert built.outside.gateway4 == gateway
    assert built.outside.gateway6 is None
    assert built.outside.far6 == ()


def test_nodes_that_are_no_hosts_have_no_place_in_it(write: Write) -> None:
    windows = node("win", "10.6.1.40") | {"metadata": {"name": "win", "labels": {"kubernetes.io/os": "windows"}}}
    built = build_topology([write(node("a", "10.6.1.21"), windows, pod("p", "win", "10.1.0.1"))])
    assert built.hosts == ("a", "controller", "fabric", "outside")


def test_wanted_outside_addresses_lie_on_the_uplink_or_beyond(write: Write) -> None:
    built = build_topology([write(node("a", "10.6.1.21"))], outside_addresses=["10.6.1.92", "192.0.2.7"])
    assert built.outside.on_uplink == ("10.6.1.253", "10.6.1.92")
    assert built.outside.far4 == ("203.0.113.10", "198.51.100.10", "192.0.2.7")


def test_yaml_directories_and_shuffled_input_give_the_same_lab(tmp_path: Path, topology: LabTopology) -> None:
    import yaml

    items = json.loads(CLUSTER.read_text())["items"]
    (tmp_path / "nodes.yaml").write_text(yaml.safe_dump_all(reversed(items[:4])))
    (tmp_path / "rest.json").write_text(json.dumps({"kind": "List", "items": items[:3:-1]}))
    reserved = ["172.30.0.100-172.30.0.110", "fd00:172:30::100-fd00:172:30::110"]
    assert build_topology([tmp_path], extra_addresses=reserved) == topology


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([], "no nodes"),
        ([node("a")], "node a: no InternalIP"),
        ([node("a", "10.0.0.999")], "node a: .*10.0.0.999"),
        ([node("a;reboot", "10.0.0.1")], "cannot use this name"),
        ([node("outside", "10.0.0.1")], "cannot use this name"),
        ([node("a", "10.0.0.1"), node("b", "10.0.0.1")], "node a and node b have the same address 10.0.0.1"),
        ([node("a", "10.0.0.1"), node("b", "192.168.0.1")], "no uplink subnet"),
        ([node("a", "10.0.0.1", cidrs=("10.0.0.128/25",))], "10.0.0.0/24 overlaps 10.0.0.128/25"),
        ([node("a", "10.0.0.1"), pod("p", "b", "10.1.0.1")], "pod default/p: it runs on node 'b'"),
        ([{"kind": "Node", "metadata": {}}], "Node: .*name"),
    ],
)
def test_a_cluster_that_makes_no_lab_is_refused(write: Write, items: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(LabError, match=message):
        build_topology([write(*items)])


def test_too_many_hosts_are_refused(write: Write) -> None:
    pods = [pod(f"p{i}", "a", f"10.1.0.{i}") for i in range(1, 49)]
    with pytest.raises(LabError, match="1 nodes and 48 pods are 49 hosts; a lab has at most 48"):
        build_topology([write(node("a", "10.0.0.1"), *pods)])


def test_bad_device_names_lab_names_and_hosts_are_refused(topology: LabTopology) -> None:
    with pytest.raises(LabError, match="uplink device"):
        build_topology([CLUSTER], interfaces={"gw1": "eth0; reboot"})
    with pytest.raises(LabError, match="no name for a lab"):
        down("../x")
    with pytest.raises(LabError, match="no pod 'x/y'"):
        topology.pod("x/y")


# ------------------------------------------------------------------------------------------------- a lab as a cluster


@pytest.mark.lab
@pytest.mark.parametrize("pod_name", PODS)
def test_pods_leave_with_their_nodes_address_to_every_destination(lab: Lab, pod_name: str) -> None:
    targets = [ProbeTarget(p, ip) for p in ("tcp", "udp", "http", "ws") for ip in lab.topology.outside.servers]
    for result in lab.probe(pod_name, targets):
        assert (result.seen, result.error) == (PODS[pod_name][":" in result.target.address], None), result


@pytest.mark.lab
def test_what_arrives_unmasqueraded_gets_no_answer(lab: Lab) -> None:
    far = lab.topology.outside.far4[0]
    lab.exec("worker1", ["nft", "insert", "rule", "inet", "lab_cni", "postrouting", "accept"])
    try:
        targets = [ProbeTarget("tcp", far), ProbeTarget("udp", far), ProbeTarget("tcp", far, 9)]
        results = lab.probe("default/visitor", targets, timeout=0.5)
        assert [r.error for r in results] == ["timeout"] * 3
    finally:
        rules = lab.exec("worker1", ["nft", "-a", "list", "chain", "inet", "lab_cni", "postrouting"]).stdout
        handle = next(line for line in rules.splitlines() if "accept # handle" in line).rpartition(" ")[2]
        lab.exec("worker1", ["nft", "delete", "rule", "inet", "lab_cni", "postrouting", "handle", handle])
    assert lab.probe("default/visitor", [ProbeTarget("tcp", far, 9)])[0].error == "refused"


@pytest.mark.lab
def test_in_cluster_traffic_keeps_the_pods_address(lab: Lab) -> None:
    for host in ("default/web-1", "default/web-2", "gw1"):
        lab.start_echo(host)
    services = [ProbeTarget("tcp", "10.96.0.80", 80), ProbeTarget("udp", "fd00:96::80", 80)]
    near = [ProbeTarget("tcp", "10.244.4.5"), ProbeTarget("http", "fd00:244:0:4::6"), *services, *services]
    results = lab.probe_many({"default/visitor": near, "worker2": near[:1]})
    assert [(r.seen, r.error) for r in results["default/visitor"]] == [
        ("fd00:244:0:3::5" if ":" in target.address else "10.244.3.5", None) for target in near
    ]
    assert results["worker2"][0].seen == "172.30.0.14"
    assert lab.probe("gw2", [ProbeTarget("tcp", "172.30.0.11")])[0].seen == "172.30.0.12"


@pytest.mark.lab
def test_the_controller_reaches_nodes_by_ssh_and_each_node_has_files_and_processes_of_its_own(lab: Lab) -> None:
    before, keys = machine(), lab.state_dir / "ssh"
    command = "mkdir -p /etc/egress-gateway /run/egress-gateway /var/lib/egress-gateway && hostname && ls /proc/1/exe"
    ssh = ["ssh", "-F", "/dev/null", "-i", str(keys / "user"), "-o", f"UserKnownHostsFile={keys}/known_hosts"]
    for address in ("172.30.0.11", "fd00:172:30::11"):
        assert lab.exec("controller", [*ssh, f"root@{address}", command]).stdout.split()[0] == "gw1"
    for path in ("/etc/egress-gateway", "/run/egress-gateway", "/var/lib/egress-gateway"):
        assert lab.exec("gw1", ["test", "-d", path], check=False).returncode == 0
        assert lab.exec("gw2", ["test", "-d", path], check=False).returncode == 1
    assert machine()["private"] == before["private"]
    lab.exec("gw1", ["rmdir", "/etc/egress-gateway", "/run/egress-gateway", "/var/lib/egress-gateway"])


@pytest.mark.lab
def test_ansible_reaches_every_node_by_the_inventory(lab: Lab) -> None:
    ansible = Path(sys.executable).with_name("ansible")
    if not ansible.exists():
        pytest.skip("no ansible beside this python")
    command = "{{ inventory_hostname }}/{{ egress_interface }}/{{ group_names | join(' ') }}"
    argv = [str(ansible), "-i", str(lab.inventory), "all", "-m", "command", "-a", f"echo {command}", "-o"]
    out = lab.exec("controller", argv, timeout=60, env={"ANSIBLE_LOCALHOST_WARNING": "0"}).stdout
    assert "gw1/eth0/egress_gateways" in out
    assert "worker2/eth0/egress_workers" in out
    assert out.count("rc=0") == 4


@pytest.mark.lab
def test_snapshots_show_changes_and_nothing_else(lab: Lab) -> None:
    before = lab.snapshot_node("worker1")
    assert "rp_filter:1" in before.sections["sysctls"]
    lab.exec("worker1", ["sysctl", "-q", "-w", "net.ipv4.conf.eth0.rp_filter=2"])
    lab.exec("worker1", ["ip", "rule", "add", "fwmark", "7", "table", "77"])
    lab.exec("worker1", ["sh", "-c", "mkdir /etc/egress-gateway; echo 1 > /etc/egress-gateway/file"])
    sleeper = lab.popen("worker1", ["sleep", "30"])
    changed = before.diff(lab.snapshot_node("worker1"))
    assert [line for line in changed.splitlines() if line.startswith("--- ")] == [
        f"--- worker1: {subject} before" for subject in ("files", "processes", "rules", "sysctls")
    ]
    assert "+32765:\tfrom all fwmark 0x7 lookup 77" in changed
    kill(sleeper)
    lab.exec("worker1", ["sysctl", "-q", "-w", "net.ipv4.conf.eth0.rp_filter=1"])
    lab.exec("worker1", ["ip", "rule", "del", "fwmark", "7", "table", "77"])
    lab.exec("worker1", ["rm", "-r", "/etc/egress-gateway"])
    assert before.diff(lab.snapshot_node("worker1")) == ""


def test_a_snapshot_lists_what_another_lacks() -> None:
    one, other = NodeState("n", {"rules": "a\nb\n"}), NodeState("n", {"rules": "a\n", "links": "x\n"})
    assert "-b" in one.diff(other)
    assert "+x" in one.diff(other)
    assert one.diff(one) == ""


@pytest.mark.lab
@pytest.mark.parametrize("protocol", ["udp", "tcp"])
def test_a_cut_uplink_is_an_outage_that_ends_with_its_repair(lab: Lab, protocol: Any) -> None:
    target = ProbeTarget(protocol, lab.topology.outside.far4[0])
    with lab.outage("default/visitor", target, 20) as meter:
        time.sleep(0.2)
        lab.cut("worker1")
        time.sleep(0.4)
        lab.restore("worker1")
        limit = time.monotonic() + 10
        while lab.probe("default/visitor", [target])[0].error and time.monotonic() < limit:
            pass
        time.sleep(1)
        outage = meter.stop()
    assert outage.error is None
    assert 400 <= outage.longest_gap_ms < 5000
    assert outage.seen == ("172.30.0.13",)
    v6 = lab.topology.outside.far6[0]
    assert lab.probe("default/visitor", [ProbeTarget(protocol, v6)])[0].seen == "fd00:172:30::13"


@pytest.mark.lab
def test_without_a_cut_there_is_no_outage(lab: Lab) -> None:
    with lab.outage("ops/watch", ProbeTarget("tcp", lab.topology.outside.far6[0]), 1, push=True) as meter:
        outage = meter.result()
    assert outage.sent == 0
    assert outage.answered > 20
    assert outage.longest_gap_ms < 400
    assert outage.seen == ("fd00:172:30::13",)


@pytest.mark.lab
def test_programs_that_fail_hang_or_have_no_host_are_lab_errors(lab: Lab) -> None:
    with pytest.raises(LabError, match="exit status 3"):
        lab.exec("ops/tool", ["sh", "-c", "exit 3"])
    for host in ("worker1", "outside"):
        with pytest.raises(LabError, match=r"not done after 0\.3 s"):
            lab.exec(host, ["sleep", "77.125"], timeout=0.3)
    assert "77.125" not in lab.exec("worker1", ["sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"]).stdout
    with pytest.raises(LabError, match="no host 'nobody'"):
        lab.exec("nobody", ["true"])
    with pytest.raises(LabError, match="does not answer"):
        lab.outage("ops/tool", ProbeTarget("tcp", lab.topology.outside.far4[0], 9), 5)


# -------------------------------------------------------------------------------------------------- coming and going


@pytest.mark.lab
def test_two_labs_of_one_family_with_other_devices_live_side_by_side(
    write: Write, make_lab: Callable[..., Lab]
) -> None:
    path = write(node("a", "10.9.0.1"), node("b", "10.9.0.2"), pod("p", "a", "10.8.0.1"), pod("q", "b", "10.8.0.2"))
    built = build_topology([path], interfaces={"a": "ens3"}, mtus={"a": 9000, "default/p": 1400})
    one, two = make_lab(built), make_lab(built)
    for lab in (one, two):
        lab.start_echo("default/q")
        results = lab.probe("default/p", [ProbeTarget("tcp", "203.0.113.10"), ProbeTarget("tcp", "10.8.0.2")])
        assert [r.seen for r in results] == ["10.9.0.1", "10.8.0.1"]
    assert "mtu 9000" in one.exec("a", ["ip", "link", "show", "ens3"]).stdout
    assert "mtu 1400" in one.exec("default/p", ["ip", "link", "show", "eth0"]).stdout
    one.cut("a")
    assert one.probe("default/p", [ProbeTarget("tcp", "203.0.113.10")], timeout=0.3)[0].error == "timeout"
    assert two.probe("default/p", [ProbeTarget("tcp", "203.0.113.10")])[0].seen == "10.9.0.1"


@pytest.mark.lab
def test_a_node_that_is_powered_off_is_dead(make_lab: Callable[..., Lab], write: Write) -> None:
    lab = make_lab(build_topology([write(node("a", "10.9.0.1"), node("b", "10.9.0.2"))]))
    lab.poweroff("a")
    with pytest.raises(LabError, match=r"node 'a' of lab .* is powered off"):
        lab.exec("a", ["true"])
    results = lab.probe("outside", [ProbeTarget("tcp", "10.9.0.1", 22), ProbeTarget("tcp", "10.9.0.2", TCP_PORT)])
    assert [r.error for r in results] == ["timeout", "refused"]


def machine() -> dict[str, object]:
    """What a lab could leave behind on this machine; other labs and their namespaces come and go meanwhile."""
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    links = subprocess.run(["ip", "-br", "link"], capture_output=True, text=True, check=True).stdout
    private = ("/etc/egress-gateway", "/run/egress-gateway", "/var/lib/egress-gateway")
    return {
        "links": links,
        "mounts": sorted(line.split(" ")[4] for line in mounts if "/netns" not in line),
        "hostname": Path("/proc/sys/kernel/hostname").read_text(),
        "private": [file for path in private for file in [Path(path), *Path(path).rglob("*")] if file.exists()],
    }


@pytest.mark.lab
def test_up_is_quick_and_down_leaves_nothing(lab_means: None, lab_name: str, topology: LabTopology) -> None:
    before = machine()
    started = time.monotonic()
    lab = up(topology, name=lab_name, gateways=["gw1", "gw2"])
    assert time.monotonic() - started < 5
    assert open_lab(lab_name) == lab
    assert machine() == before
    background = lab.popen("gw1", ["sleep", "60"])
    with pytest.raises(LabError, match="is up"):
        up(topology, name=lab_name)
    assert lab.probe("ops/tool", [ProbeTarget("tcp", "203.0.113.10")])[0].seen == "172.30.0.14"
    down(lab_name)
    down(lab_name)
    with background:
        assert background.wait(5) != 0
    assert machine() == before
    assert_gone(lab_name)


def assert_gone(name: str) -> None:
    names = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    assert not [mount for mount in names if state.prefix(name) in mount or f"egress-lab/{name}" in mount]
    assert state.namespaces(name) == []
    assert not state.directory(name).exists()
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            try:
                assert f"/egress-lab/{name}/" not in (process / "cmdline").read_text()
            except OSError:
                continue
    with pytest.raises(LabError, match="is up"):
        open_lab(name)


@pytest.mark.lab
@pytest.mark.parametrize("namespaces", [1, 8, 15])
def test_down_cleans_up_after_a_crash_half_way(lab_means: None, lab_name: str, namespaces: int) -> None:
    code = (
        "import sys; from pathlib import Path; from egress_compiler.lab import build_topology, up;"
        "up(build_topology([Path(sys.argv[1])]), name=sys.argv[2])"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(CLUSTER), lab_name], cwd=ROOT)
    with process:
        while len(state.namespaces(lab_name)) < namespaces and process.poll() is None:
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
    if namespaces == 15:
        (state.directory(lab_name) / "topology.json").unlink()
    with pytest.raises(LabError, match="crash"):
        up(build_topology([CLUSTER]), name=lab_name)
    down(lab_name)
    assert_gone(lab_name)


@pytest.mark.lab
def test_up_that_fails_leaves_nothing(lab_means: None, lab_name: str, topology: LabTopology) -> None:
    with pytest.raises(LabError, match="no node 'gw9'"):
        up(topology, name=lab_name, gateways=["gw9"])
    assert_gone(lab_name)


@pytest.mark.lab
def test_the_last_lab_takes_the_mount_of_ip_netns_with_it(lab_means: None) -> None:
    """On a machine that never had a namespace: a private mount namespace whose /run is empty."""
    code = (
        "import sys; from pathlib import Path; from egress_compiler.lab import build_topology, down, up;"
        "topology = build_topology([Path(sys.argv[1])]);"
        "[up(topology, name=name) for name in ('one', 'two-2')]; down('one');"
        "assert Path('/run/netns').is_dir(); down('two-2');"
        "print(sorted(path.name for path in Path('/run').iterdir()), '/run/netns' in Path('/proc/mounts').read_text())"
    )
    script = f'umount -R -l /run/netns; set -e; mount -t tmpfs none /run; exec {sys.executable} -c "$0" {CLUSTER}'
    argv = ["unshare", "--mount", "sh", "-c", script, code]
    done = subprocess.run(argv, capture_output=True, text=True, cwd=ROOT, timeout=60, check=False)
    assert done.stdout.replace("'mount'", "") == "[] False\n", done.stderr
