"""The kubeconfig, or a pod's service account, to a connection; what stands in the way is one error, said once."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from egress_compiler.diagnostics import Collector, nearest, printable, quoted

_DEFAULT = "~/.kube/config"
_IN_POD = "KUBERNETES_SERVICE_HOST"


class Complaints(logging.Handler):
    """Keeps what the client only logs: it goes on without credentials where a plugin does not give any."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


def connect(kubeconfig: Path | None, context: str | None, complaints: Complaints, found: Collector) -> Any:
    """A client for the cluster; None where there is none to be had, with the one reason reported.

    Runs the exec plugin that the kubeconfig names.  ``complaints`` has to listen to the root logger.
    """
    # Imported here: the client takes a second, and no other command needs it.
    from kubernetes import client, config

    settings: Any = client.Configuration()
    configure: Any = config
    files = str(kubeconfig) if kubeconfig is not None else os.environ.get("KUBECONFIG") or _DEFAULT
    try:
        if kubeconfig is None and context is None and not _exists(files) and os.environ.get(_IN_POD):
            # In a pod, such as a CronJob that keeps a repository's snapshot fresh, there is a service account instead.
            configure.load_incluster_config(client_configuration=settings)
        elif not _exists(files):
            raise FileNotFoundError("there is no such file")
        else:
            configure.load_kube_config(config_file=files, context=context, client_configuration=settings)
    except Exception as problem:  # the client raises whatever a malformed kubeconfig makes it stumble over
        hint = _context_hint(config, files, context) or "name a file with --kubeconfig, or set KUBECONFIG"
        found.error("no-cluster", f"{printable(files)}: no cluster to read: {reason_of(problem)}", None, hint=hint)
        return None
    if complaints.texts:
        found.error(
            "cluster-credentials",
            f"{printable(files)}: the credentials cannot be had: {one_line(complaints.texts[0])}",
            None,
            hint="run the 'exec' command of the kubeconfig's user by hand: 'kubectl get nodes' fails in the same way",
        )
        return None
    settings.retries = False
    return client.ApiClient(settings)


def _exists(files: str) -> bool:
    return any(name and Path(name).expanduser().exists() for name in files.split(os.pathsep))


def _context_hint(config: Any, files: str, context: str | None) -> str:
    if context is None:
        return ""
    try:
        names = [str(entry["name"]) for entry in config.list_kube_config_contexts(config_file=files)[0]]
    except Exception:
        return ""
    return nearest(context, names) or f"there are the contexts {', '.join(map(quoted, sorted(names)))}"


def reason_of(problem: Exception) -> str:
    """The last and most telling part of an exception's text, on one line."""
    reason = getattr(problem, "reason", None)
    return one_line(str(reason if isinstance(reason, Exception) else problem))


def one_line(text: str) -> str:
    return printable(" ".join(text.split()))[:300]
