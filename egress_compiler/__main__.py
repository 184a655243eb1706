"""``python -m egress_compiler``: the command line."""

from egress_compiler.cli import main

main()
