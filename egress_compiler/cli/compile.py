"""``validate`` and ``compile``, and the options that all commands that compile share."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click

from egress_compiler import bundle
from egress_compiler.cli.output import FORMAT, deliver, diagnostics_json, keep
from egress_compiler.cli.writing import cut_off, told, writing
from egress_compiler.commit import FileChange
from egress_compiler.diagnostics import Collector, counted, in_order, printable, refuse_open_warnings
from egress_compiler.pipeline import (
    Analysis,
    Compilation,
    Inputs,
    check_files,
    compile_bundle,
    without_cycle_collection,
)

PATH = click.Path(path_type=Path)
WARNINGS_AS_ERRORS = click.option(
    "--warnings-as-errors", is_flag=True, help="Refuse input with a warning that no annotation accepts."
)
QUARANTINE = click.option(
    "--quarantine/--no-quarantine",
    default=None,
    help="Objects with errors keep their last good state, and the exit status is 2. Default: as the settings say.",
)
EXIT_CHANGES = 2
EXIT_QUARANTINED = 2


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
                help="Policy file or directory, - for standard input; repeatable.",
            ),
            click.option(
                "--cluster",
                "-c",
                type=PATH,
                multiple=True,
                required=True,
                help="kubectl -o json output, file or directory, - for standard input; repeatable.",
            ),
            click.option("--inventory", "-i", type=PATH, help="Ansible inventory with the nodes' interface names."),
            click.option("--settings", "-s", type=PATH, help="Settings file."),
            click.option("--lock", "-l", type=PATH, help="Lock file. Default: egress.lock.json beside the policies."),
            QUARANTINE,
            WARNINGS_AS_ERRORS,
        ]
    ):
        command = option(command)
    return command


def allocation_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """What may move an allocation, where people asked for it."""
    for option in reversed(
        [
            click.option(
                "--import-status",
                type=PATH,
                multiple=True,
                help="Keep the EIPs and nodes in these exports of the policies' and gateways' statuses; repeatable.",
            ),
            click.option(
                "--rebalance", is_flag=True, help="Spread EIPs that are not pinned evenly, by as few moves as possible."
            ),
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
        import_status=tuple(options.get("import_status", ())),
        rebalance=options.get("rebalance", False),
        warnings_as_errors=options["warnings_as_errors"],
        quarantine=options["quarantine"],
    )


@click.command("validate")
@click.argument("policies", nargs=-1, required=True, type=PATH)
@WARNINGS_AS_ERRORS
@FORMAT
def validate_command(policies: tuple[Path, ...], warnings_as_errors: bool, output: str) -> None:
    """Check the shape and meaning of policy files, and all that they decide by themselves; needs no cluster."""
    found = Collector()
    policy_set = check_files(policies, found)
    found.raise_if_failed()
    diagnostics = in_order(found.found)
    if warnings_as_errors:
        refuse_open_warnings(diagnostics)
    counts = {"gateways": len(policy_set.gateways), "policies": len(policy_set.policies)}
    deliver(
        output,
        diagnostics,
        lambda: click.echo(
            f"Valid: {counted(counts['gateways'], 'gateway')} and {counted(counts['policies'], 'policy', 'policies')}."
        ),
        lambda: counts | diagnostics_json(diagnostics),
    )


@click.command("compile")
@input_options
@allocation_options
@click.option("--out", "-o", type=PATH, required=True, help="Bundle directory.")
@click.option("--check", is_flag=True, help="Write nothing; exit 2 where the bundle or the lock file is stale.")
@FORMAT
@without_cycle_collection(for_good=True)
def compile_command(out: Path, check: bool, output: str, **options: Any) -> int:
    """Compile policies and cluster into a bundle of configuration for every node."""
    _require_apart(out, (*options["policies"], *options["cluster"]))
    inputs = inputs_from(options)
    with nullcontext(cut_off(out)) if check else writing(out, inputs.lock_path) as left:
        compilation = keep(compile_bundle(inputs))
        with told():
            changed = bundle.changes(compilation, out, thorough=True) if check else bundle.write(compilation, out)
    diagnostics = in_order([*left, *compilation.diagnostics])
    deliver(
        output,
        diagnostics,
        lambda: click.echo(_summary(compilation, changed, out, check)),
        lambda: {"changed": [str(change.path) for change in changed]} | diagnostics_json(diagnostics),
    )
    return EXIT_CHANGES if check and changed else outcome(compilation)


def outcome(analysis: Analysis) -> int:
    """The exit code of a command that did what it was asked for."""
    return EXIT_QUARANTINED if analysis.quarantined else 0


def _require_apart(out: Path, inputs: tuple[Path, ...]) -> None:
    """The bundle is YAML and JSON itself: inside an input directory the next run would read it."""
    for path in inputs:
        if path.is_dir() and out.resolve().is_relative_to(path.resolve()):
            raise click.UsageError(f"--out {out} lies inside the input directory {path}")


def _summary(compilation: Compilation, changed: tuple[FileChange, ...], out: Path, check: bool) -> str:
    lines = [f"  {_sign(change)} {change.path}" for change in changed[:20]] if check else []
    more = [f"  ... and {len(changed) - 20} more"] if check and len(changed) > 20 else []
    verb = "would change" if check else "changed"
    policies = counted(len(compilation.resolved.policies), "policy", "policies")
    files = counted(len(changed), "file") if changed else "no files"
    nodes, others = counted(len(compilation.plans), "node"), len(compilation.resolved.cluster.other_nodes)
    nodes += f" ({others} more without a configuration)" if others else ""
    head = f"{printable(str(out))}: {policies}, {nodes}; {files} {verb}."
    return "\n".join([head, *lines, *more])


def _sign(change: FileChange) -> str:
    if change.before is None:
        return "+"
    return "-" if change.after is None else "~"
