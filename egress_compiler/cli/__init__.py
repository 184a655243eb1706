"""The command line: options to inputs, results to text, failures to exit codes."""

from egress_compiler.cli.app import main

__all__ = ["main"]
