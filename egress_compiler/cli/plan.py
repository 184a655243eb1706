"""``plan``: what compile would change, for the terminal, a pull request and machines."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click

from egress_compiler import bundle
from egress_compiler.cli.compile import EXIT_CHANGES, PATH, allocation_options, input_options, inputs_from, outcome
from egress_compiler.cli.output import FORMATS, MACHINES, deliver, diagnostics_json, format_option
from egress_compiler.cli.writing import cut_off
from egress_compiler.diagnostics import Collector, in_order, printable
from egress_compiler.pipeline import Compilation, compile_bundle, without_cycle_collection
from egress_compiler.plan import MARKDOWN_LIMIT, Plan, bundle_before, compare
from egress_compiler.plan import as_json as plan_json
from egress_compiler.plan import as_markdown as plan_markdown
from egress_compiler.plan import as_text as plan_text

EXIT_DISRUPTIVE = 1
COLOURS = {"+": "green", "-": "red", "~": "yellow", "!": "red"}


@click.command("plan")
@input_options
@allocation_options
@click.option("--against", type=PATH, required=True, help="Bundle directory to compare with.")
@click.option("--new", is_flag=True, help="Compare with nothing where there is no bundle yet.")
@click.option("--diff", "diffs", is_flag=True, help="Line diffs of every file, too.")
@click.option("--exit-code", is_flag=True, help="Exit 2 where compile would change anything.")
@click.option(
    "--forbid-disruptive",
    is_flag=True,
    help="Exit 1 where an address that is in use changes or is lost, or open connections break.",
)
@format_option(
    [*FORMATS, "markdown"],
    f"Markdown is for a pull request, and at most {MARKDOWN_LIMIT:,} characters long. {MACHINES}",
)
@without_cycle_collection(for_good=True)
def plan_command(
    against: Path, new: bool, diffs: bool, exit_code: bool, forbid_disruptive: bool, output: str, **options: Any
) -> int:
    """Show what compile would change: who leaves with another address, what breaks, which files."""
    compilation = compile_bundle(inputs_from(options))
    plan = plan_against(compilation, against, diffs, new=new)
    diagnostics = in_order([*cut_off(against), *compilation.diagnostics])
    deliver(
        output,
        diagnostics,
        lambda: click.echo(plan_markdown(plan), nl=False) if output == "markdown" else show(plan),
        lambda: plan_json(plan) | diagnostics_json(diagnostics),
    )
    if forbid_disruptive and plan.disruptive:
        click.echo("egress-compiler: the plan is disruptive, which --forbid-disruptive refuses", err=True)
        return EXIT_DISRUPTIVE
    return EXIT_CHANGES if exit_code and not plan.empty else outcome(compilation)


def plan_against(compilation: Compilation, out: Path, diffs: bool = False, *, new: bool = False) -> Plan:
    """The plan for writing ``compilation`` to ``out``.  Raises InvalidInput where ``out`` cannot be compared with.

    With ``new`` there need not be a bundle.
    """
    found = Collector()
    try:
        changes = bundle.changes(compilation, out)
    except OSError as problem:
        path = printable(str(problem.filename))
        found.error("bundle-unreadable", f"{path} cannot be read: {problem.strerror}", None)
        changes = ()
    before = bundle_before(compilation, changes, out, found, new=new)
    found.raise_if_failed()
    return compare(before, compilation, changes, out, diffs=diffs)


def show(plan: Plan) -> None:
    """The plan as text, its signs in colour on a terminal that wants it."""
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    for line in plan_text(plan).split("\n"):
        mark = line.lstrip()[:1] if line.startswith(" ") else line[:1]
        click.echo(click.style(line, fg=COLOURS[mark]) if colour and mark in COLOURS else line)
