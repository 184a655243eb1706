"""``move``: an EIP to another gateway node, its effect shown before, pinned in the lock file."""

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
from egress_compiler.net import FAMILIES, AddressError, contains, format_address, parse_address
from egress_compiler.pipeline import Compilation, compile_bundle
from egress_compiler.plan import Plan, between
from egress_compiler.plan import as_json as plan_json


@click.command("move")
@click.argument("eip")
@input_options
@click.option("--to", "node", required=True, help="The gateway node that the EIP shall prefer.")
@click.option("--dry-run", is_flag=True, help="Show the effect and write nothing.")
@FORMAT
def move_command(eip: str, node: str, dry_run: bool, output: str, **options: Any) -> None:
    """Show what moving an EIP to another gateway node does, and pin it there in the lock file.

    The bundle is not touched: compile writes it, and no later run moves the EIP while that node is a gateway.
    """
    inputs = inputs_from(options)
    with nullcontext() if dry_run else writing(inputs.lock_path.parent, inputs.lock_path):
        before = compile_bundle(inputs)
        key = _lock_key(before, eip, node)
        # From the whole allocation, not from the file: what is not in the lock file yet must not move either.
        after = compile_bundle(inputs, pinned(before.allocation.lock, key, node))
        plan = between(before, after, "what compile would write now")
        with told():
            written = not dry_run and bundle.write_lock(after)
    answer = {"eip": key, "node": node, "written": written}
    deliver(
        output,
        after.diagnostics,
        lambda: _tell(plan, before, key, node, _outcome(after, dry_run, written)),
        lambda: plan_json(plan) | answer | diagnostics_json(after.diagnostics),
    )


def _outcome(after: Compilation, dry_run: bool, written: bool) -> str:
    if dry_run:
        return "Dry run: nothing was written."
    path = printable(str(after.lock_path))
    return f"{path}: pinned. Compile writes the bundle." if written else f"{path}: it was pinned there already."


def pinned(lock: Lock, key: str, node: str) -> Lock:
    """``lock`` with the EIP that ``key`` names on ``node``, where rebalancing leaves it; nothing else differs."""
    return replace(lock, eips={**lock.eips, key: EipLock(node, pinned=True)})


def _tell(plan: Plan, before: Compilation, key: str, node: str, outcome: str) -> None:
    if before.allocation.lock.eips[key].node == node:
        click.echo(f"{printable(key)} is on {printable(node)} already: pinning it there changes no configuration.")
    else:
        show(plan)
    click.echo(outcome)


def _lock_key(compilation: Compilation, eip: str, node: str) -> str:
    """The EIP's name in the lock file.  Raises InvalidInput where it is not in use or ``node`` cannot have it."""
    found = Collector()
    key = _find_eip(compilation, eip, found)
    if key is not None:
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
    """Every EIP that a policy leaves with, in both families, and the name in the lock file of its pair."""
    found: dict[str, str] = {}
    for policy in compilation.resolved.policies:
        placement = compilation.allocation.placements[policy.policy.ref]
        if not placement.use_node_ip and placement.slot is not None:
            for family in FAMILIES:
                value = placement.eip.of(family)
                if value is not None:
                    found[format_address(family, value)] = f"{policy.gateway.name}/{placement.eip.text}"
    return found


def _listed(eips: Iterable[str]) -> str:
    names = sorted(eips)
    return f"in use are: {', '.join(names[:10])}{' ...' if len(names) > 10 else ''}" if names else "no EIP is in use"
