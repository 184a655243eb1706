"""``status``: the statuses of policies and gateways, in the forms in which kubectl prints them."""

from __future__ import annotations

import json
from typing import Any

import click

from egress_compiler.asked import Asked
from egress_compiler.cli.compile import input_options, inputs_from, outcome
from egress_compiler.cli.output import FORMAT, deliver, keep, table
from egress_compiler.diagnostics import Collector, nearest, printable, quoted
from egress_compiler.pipeline import Analysis, analyse, without_cycle_collection
from egress_compiler.status import (
    COLUMNS,
    GATEWAY_COLUMNS,
    WIDE_COLUMNS,
    gateway_rows,
    policy_rows,
    status_list,
    wide_rows,
    yaml_documents,
)
from egress_compiler.validate.objects import specs


@click.command("status")
@input_options
@click.option("--all-namespaces", "-A", is_flag=True, help="All policies; this is the default.")
@click.option("--namespace", "-n", help="The policies of one namespace.")
@click.option("--gateways", is_flag=True, help="The gateways in place of the policies.")
@click.option("-o", "shape", type=click.Choice(["wide", "yaml", "json"]), help="More columns, or whole objects.")
@FORMAT
@without_cycle_collection(for_good=True)
def status_command(
    all_namespaces: bool, namespace: str | None, gateways: bool, shape: str | None, output: str, **options: Any
) -> int:
    """Who leaves with which address: the statuses of all policies, as kubectl prints them.

    With --namespace, warnings about which pods policies of others select are left to compile, and status without it.
    """
    if namespace is not None and (all_namespaces or gateways):
        raise click.UsageError("--namespace goes with neither --all-namespaces nor --gateways: gateways have none")
    analysis = keep(analyse(inputs_from(options), asked=Asked(namespace=namespace) if namespace else None))
    if namespace is not None:
        _require_namespace(analysis, namespace)
    if shape in ("yaml", "json"):
        kinds = ("EgressGateway",) if gateways else ("EgressClusterPolicy", "EgressPolicy")
        objects = status_list(analysis.resolved, analysis.allocation, specs(analysis.documents), kinds, namespace)
        deliver(output, analysis.diagnostics, lambda: _echo_objects(objects, shape), lambda: objects)
        return outcome(analysis)
    columns, rows = _gateways(analysis) if gateways else _policies(analysis, namespace)
    keys = [column.lower() for column in columns]
    shown = len(columns) if gateways or shape == "wide" else len(columns) - len(WIDE_COLUMNS)
    deliver(
        output,
        analysis.diagnostics,
        lambda: click.echo(
            table(columns[:shown], [row[:shown] for row in rows]) if rows else f"No resources found{_in(namespace)}.",
            err=not rows,
        ),
        lambda: [dict(zip(keys[:shown], row[:shown], strict=True)) | _pin(gateways, row[-1]) for row in rows],
    )
    return outcome(analysis)


def _pin(gateways: bool, text: str) -> dict[str, Any]:
    """Of a policy's row in JSON: the node that its EIP is pinned to, and whether the pin waits for it."""
    if gateways or not text:
        return {}
    return {"pinned": text.strip("()"), "pinWaits": text.startswith("(")}


def _echo_objects(objects: dict[str, Any], shape: str) -> None:
    as_json = shape == "json"
    click.echo(json.dumps(objects, indent=4, sort_keys=True) if as_json else yaml_documents([objects])[4:].rstrip())


def _policies(analysis: Analysis, namespace: str | None) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """With all columns; with a namespace, its policies without the column that would say the same in each row."""
    more = wide_rows(analysis.resolved, analysis.allocation)
    rows = [(*row, *more[row[0], row[1]]) for row in policy_rows(analysis.resolved, analysis.allocation)]
    columns = (*COLUMNS, *WIDE_COLUMNS)
    if namespace is None:
        return columns, [*rows]
    return columns[1:], [row[1:] for row in rows if row[0] == namespace]


def _gateways(analysis: Analysis) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    return GATEWAY_COLUMNS, [*gateway_rows(analysis.resolved, analysis.allocation)]


def _require_namespace(analysis: Analysis, namespace: str) -> None:
    """A misspelt namespace is an error; one without policies is not."""
    known = {item.name for item in analysis.resolved.cluster.namespaces}
    known |= {policy.policy.ref.namespace for policy in analysis.resolved.policies} - {""}
    if namespace not in known:
        found = Collector()
        message = f"there is no namespace {quoted(namespace)}, neither in the cluster nor in the policies"
        found.error("unknown-namespace", message, None, hint=nearest(namespace, known))
        found.raise_if_failed()


def _in(namespace: str | None) -> str:
    return f" in {printable(namespace)} namespace" if namespace is not None else ""
