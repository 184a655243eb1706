"""What packets notice of an apply: nothing."""

from pathlib import Path

import pytest

from egress_compiler.lab import Lab, ProbeTarget
from tests.ansible.conftest import NODES, Node, node_files

pytestmark = pytest.mark.lab

POD = "shop/web-5d8f7c9b6d-4kq2x"
EIP = "10.6.1.61"


def everywhere(lab: Lab, bundle_dir: Path, changed: bool = False) -> None:
    """Gateways before workers; with ``changed`` each table and each keepalived configuration is another."""
    for name in NODES:
        files = node_files(bundle_dir, name)
        if changed:
            files["nftables.nft"] = files["nftables.nft"].replace("chain blocked {", "chain blocked {\n\t\tcounter", 1)
            files |= {n: t + "# another\n" for n, t in files.items() if n == "keepalived.conf"}
        done = Node(lab, name).apply(files)
        assert not done.get("failed"), done["msg"]


def test_open_connections_outlive_the_first_apply_and_new_ones_a_change(lab: Lab, bundle_dir: Path) -> None:
    server = lab.topology.outside.far4[0]
    with lab.outage(POD, ProbeTarget("tcp", server), 8) as before:
        everywhere(lab, bundle_dir)
        outage = before.result()
    assert (outage.error, outage.seen) == (None, ("10.6.1.21",)), "a connection keeps the address that it began with"
    assert outage.answered >= outage.sent - 3, "the last ones may still be under way"

    for _ in range(50):
        if lab.probe(POD, [ProbeTarget("tcp", server)])[0].seen == EIP:
            break
    meters = [lab.outage(POD, ProbeTarget(protocol, server), 6) for protocol in ("udp", "tcp")]
    everywhere(lab, bundle_dir, changed=True)
    for meter in meters:
        with meter:
            outage = meter.result()
        assert (outage.error, outage.seen) == (None, (EIP,))
        assert outage.answered >= outage.sent - 3, "the last ones may still be under way"
        assert outage.longest_gap_ms < 500
