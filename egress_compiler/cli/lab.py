"""``lab``: a cluster of network namespaces on this machine, from any example; and ``echo-server``."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

import click

from egress_compiler.cli.output import format_option, report, table
from egress_compiler.lab import down
from egress_compiler.lab.example import Row, running_example, up_example
from egress_compiler.lab.playbooks import run_playbook

NAME = click.option("--name", default="default", show_default=True, help="Several labs can be up under their names.")
EXIT_UNEXPECTED = 3
EXIT_USAGE = 64
ARGPARSE_USAGE = 2
MEASURED_FORMAT = format_option(("text", "json"), "Of what was measured.")


@click.group("lab")
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


@lab_group.command("failover")
@NAME
@click.option("--node", help="The gateway whose uplink is cut. Default: the first with an EIP.")
@click.option("--seconds", type=click.FloatRange(3, 60), default=6.0, show_default=True, help="How long to measure.")
@MEASURED_FORMAT
def failover_command(name: str, node: str | None, seconds: float, output: str) -> int:
    """Cut a gateway's uplink while a pod talks to the outside; show how long that is noticed, and restore it."""
    running = running_example(name)
    pod, target, cut = running.pick_flow(node)
    with running.lab.outage(pod, target, seconds) as meter:
        time.sleep(1)
        running.lab.cut(cut)
        try:
            outage = meter.result()
        finally:
            running.lab.restore(cut)
    good = len(outage.seen) == 1 and outage.error is None
    if output == "json":
        result = {"node": cut, "pod": pod, "seen": outage.seen, "outage_ms": outage.longest_gap_ms, "good": good}
        click.echo(json.dumps(result, indent=2))
    else:
        click.echo(
            f"{cut}'s uplink was cut while {pod} talked to {target.address}: seen as {', '.join(outage.seen)}, "
            f"longest gap {outage.longest_gap_ms:.0f} ms"
        )
    return 0 if good else EXIT_UNEXPECTED


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
