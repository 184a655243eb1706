"""``validate``, ``compile`` and ``status``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from egress_compiler import bundle
from egress_compiler.cli.output import FORMAT, report, table
from egress_compiler.diagnostics import Collector, as_json, in_order
from egress_compiler.load import load_documents
from egress_compiler.pipeline import Compilation, Inputs, compile_bundle
from egress_compiler.status import COLUMNS, policy_rows
from egress_compiler.validate import validate_policies

PATH = click.Path(path_type=Path)
EXIT_CHANGES = 2


def input_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that name a run's input, the same on every command that compiles."""
    for option in reversed(
        [
            click.option(
                "--policies",
                "-p",
                type=PATH,
                multiple=True,
                required=True,
                help="Policy file or directory; repeatable.",
            ),
            click.option(
                "--cluster",
                "-c",
                type=PATH,
                multiple=True,
                required=True,
                help="kubectl -o json output, file or directory; repeatable.",
            ),
            click.option("--inventory", "-i", type=PATH, help="Ansible inventory with the nodes' interface names."),
            click.option("--settings", "-s", type=PATH, help="Settings file."),
            click.option("--lock", "-l", type=PATH, help="Lock file. Default: egress.lock.json beside the policies."),
        ]
    ):
        command = option(command)
    return command


def inputs_from(options: dict[str, Any]) -> Inputs:
    return Inputs(
        policies=tuple(options["policies"]),
        cluster=tuple(options["cluster"]),
        inventory=options["inventory"],
        settings=options["settings"],
        lock=options["lock"],
    )


@click.command("validate")
@click.argument("policies", nargs=-1, required=True, type=PATH)
@FORMAT
def validate_command(policies: tuple[Path, ...], output: str) -> None:
    """Check the shape and meaning of policy files; needs no cluster."""
    found = Collector()
    policy_set = validate_policies(load_documents(policies, found), found)
    found.raise_if_failed()
    diagnostics = in_order(found.found)
    if output == "json":
        click.echo(json.dumps({"diagnostics": [as_json(d) for d in diagnostics]}, indent=2))
        return
    report(diagnostics)
    click.echo(f"{len(policy_set.gateways)} gateways and {len(policy_set.policies)} policies are valid.")


@click.command("compile")
@input_options
@click.option("--out", "-o", type=PATH, required=True, help="Bundle directory.")
@click.option("--check", is_flag=True, help="Write nothing; exit 2 where the bundle or the lock file is stale.")
@FORMAT
def compile_command(out: Path, check: bool, output: str, **options: Any) -> int:
    """Compile policies and cluster into a bundle of configuration for every node."""
    compilation = compile_bundle(inputs_from(options))
    try:
        changed = bundle.changes(compilation, out) if check else bundle.write(compilation, out)
    except OSError as problem:
        raise click.ClickException(f"{problem.filename}: {problem.strerror}") from None
    if output == "json":
        result = {
            "changed": [str(change.path) for change in changed],
            "diagnostics": [as_json(d) for d in compilation.diagnostics],
        }
        click.echo(json.dumps(result, indent=2))
    else:
        report(compilation.diagnostics)
        click.echo(_summary(compilation, changed, out, check))
    return EXIT_CHANGES if check and changed else 0


def _summary(compilation: Compilation, changed: tuple[bundle.FileChange, ...], out: Path, check: bool) -> str:
    lines = [f"  {_sign(change)} {change.path}" for change in changed[:20]] if check else []
    more = [f"  ... and {len(changed) - 20} more"] if check and len(changed) > 20 else []
    verb = "would change" if check else "changed"
    count = f"{len(compilation.resolved.policies)} policies, {len(compilation.plans)} nodes"
    head = f"{out}: {count}; {len(changed) or 'no'} file{'' if len(changed) == 1 else 's'} {verb}."
    return "\n".join([head, *lines, *more])


def _sign(change: bundle.FileChange) -> str:
    if change.before is None:
        return "+"
    return "-" if change.after is None else "~"


@click.command("status")
@input_options
@FORMAT
def status_command(output: str, **options: Any) -> None:
    """Who leaves with which address: the table of all policies."""
    compilation = compile_bundle(inputs_from(options))
    rows = policy_rows(compilation.resolved, compilation.allocation)
    if output == "json":
        keys = [column.lower() for column in COLUMNS]
        click.echo(json.dumps([dict(zip(keys, row, strict=True)) for row in rows], indent=2))
        return
    report(compilation.diagnostics)
    click.echo(table(COLUMNS, rows))
