"""Diagnostics and tables on the terminal."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import click

from egress_compiler.diagnostics import Diagnostic, Severity, as_json, as_text, count_errors


@dataclass(slots=True)
class Run:
    """What outlives a command's context: ``output`` is the format that it was asked for."""

    output: str = "text"


def _remember(context: click.Context, _: click.Parameter, value: str) -> str:
    context.ensure_object(Run).output = value
    return value


FORMAT = click.option(
    "--format",
    "output",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    callback=_remember,
    help="Of the report.",
)


def report(diagnostics: Sequence[Diagnostic], output: str = "text") -> None:
    """Diagnostics to standard error as text, or to standard output as JSON."""
    if output == "json":
        click.echo(json.dumps({"diagnostics": [as_json(d) for d in diagnostics]}, indent=2))
        return
    for diagnostic in diagnostics:
        colour = "red" if diagnostic.severity is Severity.ERROR else "yellow"
        head, _, rest = as_text(diagnostic).partition("\n")
        click.secho(head, err=True, fg=colour, bold=True)
        if rest:
            click.echo(rest, err=True)
    errors = count_errors(diagnostics)
    if errors:
        click.echo(f"{errors} error{'s' if errors > 1 else ''}; nothing was written.", err=True)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as kubectl prints them: padded with three spaces between, no padding at the end."""
    widths = [max(len(str(row[column])) for row in [header, *rows]) for column in range(len(header))]
    lines = ["   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in [header, *rows]]
    return "\n".join(line.rstrip() for line in lines)
