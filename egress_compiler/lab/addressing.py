"""Addresses of the uplink: the subnet that covers what is given, and free addresses high inside it. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from egress_compiler import net
from egress_compiler.lab.errors import LabError
from egress_compiler.net import AddressError, Family, Interval, Span

LONGEST_PREFIX: dict[Family, int] = {4: 24, 6: 64}
SHORTEST_PREFIX: dict[Family, int] = {4: 8, 6: 32}
_HIGHEST_OFFSET = 0xFFFE
"""Free addresses are sought from here down, so that those of a /64 stay short (::fffe)."""


@dataclass(frozen=True, slots=True)
class Network:
    """A subnet of one family."""

    family: Family
    interval: Interval
    prefix: int

    def __str__(self) -> str:
        return f"{net.format_address(self.family, self.interval.first)}/{self.prefix}"


def parse(text: str, what: str) -> Span:
    """An address, range or CIDR, host bits dropped; LabError names `what` where the text is none."""
    try:
        return net.parse_span(text)
    except AddressError as error:
        raise LabError(f"{what}: {error}") from error


def parse_network(text: str, what: str) -> Network:
    """A CIDR, or an address as a CIDR of one."""
    span = parse(text, what)
    if "-" in text:
        raise LabError(f"{what}: {text} is a range, a CIDR is needed")
    return Network(span.family, span.interval, net.BITS[span.family] if span.prefix is None else span.prefix)


def uplink_network(family: Family, used: Sequence[Interval], free: int) -> Network:
    """The smallest network of a family, /24 (IPv6 /64) or larger, that covers `used` and has `free` addresses more.

    `used` is not empty. LabError when the network would be larger than any real subnet.
    """
    low, high = min(span.first for span in used), max(span.last for span in used)
    prefix = min(LONGEST_PREFIX[family], net.BITS[family] - (low ^ high).bit_length())
    while prefix >= SHORTEST_PREFIX[family]:
        network = Network(family, net.cidr(family, low, prefix), prefix)
        if len(free_addresses(network, used, free)) == free:
            return network
        prefix -= 1
    raise LabError(
        f"no uplink subnet of /{SHORTEST_PREFIX[family]} or longer covers {net.format_address(family, low)} to "
        f"{net.format_address(family, high)}; nodes, egress IPs and uplink servers of a lab share one subnet"
    )


def free_addresses(network: Network, used: Sequence[Interval], count: int) -> list[str]:
    """At most `count` addresses of the network that nothing uses, from its highest (::fffe in IPv6) down."""
    first, last = network.interval
    number = min(last - 1, first + _HIGHEST_OFFSET)
    found: list[str] = []
    while number > first and len(found) < count:
        taken = next((span for span in used if span.first <= number <= span.last), None)
        if taken is not None:
            number = taken.first - 1
            continue
        found.append(net.format_address(network.family, number))
        number -= 1
    return found


def overlap(left: Network, right: Network) -> bool:
    """Whether the two networks share an address."""
    return (
        left.family == right.family
        and left.interval.first <= right.interval.last
        and right.interval.first <= left.interval.last
    )
