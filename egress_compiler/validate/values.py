"""Text of the documents to addresses, intervals and selectors, each problem at its place."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address, summarize_address_range
from itertools import islice
from typing import Any, NamedTuple

from egress_compiler.diagnostics import Collector, quoted
from egress_compiler.document import Document, Path
from egress_compiler.labels import LabelSelector, Requirement
from egress_compiler.model.policy import Item
from egress_compiler.net import (
    FAMILIES,
    AddressError,
    Family,
    Intervals,
    Span,
    format_address,
    format_interval,
    parse_address,
    parse_span,
    union,
)
from egress_compiler.validate.names import bad_prefix


class Takes(NamedTuple):
    """Which spellings a field takes, and how that is said."""

    words: str
    ranges: bool
    single: bool


ADDRESSES = Takes("an address, a range or a CIDR", ranges=True, single=True)
CIDRS = Takes("an address or a CIDR", ranges=False, single=True)
CIDRS_ONLY = Takes("a CIDR", ranges=False, single=False)


_WITH_PORT = re.compile(r"[0-9.]+:[0-9]+")
_LEADING_ZERO = re.compile(r"0[0-9]{1,3}")
_NAME = re.compile("[g-zG-Z]")
MOST_CIDRS = 4
"""That a hint spells out."""


def address(document: Document, path: Path, text: str, family: Family, found: Collector) -> int | None:
    """The address of ``family`` at ``path``; None after reporting."""
    try:
        parsed = parse_address(text)
    except AddressError as problem:
        hint = "one address is wanted here, no CIDR and no range"
        hint = (
            hint
            if any(c in text for c in "/-,")
            else ""
            if "write" in str(problem)
            else f"write one IPv{family} address"
        )
        found.error("bad-address", _said(text, problem), document.at(*path), hint=hint)
        return None
    if parsed.family != family:
        field, other = str(path[-1]), str(path[-1]).replace(f"ipv{family}", f"ipv{parsed.family}")
        hint = f"put it under {other}" if other != field else ""
        found.error("wrong-family", f"{quoted(text)} is not an IPv{family} address", document.at(*path), hint=hint)
        return None
    return parsed.value


def span(document: Document, path: Path, text: str, found: Collector, *, takes: Takes = ADDRESSES) -> Span | None:
    """The addresses at ``path``; host bits are cut off with a warning.  None after reporting."""
    try:
        parsed = parse_span(text)
    except AddressError as problem:
        found.error("bad-address", _said(text, problem), document.at(*path), hint=_hint(text, str(problem), takes))
        return None
    first, last = parsed.interval
    if parsed.prefix is None and not takes.ranges and first != last:
        message = f"{quoted(text)} is a range, and {takes.words} is wanted here"
        found.error("bad-address", message, document.at(*path), hint=_as_cidrs(parsed))
        return None
    if parsed.prefix is None and not takes.single:
        whole = f"{format_address(parsed.family, parsed.interval.first)}/{32 if parsed.family == 4 else 128}"
        hint = f"add the prefix length; for this one address it is {whole}"
        found.error("bad-address", f"{quoted(text)} is not a CIDR", document.at(*path), hint=hint)
        return None
    if parsed.host_bits:
        meant = format_interval(parsed.family, parsed.interval)
        message = f"{quoted(text)} has host bits set and is read as {meant}"
        found.warning("host-bits", message, document.at(*path), hint=f"write {meant}")
    return parsed


def _as_cidrs(span: Span) -> str:
    """How a range is written in CIDRs, where they are few."""
    made: type[IPv4Address] | type[IPv6Address] = IPv4Address if span.family == 4 else IPv6Address
    ends: Any = map(made, span.interval)
    blocks = [str(block) for block in islice(summarize_address_range(*ends), MOST_CIDRS + 1)]
    return f"write {', '.join(blocks)}" if len(blocks) <= MOST_CIDRS else ""


def _said(text: str, problem: AddressError) -> str:
    """The problem, with the whole text before it where it is about a part."""
    if not text.strip():
        return "this is empty, and must be an address"
    return str(problem) if repr(text) in str(problem) else f"{quoted(text)}: {problem}"


def _hint(text: str, problem: str, takes: Takes) -> str:
    """What was probably meant; nothing where ``problem`` says it already."""
    if text.strip() and ("," in text or (len(text.split()) > 1 and "-" not in text and "/" not in text)):
        return "write each as an item of its own"
    if text.strip() and text != "".join(text.split()):
        return "leave out the spaces"
    if _WITH_PORT.fullmatch(text):
        return f"leave out the port: {text.partition(':')[0]}"
    first, dash, last = text.partition("-")
    if takes.ranges and dash and "." in first and "/" not in first and last.strip().isdigit():
        return f"write both ends whole: {first.strip()}-{first.rpartition('.')[0]}.{last.strip()}"
    base, slash, mask = text.partition("/")
    if slash and _LEADING_ZERO.fullmatch(mask):
        return f"write {base}/{int(mask)}"
    if slash and mask.count(".") == 3:
        try:
            ones = f"{parse_address(mask).value:032b}".rstrip("0")
        except AddressError:
            ones = "-"
        return f"write {base}/{len(ones)}" if set(ones) <= {"1"} else ""
    if takes.words and (problem.endswith("is not an IP address") or not text.strip()):
        known = " (names are not looked up)" if _NAME.search(text) else ""
        return f"write {takes.words}{known}"
    return ""


def texts(values: Sequence[Any]) -> Iterator[tuple[int, str]]:
    """The items that are strings, with their index; the others were reported."""
    return ((index, text) for index, text in enumerate(values) if isinstance(text, str))


def items(
    document: Document, path: Path, values: Sequence[Any], found: Collector, *, takes: Takes = ADDRESSES
) -> tuple[Item, ...]:
    """The lines of the list at ``path``; those with errors are left out."""
    found_items: list[Item] = []
    for index, text in texts(values):
        place = (*path, index)
        parsed = span(document, place, text, found, takes=takes)
        if parsed is not None:
            found_items.append(Item(place, text, parsed.family, parsed.interval))
    return tuple(found_items)


def merged(items: Sequence[Item]) -> dict[Family, Intervals]:
    """What all of them give, by family."""
    return {family: union(item.interval for item in items if item.family == family) for family in FAMILIES}


def spans(
    document: Document, path: Path, values: Sequence[Any], found: Collector, *, takes: Takes = ADDRESSES
) -> dict[Family, Intervals]:
    """The list at ``path``, by family and merged; entries with errors are left out."""
    return merged(items(document, path, values, found, takes=takes))


def selector(document: Document, path: Path, data: Mapping[str, Any], found: Collector) -> LabelSelector:
    """The label selector at ``path``; In and NotIn need values, Exists and DoesNotExist must not have any."""
    labels = data.get("matchLabels", {})
    for key in filter(bad_prefix, labels):
        _prefix_too_long(key, document.key_at(*path, "matchLabels", key), found)
    requirements = [Requirement(key, "In", frozenset({value})) for key, value in labels.items()]
    for index, expression in enumerate(data.get("matchExpressions", ())):
        where = (*path, "matchExpressions", index)
        if not document.faulty(*where):
            requirements.append(_requirement(document, where, expression, found))
    ordered = sorted(set(requirements), key=lambda r: (r.key, r.operator, sorted(r.values)))
    return LabelSelector(tuple(ordered))


def _requirement(document: Document, path: Path, expression: Mapping[str, Any], found: Collector) -> Requirement:
    key, operator, values = expression["key"], expression["operator"], expression.get("values", [])
    if bad_prefix(key):
        _prefix_too_long(key, document.at(*path, "key"), found)
    if operator in ("In", "NotIn") and not values:
        hint = f"add values: [...], or use {'Exists' if operator == 'In' else 'DoesNotExist'}"
        found.error("selector-values", f"{operator} needs values", document.at(*path, "operator"), hint=hint)
    if operator in ("Exists", "DoesNotExist") and values:
        hint = f"leave values out, or use {'In' if operator == 'Exists' else 'NotIn'}"
        found.error("selector-values", f"{operator} takes no values", document.key_at(*path, "values"), hint=hint)
    return Requirement(key, operator, frozenset(values))


def _prefix_too_long(key: str, where: Any, found: Collector) -> None:
    found.error("bad-name", f"the prefix of the label key {quoted(key, 30)} is longer than 253 characters", where)
