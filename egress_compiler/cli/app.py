"""The root command and the exit codes: 0 fine, 1 wrong input, 2 changes or quarantine, 3 drift, 64 usage, 70 a bug."""

from __future__ import annotations

import os
import sys
import traceback
from importlib import import_module
from typing import Any

import click

from egress_compiler.cli import signals, streams
from egress_compiler.cli.output import Failed, Run, report
from egress_compiler.diagnostics import Diagnostic, InvalidInput, Severity, printable

EXIT_INVALID = 1
EXIT_USAGE = 64
EXIT_INTERNAL = 70


COMMANDS = {
    "compile": ("compile", "compile_command"),
    "echo-server": ("lab", "echo_server_command"),
    "explain": ("explain", "explain_command"),
    "lab": ("lab", "lab_group"),
    "move": ("move", "move_command"),
    "plan": ("plan", "plan_command"),
    "schema": ("schema", "schema_command"),
    "snapshot": ("snapshot", "snapshot_command"),
    "status": ("status", "status_command"),
    "validate": ("compile", "validate_command"),
}
"""By name its module and what it is there."""


class _Stopped(Exception):
    """By a signal.  click would add an empty line to a KeyboardInterrupt."""


class _App(click.Group):
    """Imports a command when it is asked for: a quarter of a second, if it were all of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*COMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, name = COMMANDS[cmd_name]
        command: click.Command = getattr(import_module(f"egress_compiler.cli.{module}"), name)
        return command

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
    except (InvalidInput, Failed) as problem:
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
