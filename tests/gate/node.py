"""A lab node on which pods are started with real CNI plugins, from outside of it."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from egress_compiler.lab import Lab, kill
from tests.gate.starter import Api, Json, Pod

ROOT = Path(__file__).parents[2]
LIST = "/etc/cni/net.d/10-test.conflist"
RANGES = ("10.244.3.128/25", "fd00:10:244:3::8000/113")
"""Parts of worker1's pod CIDRs that the lab's own pods leave free."""
FEW = ("10.244.3.128/29", "fd00:10:244:3::8000/125")
"""Five addresses: they come again soon."""


class PodNode:
    """``start``, ``stop`` and ``check`` answer what `tests.gate.starter` does on the node."""

    def __init__(self, lab: Lab, name: str) -> None:
        self.lab = lab
        self.name = name

    def shell(self, script: str, check: bool = True) -> str:
        return self.lab.exec(self.name, ["sh", "-ec", script], check=check).stdout

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        script = f"mkdir -p $(dirname {path}); cat >{path}.new; chmod {mode:o} {path}.new; mv {path}.new {path}"
        self.lab.exec(self.name, ["sh", "-ec", script], stdin=text)

    def configure(
        self, plugin: str = "ptp", version: str = "1.0.0", ranges: Sequence[str] = RANGES, **gate: Any
    ) -> None:
        """A CNI's list, with our plugin in it where ``gate`` says how; else the collection puts it there."""
        ipam: Json = {"type": "host-local", "ranges": [[{"subnet": subnet}] for subnet in ranges]}
        ipam["routes"] = [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]
        ipam["dataDir"] = "/run/cni-ipam"
        own: Json = {"type": plugin, "mtu": 1400, "ipam": ipam}
        own |= {"bridge": "cni0", "isGateway": True} if plugin == "bridge" else {}
        plugins = [own, *([{"type": "egress-gate", **gate}] if gate else [])]
        self.write(LIST, json.dumps({"cniVersion": version, "name": "test", "plugins": plugins}, indent=2) + "\n")

    def start(self, pod: Pod) -> Json:
        return self._run("start", pod)

    def stop(self, pod: Pod) -> Json:
        return self._run("stop", pod)

    def check(self, pod: Pod) -> Json:
        return self._run("check", pod)

    def begin(self, pod: Pod) -> "subprocess.Popen[str]":
        """A start that goes on; its output is the answer."""
        return self.lab.popen(self.name, self._argv("start", asdict(pod)), cwd=ROOT)

    def many(self, **order: Any) -> Iterator[Json]:
        process = self.lab.popen(self.name, self._argv("many", {"node": self.name, **order}), cwd=ROOT)
        assert process.stdout is not None
        try:
            for line in process.stdout:
                yield json.loads(line)
            assert process.wait() == 0, process.stderr
        finally:
            kill(process)

    @contextmanager
    def api(self, kubeconfig: Path, control: Path) -> Iterator[Api]:
        """A scripted API server that listens on the node, and its control socket."""
        argv = [
            sys.executable,
            "-m",
            "tests.follow_api",
            "--control",
            f"unix:{control}",
            "--kubeconfig",
            str(kubeconfig),
        ]
        process = self.lab.popen(self.name, argv, stdin=subprocess.PIPE, cwd=ROOT)
        try:
            assert process.stdout is not None
            assert json.loads(process.stdout.readline())["url"]
            with Api(str(control)) as api:
                yield api
        finally:
            kill(process)

    def _run(self, command: str, pod: Pod) -> Json:
        done = self.lab.exec(self.name, self._argv(command, asdict(pod)), cwd=ROOT, timeout=60)
        found: Json = json.loads(done.stdout)
        return found

    def _argv(self, command: str, given: Json) -> list[str]:
        return [sys.executable, "-m", "tests.gate.starter", command, json.dumps(given)]
