"""Check mode says what a run then does, whatever has happened to the node, and on the oldest Python that nodes have."""

import json
import os
import random
import shutil
import subprocess
from pathlib import Path
from typing import Any

import ansible
import pytest

from egress_compiler.lab import Lab
from tests.ansible.conftest import COLLECTIONS, Node, node_files, objects, packed
from tests.ansible.test_apply_drift import DRIFTS

pytestmark = pytest.mark.lab


HARM = [
    "ip link delete egress.vxlan",
    "ip link delete egress.worker",
    "ip link set egress.vxlan down",
    "nft delete table inet egress_gateway",
    "nft flush ruleset",
    "ip rule flush protocol 213; ip -6 rule flush protocol 213",
    "ip -6 route flush table all protocol 213",
    "rm /etc/egress-gateway/*.batch",
    "bridge fdb flush dev egress.vxlan || ip neighbour flush dev egress.vxlan nud permanent",
    "sysctl -qw net.ipv4.ip_forward=0",
]


VIPS = {"gw1": ("172.31.255.254", "fd11::fffe", "172.31.255.253", "fd11::fffd"), "worker1": ()}
"""The tunnel VIPs of both slots: the other gateway is not there."""


@pytest.mark.parametrize("name", ["gw1", "worker1"])
def test_many_things_at_once(lab: Lab, bundle_dir: Path, name: str) -> None:
    """Drifts of several kinds, some of which undo each other: the prediction is the run, change by change."""
    node, files = Node(lab, name), node_files(bundle_dir, name)
    node.apply(files)
    dice = random.Random(name)
    plants = [d.plant for d in DRIFTS if d.node == name and "sleep" not in d.plant] + HARM
    seen = set()
    for _round in range(5):
        for address in VIPS[name]:
            # Between the prediction and the run keepalived must not become master, which takes routes away.
            node.await_address(address)
        for plant in dice.sample(plants, min(4, len(plants))):
            node.lab.exec(name, ["sh", "-c", plant], check=False)
        predicted = node.apply(files, check=True, diff=True)
        assert not predicted.get("failed"), predicted["msg"]
        assert predicted["changed"]
        done = node.apply(files, diff=True)
        assert (done["changes"], done["diff"]) == (predicted["changes"], predicted["diff"])
        assert node.verify(files) == []
        seen.update(objects(done["changes"]))
    assert len(seen) > 5
    assert not node.absent().get("failed")


def _python39() -> str | None:
    candidates = [
        shutil.which("python3.9"),
        *map(str, Path(os.environ["PYENV_ROOT"]).glob("versions/3.9.*/bin/python3.9")),
    ]
    for candidate in filter(None, candidates):
        done = subprocess.run([candidate, "-c", "import sys; print(sys.executable)"], capture_output=True, check=False)
        if done.returncode == 0:
            return done.stdout.decode().strip()
    return None


@pytest.mark.skipif(_python39() is None, reason="no Python 3.9 on this machine")
def test_on_python_3_9(lab: Lab, bundle_dir: Path, tmp_path: Path) -> None:
    """The modules as they are, with Ansible's own part of them and nothing else of this environment."""
    (tmp_path / "ansible").symlink_to(Path(ansible.__file__).parent)
    files = node_files(bundle_dir, "gw2")

    def module(name: str, **arguments: Any) -> dict[str, Any]:
        done = lab.exec(
            "gw2",
            [str(_python39()), "-m", f"ansible_collections.egress.gateway.plugins.modules.{name}"],
            stdin=json.dumps({"ANSIBLE_MODULE_ARGS": arguments | {"_ansible_remote_tmp": "/run/ansible"}}),
            env={"PYTHONPATH": f"{COLLECTIONS}:{tmp_path}"},
            check=False,
        )
        assert done.stdout, done.stderr[-2000:]
        result: dict[str, Any] = json.loads(done.stdout)
        assert not result.get("failed"), result["msg"]
        return result

    given = {"payload": packed(files), "service_manager": "direct"}
    assert module("apply", confirm_timeout=60, **given)["changed"]
    assert module("apply", state="confirmed")["changed"]
    assert not module("apply", **given)["changed"]
    assert module("verify", **given)["drift"] == []
    assert module("info")["egress_info"]["missing_tools"] == []
    assert module("apply", state="absent", service_manager="direct")["changed"]
