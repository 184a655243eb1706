"""The gate's program, called as a container runtime calls it."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PLUGIN = (
    Path(__file__).parents[2] / "collections/ansible_collections/egress/gateway/plugins/module_utils/gate/plugin.py"
)
VERSIONS = ("0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
NAMES = "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=cart-1;K8S_POD_INFRA_CONTAINER_ID=c1;K8S_POD_UID=u-1"


@dataclass(frozen=True)
class Answer:
    status: int
    stdout: str
    stderr: str

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.stdout)
        return found

    @property
    def code(self) -> int:
        """Of the error object; 0 where there is none."""
        return int(self.json.get("code", 0)) if self.stdout.strip() else 0


def environment(command: str, **more: str) -> dict[str, str]:
    """What a runtime sets; an empty text in ``more`` leaves the name out."""
    found = {
        "CNI_COMMAND": command,
        "CNI_CONTAINERID": "c1",
        "CNI_NETNS": "/run/netns/c1",
        "CNI_IFNAME": "eth0",
        "CNI_ARGS": NAMES,
        "CNI_PATH": "/opt/cni/bin",
        "PATH": os.environ["PATH"],
        **more,
    }
    return {name: value for name, value in found.items() if value}


def call(stdin: bytes | str, env: Mapping[str, str]) -> Answer:
    data = stdin.encode() if isinstance(stdin, str) else stdin
    argv = [sys.executable, "-IS", str(PLUGIN)]
    done = subprocess.run(argv, input=data, capture_output=True, env=dict(env), timeout=60, check=False)
    return Answer(done.returncode, done.stdout.decode(), done.stderr.decode())


def result(*addresses: str, version: str = "1.0.0") -> dict[str, Any]:
    """What ptp answers, in the form of that version."""
    older = version < "1.0.0"
    ips: list[dict[str, Any]] = []
    for address in addresses:
        family: dict[str, Any] = {"version": "6" if ":" in address else "4"} if older else {}
        ips.append({**family, "address": address, "gateway": "10.1.0.1", "interface": 1})
    interfaces = [
        {"name": "veth1", "mac": "0a:00:00:00:00:01"},
        {"name": "eth0", "mac": "0a:00:00:00:00:02", "sandbox": "/run/netns/c1"},
    ]
    return {"cniVersion": version, "interfaces": interfaces, "ips": ips, "dns": {}}
