"""Text of the documents to addresses, intervals and selectors, each problem at its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from egress_compiler.diagnostics import Collector
from egress_compiler.document import Document
from egress_compiler.labels import LabelSelector, Requirement
from egress_compiler.net import (
    AddressError,
    Family,
    Interval,
    Intervals,
    Span,
    format_interval,
    parse_address,
    parse_span,
    union,
)

Item = tuple[str | int, ...]


def address(document: Document, path: Item, text: str, family: Family | None, found: Collector) -> int | None:
    """The address at ``path``, of ``family`` where one is given; None after reporting."""
    try:
        parsed = parse_address(text)
    except AddressError as problem:
        found.error("bad-address", str(problem), document.at(*path))
        return None
    if family is not None and parsed.family != family:
        found.error("wrong-family", f"{text!r} is not an IPv{family} address", document.at(*path))
        return None
    return parsed.value


def span(document: Document, path: Item, text: str, found: Collector, *, ranges: bool = True) -> Span | None:
    """The addresses at ``path``; host bits are cut off with a warning.  None after reporting."""
    try:
        parsed = parse_span(text, ranges=ranges)
    except AddressError as problem:
        what = "an address, a range or a CIDR" if ranges else "an address or a CIDR"
        found.error("bad-address", str(problem), document.at(*path), hint=f"write {what}")
        return None
    if parsed.host_bits:
        meant = format_interval(parsed.family, parsed.interval)
        found.warning("host-bits", f"{text!r} has host bits set and is read as {meant}", document.at(*path))
    return parsed


def spans(
    document: Document, path: Item, texts: Sequence[str], found: Collector, *, ranges: bool = True
) -> dict[Family, Intervals]:
    """The list at ``path``, by family and merged; entries with errors are left out."""
    gathered: dict[Family, list[Interval]] = {4: [], 6: []}
    for index, text in enumerate(texts):
        parsed = span(document, (*path, index), text, found, ranges=ranges)
        if parsed is not None:
            gathered[parsed.family].append(parsed.interval)
    return {family: union(intervals) for family, intervals in gathered.items()}


def selector(document: Document, path: Item, data: Mapping[str, Any], found: Collector) -> LabelSelector:
    """The label selector at ``path``; In and NotIn need values, Exists and DoesNotExist must not have any."""
    requirements = [Requirement(key, "In", frozenset({value})) for key, value in data.get("matchLabels", {}).items()]
    for index, expression in enumerate(data.get("matchExpressions", ())):
        operator, values = expression["operator"], expression.get("values", [])
        where = document.at(*path, "matchExpressions", index, "operator")
        if operator in ("In", "NotIn") and not values:
            found.error("selector-values", f"{operator} needs at least one entry in values", where)
        if operator in ("Exists", "DoesNotExist") and values:
            found.error("selector-values", f"{operator} takes no values", where)
        requirements.append(Requirement(expression["key"], operator, frozenset(values)))
    ordered = sorted(set(requirements), key=lambda r: (r.key, r.operator, sorted(r.values)))
    return LabelSelector(tuple(ordered))
