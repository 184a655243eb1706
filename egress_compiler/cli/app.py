"""The root command and the exit codes: 0 fine, 1 wrong input, 2 changes or quarantine, 3 drift, 64 usage, 70 a bug."""

from __future__ import annotations

import os
import sys
import traceback
from typing import Any

import click

from egress_compiler.cli import signals, streams
from egress_compiler.cli.compile import compile_command, validate_command
from egress_compiler.cli.explain import explain_command
from egress_compiler.cli.lab import echo_server_command, lab_group
from egress_compiler.cli.move import move_command
from egress_compiler.cli.output import Run, report
from egress_compiler.cli.plan import plan_command
from egress_compiler.cli.schema import schema_command
from egress_compiler.cli.snapshot import snapshot_command
from egress_compiler.cli.status import status_command
from egress_compiler.diagnostics import Diagnostic, InvalidInput, Severity, printable
from egress_compiler.lab.errors import LabError

EXIT_INVALID = 1
EXIT_USAGE = 64
EXIT_INTERNAL = 70


class _Stopped(Exception):
    """By a signal.  click would add an empty line to a KeyboardInterrupt."""


class _App(click.Group):
    def make_context(self, *arguments: Any, **more: Any) -> click.Context:
        try:
            return super().make_context(*arguments, **more)
        except KeyboardInterrupt:
            raise _Stopped from None

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise _Stopped from None


@click.group(cls=_App, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="egress-compiler")
def app() -> None:
    """Compiles egress policies into configuration for every node of a Kubernetes cluster."""


app.add_command(validate_command)
app.add_command(compile_command)
app.add_command(plan_command)
app.add_command(explain_command)
app.add_command(move_command)
app.add_command(snapshot_command)
app.add_command(schema_command)
app.add_command(status_command)
app.add_command(lab_group)
app.add_command(echo_server_command)


def main() -> None:
    """Runs the command line and exits with its documented code; no input gives a traceback."""
    run = Run()
    try:
        code = _outcome(run)
        streams.flush()
    except streams.Undeliverable as lost:
        streams.discard()
        code = run.code
        if not lost.nobody_reads:
            report([Diagnostic("unwritable", Severity.ERROR, str(lost))])
            code = EXIT_INVALID
    if signals.received():
        signals.end()
    sys.exit(EXIT_INVALID if code == 0 and streams.error_lost() else code)


def _outcome(run: Run) -> int:
    """The exit code; all that is to be said was said."""
    try:
        code = app.main(standalone_mode=False, obj=run)
        return code if isinstance(code, int) else 0
    except (InvalidInput, LabError) as problem:
        run.code = EXIT_INVALID
        if isinstance(problem, InvalidInput):
            report(problem.diagnostics, run.output, refused=problem.nothing_written)
        else:
            click.echo(f"egress-compiler: {printable(str(problem))}", err=True)
        return EXIT_INVALID
    except click.exceptions.Exit as done:
        return done.exit_code
    except (_Stopped, click.Abort):
        signals.end()
    except click.ClickException as problem:
        problem.show()
        if isinstance(problem, click.UsageError) and problem.ctx is None:
            click.echo(app.get_usage(click.Context(app, info_name="egress-compiler")), err=True)
        return EXIT_USAGE
    except streams.Undeliverable:
        raise
    except Exception as problem:
        if signals.received():
            signals.end()
        if os.environ.get("EGRESS_COMPILER_DEBUG"):
            traceback.print_exc()
        click.echo(
            f"egress-compiler: internal error: {type(problem).__name__}: {printable(str(problem))}\n"
            "Set EGRESS_COMPILER_DEBUG=1 for the traceback, and please report it.",
            err=True,
        )
        return EXIT_INTERNAL
