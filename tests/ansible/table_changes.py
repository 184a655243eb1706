"""Run in a network namespace of its own: makes one table of another, many times, and prints what each took as JSON.

Reads a list of pairs of rulesets from its standard input: what is there, and what is wanted.
"""

import json
import subprocess
import sys
from typing import Any


def change(there: str, wanted: str) -> dict[str, Any]:
    """How the one became the other: the kind of script, its text, and what still differs afterwards."""
    from ansible_collections.egress.gateway.plugins.module_utils.kernel.reading import Kernel
    from ansible_collections.egress.gateway.plugins.module_utils.resources.nftables import Table

    subprocess.run(["nft", "-f", "-"], input=there, text=True, check=True)
    kernel = Kernel()
    table = Table(kernel, wanted, {})
    before = [str(c.key) for c in table.difference()]
    script = table.script() if before else ""
    done = subprocess.run(["nft", "-f", "-"], input=script, text=True, check=False, stderr=subprocess.PIPE)
    kernel.forget()
    left = [str(c.key) for c in table.difference()]
    return {"script": script, "whole": script == wanted, "differed": before, "left": left, "error": done.stderr}


if __name__ == "__main__":
    json.dump([change(*pair) for pair in json.load(sys.stdin)], sys.stdout)
