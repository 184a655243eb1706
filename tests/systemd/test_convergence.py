"""Every release comes to its bundle by the unmodified playbooks, stays there, and comes back from a reboot with it."""

import pytest

from tests.ansible.leaks import heard, talking, until_governed
from tests.systemd.conftest import EVERY_RELEASE, NODES, Cluster, nothing_failed

pytestmark = [pytest.mark.systemd, EVERY_RELEASE]


def test_the_second_run_changes_nothing_and_verify_finds_nothing(cluster: Cluster) -> None:
    first = cluster.changed("apply")
    assert {host for host, number in first.items() if number} == set(NODES)
    until_governed(cluster.lab)
    predicted = cluster.playbook("apply", "--check", "--diff")
    assert "changed: [" not in predicted.stdout
    assert cluster.changed("apply") == dict.fromkeys(NODES, 0)
    cluster.playbook("verify")
    nothing_failed(cluster)


@pytest.mark.parametrize("node", ["worker1", "gw1"])
@pytest.mark.parametrize("how", ["reboot", "cut_power"])
def test_a_node_lets_nothing_out_while_it_boots(governed: Cluster, node: str, how: str) -> None:
    """The worker is the pod's own; the gateway is master of its EIP and has it again when it is back."""
    with talking(governed.lab):
        getattr(governed, how)(node)
        until_governed(governed.lab)
        leaked, right = heard(governed.lab)
    assert leaked == []
    assert right > 0
    governed.until_verified()
    nothing_failed(governed)
