"""``lab``: a cluster of network namespaces on this machine, from any example; and ``echo-server``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from egress_compiler.cli.output import Failed, format_option, report, table
from egress_compiler.lab import LabError, down, drill, open_lab
from egress_compiler.lab.example import Row, running_example, up_example
from egress_compiler.lab.load import Tally
from egress_compiler.lab.playbooks import run_playbook

NAME = click.option("--name", default="default", show_default=True, help="Several labs can be up under their names.")
EXIT_UNEXPECTED = 3
EXIT_USAGE = 64
ARGPARSE_USAGE = 2
MEASURED_FORMAT = format_option(("text", "json"), "Of what was measured.")


class _LabGroup(click.Group):
    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except LabError as problem:
            raise Failed(str(problem)) from problem


@click.group("lab", cls=_LabGroup)
def lab_group() -> None:
    """A cluster of network namespaces on this machine, from any example. Needs root."""


@lab_group.command("up")
@click.argument("example", type=click.Path(path_type=Path, exists=True, file_okay=False))
@NAME
def up_command(example: Path, name: str) -> None:
    """Build the cluster of EXAMPLE: nodes, pods, an outside server, sshd in every node."""
    lab = up_example(example, name)
    report(running_example(name).compilation.diagnostics)
    topology = lab.topology
    click.echo(f"{len(topology.nodes)} nodes and {len(topology.pods)} pods are up; the inventory is {lab.inventory}")


@lab_group.command("apply", context_settings={"ignore_unknown_options": True})
@NAME
@click.option("--absent", is_flag=True, help="Take everything away again.")
@click.argument("ansible_arguments", nargs=-1, type=click.UNPROCESSED)
def apply_command(name: str, absent: bool, ansible_arguments: tuple[str, ...]) -> int:
    """Compile the example and run playbooks/apply.yml over SSH; further arguments go to ansible-playbook.

    Exits 3 where a node fails.
    """
    running = running_example(name)
    report(running.compilation.diagnostics)
    running.write_bundle()
    playbook = "absent.yml" if absent else "apply.yml"
    done = run_playbook(running.lab, playbook, running.bundle, ansible_arguments, capture=False)
    return EXIT_UNEXPECTED if done.returncode else 0


@lab_group.command("probe")
@NAME
@click.option("--before", is_flag=True, help="Expect the nodes' addresses: nothing is applied yet.")
@MEASURED_FORMAT
def probe_command(name: str, before: bool, output: str) -> int:
    """Show which source address the outside sees of each pod, and which it should; exits 3 where they differ."""
    rows = running_example(name).probe(applied=not before)
    if output == "json":
        click.echo(json.dumps([_as_json(row) for row in rows], indent=2))
    else:
        click.echo(probe_table(rows))
    return 0 if all(row.good for row in rows) else EXIT_UNEXPECTED


def probe_table(rows: Sequence[Row]) -> str:
    """POD, DESTINATION, SEEN, EXPECTED and whether they agree; protocols with the same answer share a row."""
    merged: dict[tuple[str, ...], list[str]] = {}
    for row in rows:
        seen = row.result.seen or f"({row.result.error})"
        expected = "(blocked)" if row.decision.outcome == "blocked" else " or ".join(row.expected)
        key = (row.pod, row.target.address, seen, expected, "ok" if row.good else "WRONG")
        merged.setdefault(key, []).append(row.target.protocol)
    body = [(pod, to, "/".join(protocols), *rest) for (pod, to, *rest), protocols in merged.items()]
    return table(("POD", "DESTINATION", "BY", "SEEN", "EXPECTED", ""), body)


def _as_json(row: Row) -> dict[str, object]:
    return {
        "pod": row.pod,
        "destination": row.target.address,
        "protocol": row.target.protocol,
        "seen": row.result.seen,
        "error": row.result.error,
        "expected": list(row.expected),
        "outcome": row.decision.outcome,
        "policy": str(row.decision.policy) if row.decision.policy else None,
        "good": row.good,
    }


@lab_group.group("pod")
def pod_group() -> None:
    """Pods that come and go while the lab runs; the example's files do not have them."""


@pod_group.command("add")
@click.argument("pod", metavar="NAMESPACE/NAME")
@NAME
@click.option("--node", required=True, help="The node it is on.")
@click.option("--address", "addresses", required=True, multiple=True, help="In the node's pod CIDR; one a family.")
def add_pod_command(pod: str, name: str, node: str, addresses: tuple[str, ...]) -> None:
    """Start a pod, as a CNI plugin does it."""
    namespace, _, own = pod.partition("/")
    open_lab(name).add_pod(namespace, own, node, addresses)


@pod_group.command("delete")
@click.argument("pod", metavar="NAMESPACE/NAME")
@NAME
def delete_pod_command(pod: str, name: str) -> None:
    """End a pod, with what runs in it. Its addresses are free again."""
    open_lab(name).delete_pod(pod)


@lab_group.command("failover")
@NAME
@click.option("--node", help="The gateway that fails. Default: the first with an EIP.")
@click.option(
    "--failure",
    type=click.Choice(drill.FAILURES),
    default="cut",
    show_default=True,
    help="Cable out, power off, keepalived killed, stopped or hanging, or drained.",
)
@click.option(
    "--connections", type=click.IntRange(0, 4000), default=100, show_default=True, help="Kept open meanwhile."
)
@click.option(
    "--seconds", type=click.FloatRange(0.5, 60), default=1.0, show_default=True, help="Measured after each move."
)
@MEASURED_FORMAT
def failover_command(
    name: str, node: str | None, failure: drill.Failure, connections: int, seconds: float, output: str
) -> int:
    """Let a gateway fail and come back while a pod talks to the outside; show the outages and the losses."""
    running = running_example(name)
    pod, _, failing = running.pick_flow(node)
    with drill.load(running, {pod: connections}) as load:
        steps = [_measured("fails", drill.run_failure(running, failing, failure, pod, seconds), load.settle())]
        if failure == "poweroff":
            running.lab.power_on(failing)
        else:
            steps.append(
                _measured("comes back", drill.run_repair(running, failing, failure, pod, seconds), load.settle())
            )
    good = all(step["good"] for step in steps)
    if output == "json":
        result = {"node": failing, "failure": failure, "pod": pod, "connections": connections, "steps": steps}
        click.echo(json.dumps({**result, "good": good}, indent=2))
    else:
        for step in steps:
            click.echo(f"{failing} {step['step']} ({failure}) while {pod} talks to the outside: {step['text']}")
        if failure == "poweroff":
            click.echo(f"{failing} is up again, and empty: apply it anew")
    return 0 if good else EXIT_UNEXPECTED


def _measured(step: str, measured: drill.Measured, tally: Tally) -> dict[str, object]:
    outages = measured.outages.items()
    gaps = "; ".join(f"{a} seen as {', '.join(o.seen)}, longest gap {o.longest_gap_ms:.0f} ms" for a, o in outages)
    return {
        "step": step,
        "outages": {a: {"seen": o.seen, "outage_ms": o.longest_gap_ms} for a, o in outages},
        "open": tally.open,
        "lost": dict(tally.lost),
        "good": not tally.lost and all(len(o.seen) == 1 and o.error is None for _, o in outages),
        "text": f"{gaps}; {tally.open} connections open, {tally.lost_count} lost",
    }


@lab_group.command("down")
@NAME
def down_command(name: str) -> None:
    """Remove the lab, and everything that a crash left of it."""
    down(name)


@click.command("echo-server", context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[--bind ADDRESS] [--tcp-port N] ...")
def echo_server_command(arguments: tuple[str, ...]) -> int:
    """Tell each client which source address it is seen with, over TCP, UDP, HTTP and WebSocket."""
    # Imported here: the WebSocket library is of no use to any other command.
    from egress_compiler.lab import echo

    try:
        return echo.main(list(arguments))
    except SystemExit as done:
        # The server has a command line of its own, whose usage errors are 2; that means changes here.
        return EXIT_USAGE if done.code == ARGPARSE_USAGE else 0
