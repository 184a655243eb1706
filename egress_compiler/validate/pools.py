"""What the lines of a gateway's pool give, for all who look at pools again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from egress_compiler.document import Document, Path
from egress_compiler.net import AddressError, Family, Interval, Intervals, Span, format_address, parse_span
from egress_compiler.validate import values


class PoolItem(NamedTuple):
    """One line of a pool: its place and the addresses that it gives."""

    path: Path
    usable: Interval


def usable(span: Span) -> Interval:
    """An IPv4 CIDR of more than two addresses leaves out its network and broadcast address."""
    first, last = span.interval
    if span.family == 4 and span.prefix is not None and last - first >= 2:
        return Interval(first + 1, last - 1)
    return span.interval


def pool_items(document: Document, family: Family) -> Iterator[PoolItem]:
    """Line by line the pool of a gateway, those that are right."""
    data: Any = document.data
    items = data.get("spec", {}).get("ippools", {}).get(f"ipv{family}", ())
    for index, text in values.texts(items):
        try:
            span = parse_span(text)
        except AddressError:
            continue
        if span.family == family:
            yield PoolItem(("spec", "ippools", f"ipv{family}", index), usable(span))


def pool_hint(family: Family, pool: Intervals) -> str:
    """What the pool has, cut after a few items."""
    if not pool:
        return f"ippools.ipv{family} is empty: add the address to it"
    spans = [f"{format_address(family, first)}-{format_address(family, last)}" for first, last in pool[:4]]
    alone = [format_address(family, first) if first == last else "" for first, last in pool[:4]]
    shown = [one or span for one, span in zip(alone, spans, strict=True)] + (["..."] if len(pool) > 4 else [])
    return f"add it to ippools.ipv{family}, or choose one of {', '.join(shown)}"
