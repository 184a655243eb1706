# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""Asks from inside a pod: by kubectl, and by the Python, curl or wget that one of its containers has."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from ansible_collections.egress.gateway.plugins.module_utils.probe import echo_client
from ansible_collections.egress.gateway.plugins.module_utils.probe.echo_client import AskError, Target

Answer = tuple["str | None", "str | None"]
"""The address that was seen, or why none was."""

_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_NOT_THERE = (126, 127)
"""Exit status where a container has no such program."""
_START = 30.0
"""Seconds for kubectl to reach the pod."""


@dataclass(frozen=True)
class Pod:
    """AskError when a name is none that Kubernetes allows: it would be taken for an option."""

    name: str
    namespace: str = "default"
    container: str | None = None
    context: str | None = None
    kubeconfig: str | None = None
    kubectl: str = "kubectl"

    def __post_init__(self) -> None:
        for text in (self.name, self.namespace, self.container or "x"):
            if not _NAME.fullmatch(text):
                raise AskError("%r is no name of a pod, a namespace or a container" % text)

    def command(self, *argv: str) -> list[str]:
        """What runs ``argv`` in the pod."""
        chosen = {"kubeconfig": self.kubeconfig, "context": self.context, "container": self.container}
        options = ["--%s=%s" % (name, value) for name, value in chosen.items() if value]
        return [self.kubectl, "exec", "--stdin", "--namespace=" + self.namespace, *options, self.name, "--", *argv]


def ask_all(pod: Pod, targets: Sequence[Target], timeout: float) -> list[Answer]:
    """One answer for each target, in their order; AskError when the pod cannot be asked at all."""
    wanted = json.dumps({"timeout": timeout, "targets": [[t.address, t.port, t.protocol] for t in targets]})
    limit = timeout * len(targets) + _START
    status, output, messages = _run(pod.command("python3", "-", wanted), inspect.getsource(echo_client), limit)
    if status == 0:
        return [tuple(answer) for answer in json.loads(output)]
    if status not in _NOT_THERE and "executable file not found" not in messages:
        raise AskError("pod %s/%s: %s" % (pod.namespace, pod.name, messages.strip() or output.strip()))
    return [_without_python(pod, target, timeout) for target in targets]


def _without_python(pod: Pod, target: Target, timeout: float) -> Answer:
    if target.protocol != "http":
        return None, "the container has no python3, and without it only http can be asked"
    host = "[%s]" % target.address if ":" in target.address else target.address
    url = "http://%s:%d/" % (host, target.port)
    seconds = "%d" % max(1, round(timeout))
    problem = "the container has neither python3 nor curl nor wget"
    for argv in (["curl", "-sS", "--noproxy", "*", "-m", seconds, url], ["wget", "-qO-", "-T", seconds, url]):
        status, output, messages = _run(pod.command(*argv), "", timeout + _START)
        if status == 0:
            try:
                return str(json.loads(output)["ip"]), None
            except (ValueError, KeyError, TypeError):
                return None, "this is no echo service: it said %r" % output[:100]
        if status not in _NOT_THERE and "executable file not found" not in messages:
            problem = messages.strip() or "no answer"
    return None, problem


def _run(argv: Sequence[str], stdin: str, limit: float) -> tuple[int, str, str]:
    """Exit status, output and messages; AskError where the program is missing or hangs."""
    try:
        done = subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=limit, check=False)
    except subprocess.TimeoutExpired as error:
        raise AskError("%s exec did not end within %g s" % (argv[0], limit)) from error
    except OSError as error:
        raise AskError("%s: %s" % (argv[0], error.strerror)) from error
    return done.returncode, done.stdout, done.stderr
