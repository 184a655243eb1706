"""Explanations for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from egress_compiler.diagnostics import printable
from egress_compiler.explain import words
from egress_compiler.explain.model import Considered, EgressPath, EipExplanation, Explanation, Line

SHOWN_USERS = 20


def as_text(explanation: Explanation, *, everything: bool = False) -> str:
    """The explanation; policies of other namespaces are counted, with ``everything`` shown."""
    who = explanation.pod or explanation.host or "an address that is no known pod's"
    head = f"{who} ({', '.join(explanation.addresses) or 'no address'})"
    lines = [f"{head} on {explanation.node}" if explanation.node else head]
    if explanation.to:
        lines[0] += f", to {explanation.to}"
    lines += [f"  {note}" for note in explanation.notes]
    if explanation.considered:
        lines += [
            "",
            "Policies, in the order in which packets meet them",
            *_policies(explanation.considered, everything),
        ]
    families = [path.family for path in explanation.paths]
    for path in explanation.paths:
        lines += ["", *_path(path, alone=families.count(path.family) == 1)]
    return "\n".join(map(printable, lines))


def _policies(considered: Sequence[Considered], everything: bool) -> Iterator[str]:
    shown = [c for c in considered if everything or c.sources or not _foreign(c)]
    width = max((len(str(c.ref)) for c in shown), default=0)
    for entry in shown:
        mark = "*" if entry.wins else " "
        yield f"  {mark} {str(entry.ref).ljust(width)}  priority {entry.priority}: {entry.verdict}"
        for reason in entry.reasons:
            yield f"      {reason}"
        if entry.sources and entry.destination_reason:
            yield (
                f"      to {entry.destination_reason}"
                if entry.destination is None
                else (f"      {entry.destination_reason}")
            )
    if len(considered) > len(shown):
        count = len(considered) - len(shown)
        yield f"    ({count} {'policy' if count == 1 else 'policies'} of other namespaces: none of them matches)"


def _foreign(entry: Considered) -> bool:
    return any(reason.startswith("namespace: ") for reason in entry.reasons)


def _path(path: EgressPath, *, alone: bool) -> Iterator[str]:
    yield f"To {words.destinations(path, alone=alone)}, {path.source} {words.leaves_with(path)}"
    if path.policy:
        yield f"  policy   {path.policy}"
    if path.slot is not None:
        order = ", then ".join(_gateway(gateway.node, gateway.address, path) for gateway in path.gateways)
        yield f"  answer   {path.answer}"
        yield f"  slot     {path.slot} of EgressGateway {path.gateway}"
        yield f"  gateways {order}"
    for number, hop in enumerate(path.hops, start=1):
        yield f"  {number}. {hop.where} {hop.what}"
        yield from _lines(hop.lines)


def _gateway(node: str, address: str, path: EgressPath) -> str:
    if path.outcome != "node-ip":
        return node
    return f"{node} ({address})" if address else f"{node} (blocked)"


def _lines(lines: Sequence[Line]) -> Iterator[str]:
    places = [line.file + (f":{line.number}" if line.number is not None else ", added") for line in lines]
    width = max(map(len, places), default=0)
    for line, place in zip(lines, places, strict=True):
        yield f"       {place.ljust(width)}  {line.text}"


def eip_as_text(explanation: EipExplanation) -> str:
    """Who leaves with an EIP."""
    owner = f" of EgressGateway {explanation.gateway}" if explanation.gateway else ""
    pair = f", paired with {explanation.partner}" if explanation.partner else ""
    lines = [f"{explanation.address}: {explanation.place}{owner}{pair}"]
    if explanation.gateway and explanation.slot is None:
        lines.append("  no gateway node has it" if explanation.policies else "  free: no policy uses it")
    if explanation.nodes:
        order = ", then ".join(node.node for node in explanation.nodes)
        lines.append(f"  slot {explanation.slot}, on {order}")
    if explanation.policies:
        lines += ["", "Policies", *(f"  {policy}" for policy in explanation.policies)]
    if explanation.users:
        lines += ["", "Who leaves with it"]
        for user in explanation.users[:SHOWN_USERS]:
            to = ", ".join(user.destinations) or "everything that no policy before it takes"
            owner = f" {user.owner}" if user.owner != "podSubnet" else ""
            lines.append(f"  {user.source}{owner} to {to} ({user.policy})")
        more = len(explanation.users) - SHOWN_USERS
        lines += [f"  and {more} more; --format json has all"] if more > 0 else []
    if explanation.lines:
        lines += ["", "Configuration", *_lines(explanation.lines)]
    return "\n".join(map(printable, lines))
