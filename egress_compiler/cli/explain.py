"""``explain``: why a pod leaves as it does; who leaves with an EIP."""

from __future__ import annotations

import re
from typing import Any

import click

from egress_compiler.asked import Asked
from egress_compiler.cli.compile import input_options, inputs_from, outcome
from egress_compiler.cli.output import FORMAT, deliver, diagnostics_json, keep
from egress_compiler.diagnostics import Collector, nearest
from egress_compiler.explain import as_json, as_text, eip_as_json, eip_as_text, explain_address, explain_pod
from egress_compiler.net import FAMILIES, Address, AddressError, addresses, format_address, parse_address
from egress_compiler.pipeline import Analysis, analyse, without_cycle_collection

_WITH_PORT = re.compile(r"(?:\[(?P<six>[^\]]+)\]|(?P<four>[^:]+)):(?P<port>[0-9]{1,5})")
NAMED_EIPS = 1000
"""How many of a pool are looked through for one that was meant."""


@click.command("explain")
@click.argument("pod", required=False, metavar="[POD]")
@input_options
@click.option("--to", metavar="ADDRESS[:PORT]", help="One destination; an IPv6 address with a port stands in [].")
@click.option("--eip", metavar="ADDRESS", help="Who leaves with this address, in place of a pod.")
@click.option("--all", "everything", is_flag=True, help="Show the policies of other namespaces, too.")
@FORMAT
@without_cycle_collection(for_good=True)
def explain_command(
    pod: str | None, to: str | None, eip: str | None, everything: bool, output: str, **options: Any
) -> int:
    """Explain why POD (NAMESPACE/NAME, or its address) leaves as it does.

    Shows every policy that was considered and why it matches or not, the egress path hop by hop, and the lines of the
    generated configuration that make it so. Compiles in memory and writes nothing. Refuses what compile refuses; of
    warnings about which pods policies select, it has those of the pod's namespace, and compile has all.
    """
    if (pod is None) == (eip is None):
        raise click.UsageError("name a POD, or an address with --eip")
    if eip is not None and (to is not None or everything):
        raise click.UsageError("--to and --all go with a POD, not with --eip")
    destination = _destination(to) if to is not None else None
    analysis = keep(analyse(inputs_from(options), asked=Asked(pod=pod) if pod else None))
    found = Collector()
    if eip is not None:
        _explain_eip(analysis, eip, output, found)
        return outcome(analysis)
    explanation = explain_pod(analysis, pod or "", destination, found)
    found.raise_if_failed()
    if explanation is not None:
        deliver(
            output,
            analysis.diagnostics,
            lambda: click.echo(as_text(explanation, everything=everything)),
            lambda: as_json(explanation) | diagnostics_json(analysis.diagnostics),
        )
    return outcome(analysis)


def _explain_eip(analysis: Analysis, text: str, output: str, found: Collector) -> None:
    explanation = None
    try:
        explanation = explain_address(analysis, parse_address(text))
        if explanation is None:
            found.error(
                "unknown-eip", f"{text} is in the pool of no EgressGateway", None, hint=_nearest(analysis, text)
            )
    except AddressError as problem:
        found.error("unknown-eip", str(problem), None, hint=_nearest(analysis, text))
    found.raise_if_failed()
    if explanation is not None:
        deliver(
            output,
            analysis.diagnostics,
            lambda: click.echo(eip_as_text(explanation)),
            lambda: eip_as_json(explanation) | diagnostics_json(analysis.diagnostics),
        )


def _nearest(analysis: Analysis, text: str) -> str:
    pools = [
        format_address(family, value)
        for gateway in analysis.resolved.gateways.values()
        for family in FAMILIES
        for value, _ in zip(addresses(gateway.gateway.pool[family]), range(NAMED_EIPS), strict=False)
    ]
    return nearest(text, pools) or f"the pools begin with {', '.join(pools[:5]) or 'nothing'}"


def _destination(text: str) -> Address:
    """The address of ``ADDRESS``, ``ADDRESS:PORT`` or ``[ADDRESS]:PORT``; the port decides nothing."""
    matched = _WITH_PORT.fullmatch(text)
    if matched is not None and int(matched["port"]) > 65535:
        raise click.BadParameter(f"{text}: a port is at most 65535", param_hint="--to")
    plain = (matched["six"] or matched["four"]) if matched is not None else text.removeprefix("[").removesuffix("]")
    try:
        return parse_address(plain)
    except AddressError as problem:
        raise click.BadParameter(f"{problem}: policies know addresses, not names", param_hint="--to") from None
