"""Addresses and intervals: tables of spellings, and the algebra against plain sets of numbers."""

import ipaddress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egress_compiler.net import (
    BITS,
    Address,
    AddressError,
    Family,
    Interval,
    Intervals,
    addresses,
    cidr,
    contains,
    everything,
    format_address,
    format_interval,
    intersect,
    nth,
    parse_address,
    parse_span,
    rank,
    size,
    subtract,
    union,
)
from tests.properties.search import examples

# ------------------------------------------------------------------------------------------------------- one address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("0.0.0.0", Address(4, 0)),
        ("10.6.1.55", Address(4, 0x0A060137)),
        ("255.255.255.255", Address(4, 0xFFFFFFFF)),
        ("::", Address(6, 0)),
        ("::1", Address(6, 1)),
        ("fd00::a", Address(6, 0xFD00 << 112 | 0xA)),
        ("FD00:0:0:0:0:0:0:A", Address(6, 0xFD00 << 112 | 0xA)),
        ("::10.0.0.1", Address(6, 0x0A000001)),
        ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Address(6, (1 << 128) - 1)),
    ],
)
def test_an_address_is_its_number(text: str, address: Address) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "not an IP address"),
        ("10.6.1", "not an IP address"),
        ("10.6.1.", "not an IP address"),
        ("10.6.1.256", "an octet is larger than 255"),
        ("10.6.1.99999999999999999999", "an octet is larger than 255"),
        ("10.6.1.0256", "an octet is larger than 255"),
        ("10.6.01.055", "without leading zeros: 10.6.1.55"),
        ("010.0.0.1", "without leading zeros: 10.0.0.1"),
        ("10.6.1.-1", "not an IP address"),
        ("١٠.6.1.5", "not an IP address"),
        (" 10.6.1.5", "not an IP address"),
        ("10.6.1.5\n", "not an IP address"),
        ("0x0a.6.1.5", "not an IP address"),
        ("1", "not an IP address"),
        ("10.6.1.5/32", "not an IP address"),
        ("fe80::1%eth0", "zone identifier"),
        ("::ffff:10.6.1.5", "write 10.6.1.5"),
        ("::ffff:a06:105", "write 10.6.1.5"),
        ("1::2::3", "not an IP address"),
        ("fd00:::1", "not an IP address"),
        ("12345::", "not an IP address"),
    ],
)
def test_what_is_no_canonical_address_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(AddressError, match=complaint):
        parse_address(text)


_DECIMAL = st.sampled_from(["0", "1", "10", "255", "256", "01", "00", "", "a", "-1", "\u0663"])
_HEX = st.sampled_from(["0", "1", "a", "ffff", "FFFF", "00ff", "fffff", "", "-1", "+1", "0x1", "1_0", "g", "10.0.0.1"])
_TEXTS = st.lists(_DECIMAL, min_size=3, max_size=5).map(".".join) | st.lists(_HEX, min_size=2, max_size=9).map(":".join)


@examples(1000)
@given(_TEXTS, st.sampled_from(["", "", "", ":", "::", "%", "%e:", "::ffff:", "/", " "]), st.integers(0, 20))
def test_addresses_are_those_of_the_standard_library(text: str, inserted: str, place: int) -> None:
    text = text[:place] + inserted + text[place:]
    try:
        known = ipaddress.ip_address(text)
        expected = None if "%" in text or getattr(known, "ipv4_mapped", None) else int(known)
    except ValueError:
        expected = None
    try:
        assert parse_address(text).value == expected
    except AddressError:
        assert expected is None


# ------------------------------------------------------------------------------------------- addresses, ranges, CIDRs


@pytest.mark.parametrize(
    ("text", "family", "first", "last", "host_bits"),
    [
        ("10.6.1.55", 4, "10.6.1.55", "10.6.1.55", False),
        ("10.6.1.60-10.6.1.65", 4, "10.6.1.60", "10.6.1.65", False),
        ("10.6.1.60 - 10.6.1.65", 4, "10.6.1.60", "10.6.1.65", False),
        ("10.6.1.60-10.6.1.60", 4, "10.6.1.60", "10.6.1.60", False),
        ("10.6.1.64/28", 4, "10.6.1.64", "10.6.1.79", False),
        ("10.6.1.70/28", 4, "10.6.1.64", "10.6.1.79", True),
        ("10.6.1.70/32", 4, "10.6.1.70", "10.6.1.70", False),
        ("0.0.0.0/0", 4, "0.0.0.0", "255.255.255.255", False),
        ("fd00::/126", 6, "fd00::", "fd00::3", False),
        ("fd00::2/126", 6, "fd00::", "fd00::3", True),
        ("::/0", 6, "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", False),
        ("fd00::1-fd00::f", 6, "fd00::1", "fd00::f", False),
    ],
)
def test_a_span_is_an_interval(text: str, family: Family, first: str, last: str, host_bits: bool) -> None:
    span = parse_span(text)
    assert span.family == family
    assert span.interval == Interval(parse_address(first).value, parse_address(last).value)
    assert span.host_bits == host_bits


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("10.6.1.0/33", "above 32"),
        ("fd00::/129", "above 128"),
        ("10.6.1.0/", "no prefix length"),
        ("10.6.1.0/-1", "no prefix length"),
        ("10.6.1.0/+8", "no prefix length"),
        ("10.6.1.0/08", "no prefix length"),
        ("10.6.1.0/8/8", "no prefix length"),
        ("10.6.1.0/255.255.255.0", "no prefix length"),
        ("10.6.1.0/٢٤", "no prefix length"),
        ("10.6.1/24", "not an IP address"),
        ("10.6.1.9-10.6.1.1", "runs backwards; write 10.6.1.1-10.6.1.9"),
        ("10.6.1.1-9", "not an IP address"),
        ("10.6.1.1-", "no address after the dash"),
        ("-10.6.1.1", "no address before the dash"),
        ("/24", "no address before the slash"),
        ("10.6.1.1-fd00::1", "from one address family to the other"),
        ("10.6.1.1-10.6.1.2-10.6.1.3", "not an IP address"),
    ],
)
def test_what_is_no_span_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(AddressError, match=complaint):
        parse_span(text)


def test_ranges_are_refused_where_only_cidrs_are_possible() -> None:
    with pytest.raises(AddressError, match="only addresses and CIDRs"):
        parse_span("10.6.1.1-10.6.1.2", ranges=False)


@examples(100)
@given(st.sampled_from([4, 6]), st.data())
def test_cidrs_are_those_of_the_standard_library(family: Family, data: st.DataObject) -> None:
    bits = BITS[family]
    prefix = data.draw(st.integers(0, bits))
    value = data.draw(st.integers(0, (1 << bits) - 1))
    address = format_address(family, value)
    network = ipaddress.ip_network(f"{address}/{prefix}", strict=False)
    expected = Interval(int(network[0]), int(network[-1]))
    assert cidr(family, value, prefix) == expected
    mapped = family == 6 and value >> 32 == 0xFFFF
    if not mapped:
        assert parse_span(f"{address}/{prefix}").interval == expected


@examples(100)
@given(st.sampled_from([4, 6]), st.data())
def test_what_is_formatted_reads_as_the_same(family: Family, data: st.DataObject) -> None:
    top = (1 << BITS[family]) - 1
    near = st.one_of(st.integers(0, top), st.integers(0, 64), st.integers(top - 64, top))
    first, last = sorted((data.draw(near), data.draw(near)))
    # IPv4-mapped addresses have no canonical spelling, and appear in no input.
    if family == 4 or not {first >> 32, last >> 32} & {0xFFFF}:
        assert parse_span(format_interval(family, Interval(first, last))).interval == Interval(first, last)


GROUPS = st.lists(st.sampled_from([0, 0, 0, 1, 0x10, 0xA0, 0xFFFF]), min_size=8, max_size=8)


@examples(300)
@given(GROUPS, st.integers(0, (1 << 32) - 1))
def test_addresses_are_spelled_as_the_standard_library_does(groups: list[int], four: int) -> None:
    six = int("".join(f"{group:04x}" for group in groups), 16)
    assert format_address(4, four) == str(ipaddress.IPv4Address(four))
    assert format_address(6, six) == str(ipaddress.IPv6Address(six))


@pytest.mark.parametrize(
    ("first", "last", "text"),
    [
        ("10.0.0.1", "10.0.0.1", "10.0.0.1"),
        ("10.0.0.0", "10.0.0.1", "10.0.0.0/31"),
        ("10.0.0.1", "10.0.0.2", "10.0.0.1-10.0.0.2"),
        ("10.0.0.0", "10.0.0.255", "10.0.0.0/24"),
        ("0.0.0.0", "255.255.255.255", "0.0.0.0/0"),
    ],
)
def test_an_interval_is_written_in_its_shortest_form(first: str, last: str, text: str) -> None:
    assert format_interval(4, Interval(parse_address(first).value, parse_address(last).value)) == text


# ----------------------------------------------------------------------------------------- intervals against plain sets

SPANS = st.lists(
    st.tuples(st.integers(0, 24), st.integers(0, 6)).map(lambda p: Interval(p[0], p[0] + p[1])), max_size=8
)
TOP = 32


def numbers(intervals: Intervals | list[Interval]) -> set[int]:
    return {value for first, last in intervals for value in range(first, last + 1)}


def check_form(intervals: Intervals) -> None:
    """Sorted, disjoint, not touching, none empty."""
    assert all(first <= last for first, last in intervals)
    assert all(left.last + 1 < right.first for left, right in pairwise(intervals))


@examples(100)
@given(SPANS)
def test_union_is_the_union(spans: list[Interval]) -> None:
    merged = union(spans)
    check_form(merged)
    assert numbers(merged) == numbers(spans)


@examples(100)
@given(SPANS, SPANS)
def test_subtract_and_intersect_are_those_of_sets(left: list[Interval], right: list[Interval]) -> None:
    one, other = union(left), union(right)
    rest, common = subtract(one, other), intersect(one, other)
    check_form(rest)
    check_form(common)
    assert numbers(rest) == numbers(left) - numbers(right)
    assert numbers(common) == numbers(left) & numbers(right)
    assert union([*rest, *common]) == one


@examples(100)
@given(SPANS)
def test_counting_is_that_of_a_sorted_list(spans: list[Interval]) -> None:
    intervals = union(spans)
    listed = sorted(numbers(intervals))
    assert list(addresses(intervals)) == listed
    assert size(intervals) == len(listed)
    assert [nth(intervals, index) for index in range(len(listed))] == listed
    assert [rank(intervals, value) for value in listed] == list(range(len(listed)))
    with pytest.raises(IndexError):
        nth(intervals, len(listed))
    for value in range(TOP):
        assert contains(intervals, value) == (value in listed)
        if value not in listed:
            with pytest.raises(ValueError, match=str(value)):
                rank(intervals, value)


@pytest.mark.parametrize("family", [4, 6])
def test_everything_has_both_ends(family: Family) -> None:
    (whole,) = everything(family)
    assert (whole.first, whole.last + 1) == (0, 1 << BITS[family])
    assert subtract(everything(family), everything(family)) == ()
    edges = (Interval(0, 0), Interval(whole.last, whole.last))
    assert subtract(everything(family), edges) == (Interval(1, whole.last - 1),)
