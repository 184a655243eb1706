"""An apply that goes again by itself unless it is confirmed, whatever becomes of the connection and the node."""

import json
import shlex
import sys
import time
from pathlib import Path

import pytest

from egress_compiler.lab import Lab
from tests.ansible.conftest import NODES, Node, node_files, playbook
from tests.ansible.test_apply_failure import altered, with_bad_sysctl

pytestmark = pytest.mark.lab

STATE = "/var/lib/egress-gateway"
PENDING = f"ls {STATE} 2>/dev/null | grep -v -e agent -e before.json || true"
"""What is there of an apply that waits to be confirmed."""


def smaller(files: dict[str, str]) -> dict[str, str]:
    """Another bundle: a smaller tunnel, and a rule that counts."""
    other = altered(files, {"kernel.tunnel.mtu": 1400})
    return other | {
        "nftables.nft": files["nftables.nft"].replace("chain keep_source {", "chain keep_source {\n\t\tcounter", 1)
    }


def wait_for(node: Node, files: dict[str, str] | None, seconds: float = 15) -> None:
    """Until nothing waits any more and the node is as it should be."""
    end = time.monotonic() + seconds
    while node.shell(PENDING):
        assert time.monotonic() < end, "it does not go back"
        time.sleep(0.1)
    if files is not None:
        assert node.verify(files) == []


def test_nobody_confirms(gateway: Node, bundle_dir: Path) -> None:
    files = node_files(bundle_dir, "gw1")
    gateway.apply(files)
    done = gateway.apply(smaller(files), confirm_timeout=2)
    assert done["changed"]
    assert done["confirm_within"] in (1, 2)
    assert gateway.verify(smaller(files)) == [], "it holds until then, and waiting is no drift"
    wait_for(gateway, files)
    assert not gateway.apply(files)["changed"]


def test_nobody_confirms_the_first_apply(worker: Node, bundle_dir: Path) -> None:
    before = worker.state()
    assert worker.apply(node_files(bundle_dir, "worker1"), confirm_timeout=1)["changed"]
    wait_for(worker, None)
    assert before.diff(worker.state()) == ""


def test_confirmed(worker: Node, bundle_dir: Path) -> None:
    files = node_files(bundle_dir, "worker1")
    before = worker.state()
    worker.apply(files, confirm_timeout=3)
    assert worker.module("apply", state="confirmed", check=True)["changed"]
    done = worker.module("apply", state="confirmed")
    assert (done["changed"], done["confirm_within"]) == (True, None)
    time.sleep(3.5)
    assert worker.verify(files) == []
    assert not worker.module("apply", state="confirmed")["changed"]
    assert not worker.apply(files, confirm_timeout=1)["changed"], "nothing changed, so nothing has to be confirmed"
    assert worker.shell(PENDING) == ""
    worker.absent()
    assert before.diff(worker.state()) == ""


def test_who_applies_again_means_it(worker: Node, bundle_dir: Path) -> None:
    """Without a limit it is to stay; with one the time counts anew and the way back leads to what was confirmed."""
    files = node_files(bundle_dir, "worker1")
    worker.apply(files)
    worker.apply(smaller(files), confirm_timeout=60)
    again = worker.apply(altered(smaller(files), {"worker.slots": []}), confirm_timeout=2)
    assert again["changed"]
    wait_for(worker, files)

    worker.apply(smaller(files), confirm_timeout=60)
    done = worker.apply(smaller(files))
    assert [change["object"] for change in done["changes"]] == ["unconfirmed apply"]
    assert done["confirm_within"] is None
    assert worker.verify(smaller(files)) == []


def test_a_failing_apply_leaves_nothing_to_confirm(worker: Node, bundle_dir: Path) -> None:
    before = worker.state()
    done = worker.apply(with_bad_sysctl(node_files(bundle_dir, "worker1")), confirm_timeout=60)
    assert done["rolled_back"]
    assert before.diff(worker.state()) == ""


def test_a_rebooted_node_comes_up_with_what_was_confirmed(worker: Node, bundle_dir: Path) -> None:
    """The restore unit's first line brings the files of before. Nothing waits through a reboot: it is killed here."""
    files = node_files(bundle_dir, "worker1")
    worker.apply(files)
    worker.apply(smaller(files), confirm_timeout=60)
    worker.shell("pkill -KILL -f 'egress-gateway/rollback[.]pyz$'")
    pending = json.loads(worker.run("cat", f"{STATE}/pending.json"))
    worker.lab.exec("worker1", ["tee", f"{STATE}/pending.json"], stdin=json.dumps(pending | {"boot": "another"}))
    worker.shell(f"sh {STATE}/boot.sh")
    assert worker.run("cat", "/etc/egress-gateway/nftables.nft") == files["nftables.nft"]
    assert worker.run("cat", "/etc/egress-gateway/plan.json") == files["plan.json"]
    left = worker.module("verify", service_manager="direct", fail_on_drift=False)["confirm_within"]
    assert 0 < left <= 30, "the rest follows when all is up"
    worker.apply(files)
    assert worker.verify(files) == []


def test_the_playbook_confirms_what_it_verified(lab: Lab, bundle_dir: Path) -> None:
    """Over SSH, where the task's code is gone when the task ends. The node goes back without the controller."""
    given = ["-e", f"egress_bundle={bundle_dir}", "-e", "egress_confirm_timeout=120"]
    playbook(lab, "apply", *given)
    for name in NODES:
        node = Node(lab, name)
        assert node.verify(node_files(bundle_dir, name)) == []
        assert node.shell(PENDING) == ""
    before = lab.snapshot_node("worker1")
    arguments = shlex.quote(f"bundle={bundle_dir} node=worker1 confirm_timeout=2")
    Node(lab, "worker1").signal_agent("STOP")
    lab.exec("worker1", ["ip", "link", "set", "egress.vxlan", "mtu", "1300"])
    ad_hoc = f"ansible -i {lab.inventory} worker1 -b -m egress.gateway.apply -a {arguments}"
    lab.exec("controller", ["sh", "-c", ad_hoc], env={"PATH": f"{Path(sys.executable).parent}:/usr/bin:/usr/sbin"})
    wait_for(Node(lab, "worker1"), node_files(bundle_dir, "worker1"))
    assert before.diff(lab.snapshot_node("worker1")) == ""
    playbook(lab, "absent")


def test_what_an_editor_left_keeps_no_node_from_going_back(worker: Node, bundle_dir: Path) -> None:
    """Neither after a failure nor after a time limit; and an empty directory of ours waits for nothing."""
    files = node_files(bundle_dir, "worker1")
    worker.apply(files)
    worker.shell("cd /etc/egress-gateway && cp plan.json plan.json~ && cp plan.json '.plan.json.swp' && mkdir .d")
    worker.shell("cp /etc/egress-gateway/sysctl.conf /etc/egress-gateway/sysctl.conf.dpkg-dist")
    failed = worker.apply(with_bad_sysctl(files))
    assert failed["failed"]
    assert failed["rolled_back"], failed
    worker.shell("cp /etc/egress-gateway/plan.json /etc/egress-gateway/plan.json~")
    assert worker.apply(smaller(files), confirm_timeout=1)["changed"]
    wait_for(worker, None)
    worker.shell("rmdir /etc/egress-gateway/.d")
    worker.apply(files)
    worker.shell(f"mkdir -p {STATE}")
    assert not worker.apply(files)["changed"]
