"""A bundle put on the lab's nodes as a person would: files copied, then sysctl, ip, bridge, nft, keepalived."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from egress_compiler.contract.plan import NodePlan
from egress_compiler.lab import Lab, down
from egress_compiler.lab.example import RunningExample, running_example, up_example
from egress_compiler.pipeline import Compilation

EXAMPLES = Path(__file__).parents[2] / "examples"
APPLY = """
cd /etc/egress-gateway
ip -batch vxlan.batch
bridge -batch fdb.batch
sysctl -q -p sysctl.conf
ip -batch routes.batch
[ ! -e routes6.batch ] || ip -6 -batch routes6.batch
nft -f nftables.nft
[ ! -e keepalived.conf ] || keepalived --config-test --use-file=keepalived.conf
"""
START = (
    "mkdir -p /run/egress-gateway; cd /etc/egress-gateway; "
    "[ ! -e conntrackd.conf ] || [ -e /run/egress-gateway/conntrackd.ctl ] || conntrackd -d -C conntrackd.conf; "
    "keepalived --vrrp --use-file=/etc/egress-gateway/keepalived.conf "
    "--pid=/run/egress-gateway/keepalived.pid --vrrp_pid=/run/egress-gateway/vrrp.pid >/dev/null 2>&1"
)
PATIENCE = 15.0


@contextmanager
def applied(directory: Path, what: str) -> Iterator[RunningExample]:
    """An example in a lab of its own, named by ``what``, with its bundle applied."""
    name = f"test-{os.getpid()}-{what}"
    up_example(directory, name)
    try:
        running = running_example(name)
        apply_by_hand(running.lab, running.compilation)
        yield running
    finally:
        down(name)


def apply_by_hand(lab: Lab, compilation: Compilation) -> None:
    """Gateways first, as the playbooks do; returns when every VRRP slot has its preferred master."""
    for plan in sorted(compilation.plans, key=lambda plan: plan.role):
        apply_node(lab, compilation, plan)
    await_masters(lab, compilation)


def apply_node(lab: Lab, compilation: Compilation, plan: NodePlan) -> None:
    _copy(lab, compilation, plan)
    lab.exec(plan.node, ["sh", "-ec", APPLY])
    if plan.role == "gateway":
        start_keepalived(lab, plan.node)


def start_keepalived(lab: Lab, node: str) -> None:
    lab.exec(node, ["sh", "-ec", START])


def stop_keepalived(lab: Lab, node: str) -> None:
    """Gracefully; returns when it is gone, as a second one refuses to start beside it."""
    pid = lab.exec(node, ["cat", "/run/egress-gateway/keepalived.pid"]).stdout.strip()
    lab.exec(node, ["kill", pid])
    wait_for(lambda: lab.exec(node, ["kill", "-0", pid], check=False).returncode != 0, "keepalived to end")


def _copy(lab: Lab, compilation: Compilation, plan: NodePlan) -> None:
    prefix = f"nodes/{plan.node}/"
    lab.exec(plan.node, ["mkdir", "-p", "/etc/egress-gateway"])
    for name, text in compilation.files.items():
        if name.startswith(prefix):
            target = f"/etc/egress-gateway/{name.removeprefix(prefix)}"
            lab.exec(plan.node, ["dd", f"of={target}", "status=none"], stdin=text)
            if text.startswith("#!"):
                lab.exec(plan.node, ["chmod", "755", target])


def await_masters(lab: Lab, compilation: Compilation) -> None:
    for plan in compilation.plans:
        for slot in plan.gateway.memberships if plan.gateway is not None else ():
            if slot.preferred_node == plan.node:
                vip = slot.tunnel_vips[0].address
                wait_for(partial(holds, lab, plan.node, vip), f"{plan.node} to be master of {vip}")


def holds(lab: Lab, node: str, address: str) -> bool:
    """Whether the node has the address."""
    return f" {address}/" in lab.exec(node, ["ip", "-o", "address"]).stdout


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """Until ``condition`` holds; fails after PATIENCE seconds."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.1)


def wrong_rows(running: RunningExample, *, applied: bool) -> list[str]:
    """The probes that saw another address than they should, for a readable assertion."""
    rows = running.probe(applied=applied)
    assert rows
    return [
        f"{row.pod} -> {row.target.protocol} {row.target.address}: saw {row.result.seen or row.result.error}, "
        f"expected {row.expected or row.decision.outcome}"
        for row in rows
        if not row.good
    ]
