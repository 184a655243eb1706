"""``move``: an EIP to another gateway node, its effect shown before, pinned in the lock file; and the way back."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import click

from egress_compiler import bundle
from egress_compiler.cli.compile import input_options, inputs_from
from egress_compiler.cli.output import FORMAT, deliver, diagnostics_json
from egress_compiler.cli.plan import show
from egress_compiler.cli.writing import told, writing
from egress_compiler.diagnostics import Collector, nearest, printable, quoted
from egress_compiler.model.lock import EipLock, Lock
from egress_compiler.net import AddressError, contains, format_address, parse_address
from egress_compiler.pipeline import Compilation, compile_bundle, without_cycle_collection
from egress_compiler.plan import Plan, between
from egress_compiler.plan import as_json as plan_json


@click.command("move")
@click.argument("eip")
@input_options
@click.option("--to", "node", help="The gateway node that the EIP shall prefer.")
@click.option("--unpin", is_flag=True, help="Give up its pin: it stays where it is until something moves it.")
@click.option("--dry-run", is_flag=True, help="Show the effect and write nothing.")
@FORMAT
@without_cycle_collection(for_good=True)
def move_command(eip: str, node: str | None, unpin: bool, dry_run: bool, output: str, **options: Any) -> None:
    """Show what moving an EIP to another gateway node does, and pin it there in the lock file.

    The bundle is not touched: compile writes it, and no later run moves the EIP while that node is a gateway.  While it
    is none the pin waits; --unpin gives it up.
    """
    if (node is None) != unpin:
        raise click.UsageError("say either --to NODE or --unpin")
    inputs = inputs_from(options)
    with nullcontext() if dry_run else writing(inputs.lock_path.parent, inputs.lock_path):
        before = compile_bundle(inputs)
        key = _lock_key(before, eip, node)
        # From the whole allocation, not from the file: what is not in the lock file yet must not move either.
        keys, lock = before.allocation.groups.get(key, (key,)), before.allocation.lock
        after = compile_bundle(inputs, unpinned(lock, keys) if node is None else pinned(lock, keys, node))
        plan = between(before, after, "what compile would write now")
        with told():
            written = not dry_run and bundle.write_lock(after)
    now = after.allocation.lock.eips.get(key)
    answer = {"eip": key, "node": now.node if now else "", "pinned": not unpin, "written": written}
    outcome = _outcome(after, "unpinned" if unpin else "pinned", dry_run, written)
    deliver(
        output,
        after.diagnostics,
        lambda: _tell(plan, before, key, node, outcome),
        lambda: plan_json(plan) | answer | diagnostics_json(after.diagnostics),
    )


def _outcome(after: Compilation, done: str, dry_run: bool, written: bool) -> str:
    if dry_run:
        return "Dry run: nothing was written."
    path = printable(str(after.lock_path))
    if written:
        return f"{path}: {done}. Compile writes the bundle."
    return f"{path}: it was {done} there already." if done == "pinned" else f"{path}: it was not pinned."


def pinned(lock: Lock, keys: Iterable[str], node: str) -> Lock:
    """``lock`` with the EIPs that ``keys`` name on ``node``, where rebalancing leaves them; nothing else differs."""
    return replace(lock, eips={**lock.eips, **{key: EipLock(node, pinned=True) for key in keys}})


def unpinned(lock: Lock, keys: Iterable[str]) -> Lock:
    """``lock`` with these EIPs where they are and free to be moved."""
    here = {key: EipLock(e.meanwhile or e.node) for key in keys if (e := lock.eips.get(key)) is not None}
    return replace(lock, eips={**lock.eips, **here})


def _tell(plan: Plan, before: Compilation, key: str, node: str | None, outcome: str) -> None:
    if node is not None:
        was = before.allocation.lock.eips[key]
        if (was.meanwhile or was.node) == node:
            click.echo(f"{printable(key)} is on {printable(node)} already: pinning it there changes no configuration.")
        else:
            show(plan)
    click.echo(outcome)


def _lock_key(compilation: Compilation, eip: str, node: str | None) -> str:
    """The EIP's name in the lock file.  Raises InvalidInput where it is not in use or ``node`` cannot have it."""
    found = Collector()
    key = _find_eip(compilation, eip, found)
    if key is not None and node is not None:
        gateway = compilation.resolved.gateways[key.partition("/")[0]]
        names = [member.name for member in gateway.nodes]
        if node not in names:
            cluster = compilation.resolved.cluster
            known = {member.name for member in cluster.all_nodes}
            what = f"no gateway node of EgressGateway {gateway.gateway.name}" if node in known else "no node"
            what += f": it {cluster.others[node].why}" if node in cluster.others else ""
            hint = nearest(node, names) or f"its nodes are: {', '.join(names) or 'none'}"
            found.error("unknown-node", f"{quoted(node)} is {what}", None, hint=hint)
    found.raise_if_failed()
    return key or ""


def _find_eip(compilation: Compilation, eip: str, found: Collector) -> str | None:
    in_use = _in_use(compilation)
    try:
        address = parse_address(eip)
    except AddressError as problem:
        found.error("unknown-eip", str(problem), None, hint=nearest(eip, in_use) or _listed(in_use))
        return None
    text = format_address(*address)
    if text in in_use:
        return in_use[text]
    gateways = [resolved.gateway for resolved in compilation.resolved.gateways.values()]
    owners = [gateway.name for gateway in gateways if contains(gateway.pool[address.family], address.value)]
    where = f"is in the pool of EgressGateway {owners[0]}, but no policy uses it" if owners else "is no EIP"
    found.error("unknown-eip", f"{text} {where}", None, hint=nearest(text, in_use) or _listed(in_use))
    return None


def _in_use(compilation: Compilation) -> dict[str, str]:
    """Every EIP that a policy leaves with, in both families, or that is pinned; and its name in the lock file."""
    lock = compilation.allocation.lock
    found = {key.partition("/")[2]: key for key, entry in lock.eips.items() if entry.pinned}
    for entry in lock.policies.values():
        key = f"{entry.gateway}/{entry.ipv4 or entry.ipv6}"
        found |= {text: key for text in (entry.ipv4, entry.ipv6) if text and key in compilation.allocation.groups}
    return found


def _listed(eips: Iterable[str]) -> str:
    names = sorted(eips)
    return f"in use are: {', '.join(names[:10])}{' ...' if len(names) > 10 else ''}" if names else "no EIP is in use"
