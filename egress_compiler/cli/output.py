"""Diagnostics and tables on the terminal, and diagnostics for the programs that read them."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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
Value = TypeVar("Value")


class Failed(Exception):
    """A command cannot do what it was asked for; the text says why and what would help."""


@dataclass(slots=True)
class Run:
    """What outlives a command's context: ``output`` is the format that it was asked for.

    ``code`` is what the command ends with where nobody reads its answer to the end; ``kept`` is what ``keep`` has got.
    """

    output: str = "text"
    code: int = 0
    kept: object = None


def keep(value: Value) -> Value:
    """``value``, which the process then has to its end: to give a large one back takes as long as a stage."""
    click.get_current_context().ensure_object(Run).kept = value
    return value


def _remember(context: click.Context, _: click.Parameter, value: str) -> str:
    context.ensure_object(Run).output = value
    return value


def format_option(formats: Sequence[str], help_text: str) -> Callable[[Command], Command]:
    """``--format``; the default is text, and what was asked for holds for errors too."""
    return click.option(
        "--format",
        "output",
        type=click.Choice(formats),
        default="text",
        show_default=True,
        callback=_remember,
        help=help_text,
    )


FORMATS = ("text", "json", "github", "sarif")
MACHINES = "Github adds annotations for a workflow; sarif is for code scanning and has errors and warnings alone."
FORMAT = format_option(FORMATS, MACHINES)


def deliver(output: str, diagnostics: Sequence[Diagnostic], text: Callable[[], None], data: Callable[[], Any]) -> None:
    """A command's answer, and the warnings that came up on the way, in the form that was asked for.

    ``text`` prints the answer, ``data`` gives it as JSON has it, with or without a list of the diagnostics.  A warning
    is never lost: where the answer has no place for it, it goes to standard error.  SARIF is the diagnostics alone.
    """
    if output == "json":
        answer = data()
        if not (isinstance(answer, dict) and "diagnostics" in answer):
            report(diagnostics)
        click.echo(json.dumps(answer, indent=2))
        return
    report(diagnostics, output)
    if output != "sarif":
        text()


def diagnostics_json(diagnostics: Sequence[Diagnostic]) -> dict[str, Any]:
    """The part of a JSON answer that every command has under the same name."""
    return {"diagnostics": [as_json(diagnostic) for diagnostic in diagnostics]}


def report(diagnostics: Sequence[Diagnostic], output: str = "text", *, refused: bool = False) -> None:
    """Diagnostics to standard error as text, or to standard output in the form that a program reads.

    Accepted warnings are no news for people; the JSON and the SARIF have them with their reasons.  ``refused``: the
    command ends here, for the errors or for the warnings.
    """
    if output == "json":
        click.echo(json.dumps(diagnostics_json(diagnostics), indent=2))
    elif output == "sarif":
        click.echo(json.dumps(sarif_log(diagnostics, _version()), indent=2))
    elif output == "github":
        for diagnostic in diagnostics:
            if not diagnostic.accepted:
                click.echo(as_github(diagnostic))
    else:
        _report_text(diagnostics)
    if refused and output in ("text", "github", "markdown"):
        click.echo(_refusal(diagnostics), err=True)


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


def _refusal(diagnostics: Sequence[Diagnostic]) -> str:
    errors, warnings = count_errors(diagnostics), len(open_warnings(diagnostics))
    if not errors:
        return f"{counted(warnings, 'warning')} and --warnings-as-errors: nothing was written."
    also = f" and {counted(warnings, 'warning')}" if warnings else ""
    return f"{counted(errors, 'error')}{also}: nothing was written."


def _version() -> str:
    try:
        return version("egress-compiler")
    except PackageNotFoundError:
        return "0"


@contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """A function that shows on one line of standard error what is being done; nothing where that is no terminal."""
    terminal = sys.stderr.isatty()
    began = time.monotonic()

    def show(doing: str) -> None:
        if terminal and (seconds := int(time.monotonic() - began)):
            click.echo(f"\r\x1b[K{doing}, {seconds} s"[: shutil.get_terminal_size().columns + 3], nl=False, err=True)

    try:
        yield show
    finally:
        if terminal:
            click.echo("\r\x1b[K", nl=False, err=True)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as kubectl prints them: padded with three spaces between, no padding at the end."""
    widths = [max(len(str(row[column])) for row in [header, *rows]) for column in range(len(header))]
    lines = ["   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in [header, *rows]]
    return "\n".join(line.rstrip() for line in lines)
