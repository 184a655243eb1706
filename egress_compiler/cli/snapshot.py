"""``snapshot``: a running cluster's few fields into a file that compile reads."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import click

from egress_compiler.cli.compile import PATH
from egress_compiler.cli.output import FORMAT, deliver, progress, report
from egress_compiler.cli.writing import told
from egress_compiler.commit import replace_file
from egress_compiler.diagnostics import Collector, printable
from egress_compiler.load.live import TIMEOUT, read_live, snapshot_text


@click.command("snapshot")
@click.option("--kubeconfig", type=PATH, help="Default: KUBECONFIG, ~/.kube/config, or a pod's service account.")
@click.option("--context", help="A context of the kubeconfig in place of its current one.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=1, max=86_400),
    default=TIMEOUT,
    show_default=True,
    help="Seconds for the whole of it, whatever the cluster does.",
)
@click.option("--out", "-o", type=PATH, required=True, help="The file to write; - for standard output.")
@FORMAT
def snapshot_command(kubeconfig: Path | None, context: str | None, timeout: float, out: Path, output: str) -> None:
    """Read the live cluster and write what the compiler needs of it, one object a line.

    Needs the RBAC verb list on nodes, pods, namespaces, services, servicecidrs and ippools, as far as they are served,
    and get on the ConfigMap kube-system/kubeadm-config where there are no servicecidrs.
    A busy API server is asked again.
    """
    found = Collector()
    with progress() as show:
        objects = read_live(kubeconfig, context, found, timeout=timeout, show=show)
    found.raise_if_failed()
    text = snapshot_text(objects)
    if str(out) == "-":
        report(found.found)
        click.echo(text, nl=False)
        return
    changed = _write(out, text)
    counts = Counter(item["kind"] for item in objects)
    listed = ", ".join(f"{count} {kind}{'' if count == 1 else 's'}" for kind, count in counts.items())
    deliver(
        output,
        found.found,
        lambda: click.echo(f"{printable(str(out))}: {listed or 'an empty cluster'}{'' if changed else ', as before'}."),
        lambda: {"file": str(out), "changed": changed, "objects": dict(sorted(counts.items()))},
    )


def _write(path: Path, text: str) -> bool:
    """Writes the file in one step where it differs; whether it did."""
    with told():
        if path.is_file() and path.read_bytes() == text.encode():
            return False
        replace_file(path, text)
    return True
