"""Somebody flushes all tables while governed pods send: what is looked at just then is stopped."""

import subprocess
import sys
from pathlib import Path

import pytest

from egress_compiler.lab import Lab, cni, kill
from tests.ansible.conftest import NODES, Node
from tests.ansible.leaks import POD, TALK, govern, heard, talking, until_governed

pytestmark = pytest.mark.lab

FLUSHES = 40
"""Before the map was asked last, one in fifty let a packet out; the reason stands beside the rule."""


def test_no_packet_gets_out_in_the_middle_of_a_flush(lab: Lab, bundle_dir: Path, tmp_path: Path) -> None:
    govern(lab, bundle_dir)
    node = Node(lab, "worker1")
    masquerade = tmp_path / "cni.nft"
    masquerade.write_text(cni.ruleset(lab.topology), encoding="utf-8")
    busy = [sys.executable, "-c", TALK.replace("time.sleep(0.005)", "pass")]
    targets = [lab.topology.outside.far4[0], lab.topology.outside.far6[0]]
    talkers = [lab.popen(POD, [*busy, *targets], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for _ in "ab"]
    with talking(lab):
        for _ in range(FLUSHES):
            node.shell(
                f"nft flush ruleset; nft -f {masquerade}; sleep 0.02\n"
                "nft -f /etc/egress-gateway/nftables.nft; sleep 0.02"
            )
        until_governed(lab)
        leaked, right = heard(lab)
    for talker in talkers:
        kill(talker)
    for name in NODES:
        Node(lab, name).absent()
    assert leaked == []
    assert right > 0
