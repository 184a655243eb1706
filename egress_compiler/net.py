"""Addresses as integers, and sorted disjoint intervals of them.

Everything between the loaders and the renderers counts in plain ``int``: an address is its value, a
destination list is a sorted tuple of closed intervals.  Text is parsed and made here and nowhere else.
"""

from __future__ import annotations

import re
import struct
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from typing import Literal, NamedTuple

Family = Literal[4, 6]
FAMILIES: tuple[Family, Family] = (4, 6)
BITS: dict[Family, int] = {4: 32, 6: 128}
_GROUPS = ":".join(["{:x}"] * 8)
_HEX = frozenset("0123456789abcdefABCDEF")
_ZEROS = re.compile(r"(?<![0-9a-f])0(?::0)+(?![0-9a-f])")
"""Two or more groups of an IPv6 address that are zero."""


class AddressError(ValueError):
    """Text that is not an address, range or CIDR; the message says what is wrong with it."""


class Interval(NamedTuple):
    """All addresses from ``first`` to ``last``, both included."""

    first: int
    last: int


Intervals = tuple[Interval, ...]
"""Sorted, disjoint, not touching."""


class Address(NamedTuple):
    family: Family
    value: int


class Span(NamedTuple):
    """An interval of one family, with what was noticed about its spelling."""

    family: Family
    interval: Interval
    prefix: int | None
    host_bits: bool


def parse_address(text: str) -> Address:
    """The address that ``text`` spells canonically.

    Raises AddressError for anything else: leading zeros, zone identifiers, IPv4-mapped IPv6.
    """
    # A cluster's addresses have few beginnings, one for each node, so all but the last part is mostly known.
    head, six, tail = text.rpartition(":")
    if six:
        first, last = _beginning6(head), _hextet(tail)
    else:
        head, _, tail = text.rpartition(".")
        first, last = _beginning4(head), _octet(tail)
    if first is None or last is None:
        return _parse_whole(text)
    # As Address(...), without a call in between: a large cluster has hundreds of thousands.
    return tuple.__new__(Address, (6 if six else 4, first + last))


@lru_cache(maxsize=32_768)
def _beginning4(head: str) -> int | None:
    """The first address that is spelled with ``head`` before its last dot; None where there is none."""
    try:
        return int(IPv4Address(f"{head}.0"))
    except ValueError:
        return None


@lru_cache(maxsize=32_768)
def _beginning6(head: str) -> int | None:
    """The same before the last colon, for addresses that may be spelled so."""
    try:
        value = int(IPv6Address(f"{head}:0"))
    except ValueError:
        return None
    return value if value >> 32 != 0xFFFF and "%" not in head else None


@lru_cache(maxsize=4096)
def _octet(text: str) -> int | None:
    plain = text.isascii() and text.isdigit() and len(text) <= 3 and (text[0] != "0" or text == "0")
    return int(text) if plain and int(text) <= 255 else None


@lru_cache(maxsize=4096)
def _hextet(text: str) -> int | None:
    return int(text, 16) if len(text) <= 4 and _HEX.issuperset(text) and text else None


def _parse_whole(text: str) -> Address:
    """Addresses in any spelling, and what is wrong with others."""
    try:
        if ":" in text:
            if "%" in text:
                raise AddressError(f"{text!r} carries a zone identifier, which has no meaning here")
            value = int(IPv6Address(text))
            if value >> 32 == 0xFFFF:
                plain = IPv4Address(value & 0xFFFFFFFF)
                raise AddressError(f"{text!r} is an IPv4-mapped IPv6 address; write {plain}")
            return Address(6, value)
        return Address(4, int(IPv4Address(text)))
    except AddressError:
        raise
    except ValueError:
        raise AddressError(f"{text!r} is not an IP address{_leading_zero_hint(text)}") from None


def _leading_zero_hint(text: str) -> str:
    octets = text.split(".")
    if len(octets) == 4 and all(octet.isascii() and octet.isdigit() for octet in octets):
        if any(int(octet[:4]) > 255 or len(octet.lstrip("0")) > 3 for octet in octets):
            return ": an octet is larger than 255"
        return "; write it without leading zeros: " + ".".join(str(int(octet)) for octet in octets)
    return ""


def parse_span(text: str, *, ranges: bool = True) -> Span:
    """The addresses named by an address, a CIDR or (where ``ranges``) a range ``first-last``.

    Host bits set in a CIDR are cut off and reported by ``host_bits``.  Raises AddressError.
    """
    if "/" in text:
        return _parse_cidr(text)
    if "-" in text:
        if not ranges:
            raise AddressError(f"{text!r} is a range; only addresses and CIDRs are possible here")
        return _parse_range(text)
    family, value = parse_address(text)
    return Span(family, Interval(value, value), None, False)


def _parse_cidr(text: str) -> Span:
    base, _, length = text.partition("/")
    if not base:
        raise AddressError(f"{text!r} has no address before the slash")
    family, value = parse_address(base)
    bits = BITS[family]
    if not (length.isascii() and length.isdigit() and (length == "0" or length[0] != "0") and len(length) <= 3):
        raise AddressError(f"{text!r} has no prefix length from 0 to {bits} after the slash")
    prefix = int(length)
    if prefix > bits:
        raise AddressError(f"{text!r} has a prefix length above {bits}")
    span = cidr(family, value, prefix)
    return Span(family, span, prefix, span.first != value)


def _parse_range(text: str) -> Span:
    low, _, high = (part.strip() for part in text.partition("-"))
    if not low or not high:
        raise AddressError(f"{text!r} has no address {'after' if low else 'before'} the dash")
    first, last = parse_address(low), parse_address(high)
    if first.family != last.family:
        raise AddressError(f"{text!r} runs from one address family to the other")
    if first.value > last.value:
        raise AddressError(f"{text!r} runs backwards; write {high}-{low}")
    return Span(first.family, Interval(first.value, last.value), None, False)


def cidr(family: Family, value: int, prefix: int) -> Interval:
    """The block of ``prefix`` bits that holds ``value``."""
    size = 1 << (BITS[family] - prefix)
    first = value & ~(size - 1)
    return Interval(first, first + size - 1)


@lru_cache(maxsize=262_144)
def format_address(family: Family, value: int) -> str:
    """As the standard library spells it (RFC 5952 for IPv6), in a fraction of its time."""
    if family == 4:
        return f"{value >> 24}.{value >> 16 & 255}.{value >> 8 & 255}.{value & 255}"
    text = _GROUPS.format(*struct.unpack(">8H", value.to_bytes(16, "big")))
    zeros = max(_ZEROS.findall(text), key=len, default="")
    if not zeros:
        return text
    before, after = f":{text}:".split(f":{zeros}:", 1)
    return f"{before[1:]}::{after[:-1]}"


def format_interval(family: Family, interval: Interval) -> str:
    """The shortest spelling: an address, a CIDR, else ``first-last``."""
    first, last = interval
    if first == last:
        return format_address(family, first)
    size = last - first + 1
    if size & (size - 1) == 0 and first & (size - 1) == 0:
        return f"{format_address(family, first)}/{BITS[family] - size.bit_length() + 1}"
    return f"{format_address(family, first)}-{format_address(family, last)}"


def cidrs(family: Family, intervals: Iterable[Interval]) -> Iterator[str]:
    """The fewest CIDRs that cover exactly the intervals, which are sorted and disjoint; a single address without /."""
    whole = 32 if family == 4 else 128
    for interval in intervals:
        first = interval.first
        while first <= interval.last:
            aligned = (first & -first).bit_length() - 1 if first else whole
            fits = (interval.last - first + 1).bit_length() - 1
            bits = min(aligned, fits)
            text = format_address(family, first)
            yield f"{text}/{whole - bits}" if bits else text
            first += 1 << bits


def everything(family: Family) -> Intervals:
    return (Interval(0, (1 << BITS[family]) - 1),)


def union(intervals: Iterable[Interval]) -> Intervals:
    """Sorted and merged; touching intervals become one."""
    merged: list[Interval] = []
    for first, last in sorted(intervals):
        if merged and first <= merged[-1].last + 1:
            if last > merged[-1].last:
                merged[-1] = Interval(merged[-1].first, last)
        else:
            merged.append(Interval(first, last))
    return tuple(merged)


def subtract(left: Intervals, right: Intervals) -> Intervals:
    """What of ``left`` is not in ``right``; linear in ``left`` and in what it overlaps of a ``right`` of any size."""
    rest: list[Interval] = []
    for first, last in left:
        start = first
        for cursor in range(_first_overlap(right, first), len(right)):
            if right[cursor].first > last:
                break
            if right[cursor].first > start:
                rest.append(Interval(start, right[cursor].first - 1))
            start = right[cursor].last + 1
        if start <= last:
            rest.append(Interval(start, last))
    return tuple(rest)


def _first_overlap(intervals: Intervals, first: int) -> int:
    """The place of the first of ``intervals`` that ends at ``first`` or behind it."""
    place = bisect_left(intervals, (first,))
    return place - 1 if place and intervals[place - 1].last >= first else place


def intersect(left: Intervals, right: Intervals) -> Intervals:
    """What is in both; linear in both."""
    common: list[Interval] = []
    i = j = 0
    while i < len(left) and j < len(right):
        first = max(left[i].first, right[j].first)
        last = min(left[i].last, right[j].last)
        if first <= last:
            common.append(Interval(first, last))
        if left[i].last < right[j].last:
            i += 1
        else:
            j += 1
    return tuple(common)


def contains(intervals: Intervals, value: int) -> bool:
    """Binary search."""
    low, high = 0, len(intervals)
    while low < high:
        middle = (low + high) // 2
        if intervals[middle].last < value:
            low = middle + 1
        else:
            high = middle
    return low < len(intervals) and intervals[low].first <= value


def covers(intervals: Intervals, part: Interval) -> bool:
    """Whether all of ``part`` is there; binary search, as one interval must hold it."""
    place = _first_overlap(intervals, part.first)
    return place < len(intervals) and intervals[place].first <= part.first and part.last <= intervals[place].last


def size(intervals: Intervals) -> int:
    return sum(last - first + 1 for first, last in intervals)


def nth(intervals: Intervals, index: int) -> int:
    """The ``index``-th address, counted from 0; IndexError past the end."""
    for first, last in intervals:
        if index <= last - first:
            return first + index
        index -= last - first + 1
    raise IndexError(index)


def rank(intervals: Intervals, value: int) -> int:
    """How many addresses of ``intervals`` come before ``value``, which must be one of them."""
    before = 0
    for first, last in intervals:
        if first <= value <= last:
            return before + value - first
        before += last - first + 1
    raise ValueError(value)


def addresses(intervals: Intervals) -> Iterator[int]:
    for first, last in intervals:
        yield from range(first, last + 1)
