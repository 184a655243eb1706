"""What the lines of a gateway's pool give."""

from __future__ import annotations

from typing import NamedTuple

from egress_compiler.net import Family, Interval, Intervals, Span, format_address, parse_span


class Special(NamedTuple):
    """A block of addresses and what it is for."""

    text: str
    name: str


IMPOSSIBLE = (
    ("0.0.0.0/8", "this network"),
    ("127.0.0.0/8", "loopback"),
    ("169.254.0.0/16", "link-local"),
    ("224.0.0.0/4", "multicast"),
    ("255.255.255.255", "the broadcast address"),
    ("::", "the unspecified address"),
    ("::1", "loopback"),
    ("fe80::/10", "link-local"),
    ("ff00::/8", "multicast"),
)
"""Addresses that nothing can leave with (RFC 6890)."""
_IMPOSSIBLE = tuple((parse_span(text), Special(text, name)) for text, name in IMPOSSIBLE)


def impossible(span: Span) -> Special | None:
    """The first block of which ``span`` has an address."""
    first, last = span.interval
    for block, special in _IMPOSSIBLE:
        if block.family == span.family and first <= block.interval.last and block.interval.first <= last:
            return special
    return None


def usable(span: Span) -> Interval:
    """An IPv4 CIDR of more than two addresses leaves out its network and broadcast address."""
    first, last = span.interval
    if span.family == 4 and span.prefix is not None and last - first >= 2:
        return Interval(first + 1, last - 1)
    return span.interval


def pool_hint(family: Family, pool: Intervals) -> str:
    """What the pool has, cut after a few items."""
    if not pool:
        return f"ippools.ipv{family} is empty: add the address to it"
    spans = [f"{format_address(family, first)}-{format_address(family, last)}" for first, last in pool[:4]]
    alone = [format_address(family, first) if first == last else "" for first, last in pool[:4]]
    shown = [one or span for one, span in zip(alone, spans, strict=True)] + (["..."] if len(pool) > 4 else [])
    return f"add it to ippools.ipv{family}, or choose one of {', '.join(shown)}"
