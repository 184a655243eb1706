"""After absent a real system is as it was, and a reboot brings nothing back."""

import pytest

from tests.systemd.conftest import EVERY_RELEASE, NODES, Cluster, nothing_failed

pytestmark = [pytest.mark.systemd, EVERY_RELEASE]

_OURS = """
systemctl list-unit-files --no-legend 'egress*' || true
systemctl list-units --all --no-legend 'egress*'
nft list tables | grep egress || true
ip rule show | grep -E '^(9[89]|100):' || true
ip -6 rule show | grep -E '^(9[89]|100):' || true
ip -o link show | grep egress || true
ls -d /etc/egress-gateway /run/egress-gateway /var/lib/egress-gateway 2>/dev/null || true
find /etc/systemd /run/systemd -name '*egress*'
pgrep -a keepalived || true
"""
"""What of ours a node has, from all places; nothing on one that has never seen us."""


def test_absent_leaves_nothing_and_a_reboot_brings_nothing_back(governed: Cluster) -> None:
    assert set(governed.changed("absent").values()) == {1}
    for node in NODES:
        assert governed.shell(node, _OURS) == ""
        assert governed.before[node].diff(governed.state(node)) == ""
    assert governed.changed("absent") == dict.fromkeys(NODES, 0)
    for node in ("gw1", "worker1"):
        governed.reboot(node)
        assert governed.shell(node, _OURS) == ""
    nothing_failed(governed)
