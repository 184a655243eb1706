"""Diagnostics and tables on the terminal, and diagnostics for the programs that read them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, TypeVar

import click

from egress_compiler.diagnostics import (
    Diagnostic,
    Severity,
    as_github,
    as_json,
    as_text,
    count_errors,
    counted,
    open_warnings,
)
from egress_compiler.diagnostics.sarif import sarif_log

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(slots=True)
class Run:
    """What outlives a command's context: ``output`` is the format that it was asked for."""

    output: str = "text"


def _remember(context: click.Context, _: click.Parameter, value: str) -> str:
    context.ensure_object(Run).output = value
    return value


def _format_option(formats: Sequence[str], help_text: str) -> Callable[[Command], Command]:
    return click.option(
        "--format",
        "output",
        type=click.Choice(formats),
        default="text",
        show_default=True,
        callback=_remember,
        help=help_text,
    )


FORMAT = _format_option(["text", "json"], "Of the report.")
DIAGNOSTIC_FORMAT = _format_option(
    ["text", "json", "github", "sarif"],
    "Of the report: github makes annotations in a workflow, sarif is for code scanning.",
)


def report(diagnostics: Sequence[Diagnostic], output: str = "text") -> None:
    """Diagnostics to standard error as text, or to standard output in the form that a program reads.

    Accepted warnings are no news for people; the JSON and the SARIF have them with their reasons.
    """
    if output == "json":
        click.echo(json.dumps({"diagnostics": [as_json(d) for d in diagnostics]}, indent=2))
    elif output == "sarif":
        click.echo(json.dumps(sarif_log(diagnostics, _version()), indent=2))
    elif output == "github":
        for diagnostic in diagnostics:
            if not diagnostic.accepted:
                click.echo(as_github(diagnostic))
    else:
        _report_text(diagnostics)


def _report_text(diagnostics: Sequence[Diagnostic]) -> None:
    coloured = False if os.environ.get("NO_COLOR") else None
    for diagnostic in diagnostics:
        if diagnostic.accepted:
            continue
        colour = "red" if diagnostic.severity is Severity.ERROR else "yellow"
        head, _, rest = as_text(diagnostic).partition("\n")
        click.secho(head, err=True, color=coloured, fg=colour, bold=True)
        if rest:
            click.echo(rest, err=True)
    errors, warnings = count_errors(diagnostics), len(open_warnings(diagnostics))
    if errors:
        also = f" and {counted(warnings, 'warning')}" if warnings else ""
        click.echo(f"{counted(errors, 'error')}{also}; nothing was written.", err=True)


def _version() -> str:
    try:
        return version("egress-compiler")
    except PackageNotFoundError:
        return "0"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as kubectl prints them: padded with three spaces between, no padding at the end."""
    widths = [max(len(str(row[column])) for row in [header, *rows]) for column in range(len(header))]
    lines = ["   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in [header, *rows]]
    return "\n".join(line.rstrip() for line in lines)
