"""``make demo``: the main job from end to end, in a cluster of network namespaces; without root, the dry run."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table

from egress_compiler import bundle
from egress_compiler.diagnostics import printable
from egress_compiler.lab import LabError, NodeState, down
from egress_compiler.lab.example import Row, RunningExample, example_inputs, running_example, up_example
from egress_compiler.lab.playbooks import SOURCE_TREE, run_playbook
from egress_compiler.pipeline import compile_bundle
from egress_compiler.status import COLUMNS, policy_rows

LAB = f"demo-{os.getpid()}"
EXAMPLE = SOURCE_TREE / "examples" / "dual-stack-ha"
OUTAGE_SECONDS = 5.0
_COUNT = re.compile(r"(\w+)=(\d+)")
LONGEST_OUTAGE_MS = 1000.0
"""What the default timers promise."""


class _Unexpected(Exception):
    """Something was not as it should be; the text says what."""


class _Show:
    """The demo's output: numbered steps with their times, tables within 80 columns."""

    def __init__(self) -> None:
        self.console = Console(width=min(shutil.get_terminal_size().columns, 100), highlight=False, soft_wrap=False)
        self._number = 0

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        self._number += 1
        start = time.monotonic()
        self.console.print(f"\n[bold]{self._number}. {title}[/bold]")
        yield
        self.console.print(f"   [dim]{time.monotonic() - start:.1f} s[/dim]")

    def say(self, text: str) -> None:
        self.console.print(f"   {printable(text)}", markup=False)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]], wrong: Sequence[bool] = ()) -> None:
        shown = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        for column in columns:
            shown.add_column(column, overflow="fold")
        for index, row in enumerate(rows):
            shown.add_row(*row, style="red" if index < len(wrong) and wrong[index] else None)
        self.console.print(shown)

    def probes(self, rows: Sequence[Row], *, before: bool) -> None:
        """One line a pod, family and answer: destinations and protocols that agree share it."""
        merged: dict[tuple[str, str, str, bool], list[str]] = {}
        for row in rows:
            expected = "(none)" if row.decision.outcome == "blocked" else " or ".join(row.expected)
            key = (_short(row.pod), row.result.seen or f"({row.result.error})", expected, row.good)
            merged.setdefault(key, []).append(row.target.address)
        lines = [
            (pod, ", ".join(dict.fromkeys(to)), seen, "" if before else expected)
            for (pod, seen, expected, _), to in merged.items()
        ]
        columns = ("POD", "DESTINATION", "SEEN AS", "" if before else "EXPECTED")
        self.table(columns, lines, [not good for *_, good in merged])


def _short(pod: str) -> str:
    """The pod without the two random parts of a Deployment's pod name."""
    parts = pod.split("-")
    return f"{parts[0]}-{parts[-1]}" if len(parts) > 2 else pod


def main() -> int:
    """Runs the demo; 0 when everything was as expected."""
    show = _Show()
    if os.geteuid() != 0:
        show.console.print("Without root there are no network namespaces: this is the dry run alone.")
        return _dry_run(show)
    try:
        return _demo(show)
    except _Unexpected as problem:
        show.console.print(f"\n[bold red]Not as expected:[/bold red] {printable(str(problem))}")
        return 1
    except LabError as problem:
        show.console.print(f"\n[bold red]The lab failed:[/bold red] {printable(str(problem))}")
        return 1
    finally:
        down(LAB)


def _dry_run(show: _Show) -> int:
    with tempfile.TemporaryDirectory() as directory, show.step("Compile examples/dual-stack-ha"):
        compilation = compile_bundle(example_inputs(EXAMPLE))
        bundle.write_files(compilation, Path(directory))
        show.table(COLUMNS, policy_rows(compilation.resolved, compilation.allocation))
        show.say(
            f"{len(compilation.files)} files for {len(compilation.plans)} nodes; 'make demo' as root applies them."
        )
    return 0


def _demo(show: _Show) -> int:
    start = time.monotonic()
    with show.step("Bring up a cluster of network namespaces"):
        up_example(EXAMPLE, LAB)
        running = running_example(LAB)
        topology = running.lab.topology
        show.say(f"{len(topology.nodes)} nodes, {len(topology.pods)} pods, one outside server; sshd in every node")
    with show.step("Compile examples/dual-stack-ha"):
        running.write_bundle()
        show.table(COLUMNS, policy_rows(running.compilation.resolved, running.compilation.allocation))
    with show.step("Before: what the outside sees of each pod"):
        before = {node.name: running.lab.snapshot_node(node.name) for node in topology.nodes}
        _probe(show, running, applied=False)
    with show.step("ansible-playbook playbooks/apply.yml, which ends with verify.yml"):
        _play(show, running, "apply.yml")
    with show.step("The same again: nothing to change"):
        if _play(show, running, "apply.yml"):
            raise _Unexpected("the second run changed something")
    with show.step("After: what the outside sees of each pod"):
        _probe(show, running, applied=True)
    _failover(show, running)
    with show.step("ansible-playbook playbooks/absent.yml"):
        _play(show, running, "absent.yml")
        _as_before(show, running, before)
    show.console.print(f"\n[bold green]Everything was as expected[/bold green], in {time.monotonic() - start:.0f} s.")
    return 0


def _probe(show: _Show, running: RunningExample, *, applied: bool) -> None:
    rows = running.probe(applied=applied)
    show.probes(rows, before=not applied)
    wrong = [row for row in rows if not row.good]
    if wrong:
        raise _Unexpected(f"{len(wrong)} of {len(rows)} probes were seen with another address")
    show.say(f"{len(rows)} probes by TCP and UDP, all as expected")


def _play(show: _Show, running: RunningExample, playbook: str) -> bool:
    """Runs a playbook and shows what it did to each node; whether it changed any."""
    done = run_playbook(running.lab, playbook, running.bundle)
    recap = done.stdout.partition("PLAY RECAP")[2].splitlines()[1:]
    hosts = {line.split()[0]: dict(_COUNT.findall(line)) for line in recap if ":" in line}
    if done.returncode != 0:
        show.console.print(done.stdout, markup=False)
        raise _Unexpected(f"{playbook} ended with {done.returncode}")
    nodes = {node.name for node in running.lab.topology.nodes}
    changed = [host for host, counts in hosts.items() if host in nodes and counts.get("changed") != "0"]
    unchanged = sorted(nodes - set(changed))
    for words, names in (("changed", changed), ("unchanged", unchanged)):
        if names:
            show.say(f"{words}: {', '.join(names)}")
    return bool(changed)


def _failover(show: _Show, running: RunningExample) -> None:
    pod, target, node = running.pick_flow(None)
    with show.step(f"Cut the uplink of gateway {node}"):
        with running.lab.outage(pod, target, OUTAGE_SECONDS) as meter:
            time.sleep(1)
            running.lab.cut(node)
            outage = meter.result()
        show.say(f"{_short(pod)} -> {target.address}, a probe every 5 ms: seen as {', '.join(outage.seen)}")
        show.say(f"outage {outage.longest_gap_ms:.0f} ms")
        if len(outage.seen) != 1 or outage.longest_gap_ms > OUTAGE_SECONDS * 1000 / 2:
            raise _Unexpected("the address changed, or the outage did not end")
        if outage.longest_gap_ms > LONGEST_OUTAGE_MS:
            show.say(f"(longer than the {LONGEST_OUTAGE_MS:.0f} ms to expect: a busy machine?)")
    with show.step(f"While {node} is away: all addresses as before"):
        away = [pod.host for pod in running.lab.topology.pods if pod.node == node]
        rows = [row for row in running.probe(applied=True) if row.pod not in away]
        wrong = [row for row in rows if not row.good]
        running.lab.restore(node)
        if wrong:
            show.probes(wrong, before=False)
            raise _Unexpected(f"{len(wrong)} of {len(rows)} probes were seen with another address")
        show.say(f"{len(rows)} probes of the pods on other nodes, all as expected; the uplink is restored")


def _as_before(show: _Show, running: RunningExample, before: dict[str, NodeState]) -> None:
    for node, state in before.items():
        difference = running.lab.snapshot_node(node).diff(state)
        if difference:
            show.console.print(difference, markup=False)
            raise _Unexpected(f"{node} is not as it was before")
    show.say("ruleset, links, addresses, rules, routes, sysctls and files of every node are as before")


if __name__ == "__main__":
    sys.exit(main())
