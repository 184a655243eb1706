"""The second line: what routing refuses when our nftables table is gone."""

from hypothesis import given
from hypothesis import strategies as st
from netaddr import IPAddress, iprange_to_cidrs

from egress_compiler.ir import Source, SourceMaps
from egress_compiler.lower.last_resort import MOST_SOURCES, SecondLine
from egress_compiler.net import Family, Interval, Intervals, cidrs, everything

INSIDE: dict[Family, Intervals] = {4: (Interval(10 << 24, (10 << 24) + 255),), 6: (Interval(1 << 64, (1 << 64) + 1),)}

NO_HOSTS: dict[Family, Intervals] = {4: (), 6: ()}


def sources(*pods4: str, subnets4: tuple[str, ...] = ()) -> SourceMaps:
    return SourceMaps(
        tuple(Source(address, "c", f"shop/{address}") for address in pods4),
        (),
        tuple(Source(subnet, "c", "podSubnet") for subnet in subnets4),
        (),
    )


@given(st.integers(0, 2**32 - 1), st.integers(0, 5000))
def test_cidrs_are_those_of_netaddr(first: int, more: int) -> None:
    last = min(first + more, 2**32 - 1)
    wanted = [str(c).removesuffix("/32") for c in iprange_to_cidrs(IPAddress(first), IPAddress(last))]
    assert list(cidrs(4, [Interval(first, last)])) == wanted


def test_cidrs_of_everything() -> None:
    assert list(cidrs(4, everything(4))) == ["0.0.0.0/0"]
    assert list(cidrs(6, everything(6))) == ["::/0"]


def test_a_worker_has_a_rule_for_each_pod_and_each_cidr_of_its_subnets() -> None:
    line = SecondLine(INSIDE, NO_HOSTS, (4, 6)).of(
        sources("10.0.0.7", subnets4=("10.0.1.0-10.0.1.2",)), "eth0", is_gateway=False
    )
    assert [(r.family, r.source, r.owner) for r in line.rules] == [
        (4, "10.0.0.7", "shop/10.0.0.7"),
        (4, "10.0.1.0/31", "podSubnet"),
        (4, "10.0.1.2", "podSubnet"),
    ]
    assert (line.inside4, line.inside6) == (("10.0.0.0/24",), ())


def test_a_gateway_has_rules_for_what_comes_to_its_gateway_side_in_each_family() -> None:
    line = SecondLine(INSIDE, NO_HOSTS, (4, 6)).of(sources(), "eth0", is_gateway=True)
    assert [(r.family, r.interface) for r in line.rules] == [
        (4, "egress.gateway"),
        (4, "egress.vxlan"),
        (6, "egress.gateway"),
        (6, "egress.vxlan"),
    ]
    assert line.inside6 == ("0:0:0:1::/127",)


def test_more_sources_than_a_node_has_pods_get_no_rules() -> None:
    """The kernel walks the rules one by one: some thousands would cost more than they protect."""
    many = sources(*(f"10.1.{n // 256}.{n % 256}" for n in range(MOST_SOURCES + 1)))
    assert SecondLine(INSIDE, NO_HOSTS, (4,)).of(many, "eth0", is_gateway=False).rules == ()


def test_a_subnet_that_is_a_pods_address_gets_no_second_rule() -> None:
    line = SecondLine(INSIDE, NO_HOSTS, (4,)).of(
        sources("10.0.0.7", subnets4=("10.0.0.7/32",)), "eth0", is_gateway=False
    )
    assert [(r.source, r.owner) for r in line.rules] == [("10.0.0.7", "shop/10.0.0.7")]


def test_everywhere_is_two_halves() -> None:
    line = SecondLine(INSIDE, NO_HOSTS, (4,)).of(sources(subnets4=("0.0.0.0/0",)), "eth0", is_gateway=False)
    assert [r.source for r in line.rules] == ["0.0.0.0/1", "128.0.0.0/1"]


def test_hosts_pass_by_and_do_not_cut_the_podsubnet_into_pieces() -> None:
    """As the policies' sources they are taken out; here each hole would be a score of rules."""
    hosts: dict[Family, Intervals] = {4: (Interval((10 << 24) + 5, (10 << 24) + 6),), 6: ()}
    cut = sources(subnets4=("10.0.0.0-10.0.0.4", "10.0.0.7-10.0.0.255"))
    line = SecondLine(INSIDE, hosts, (4, 6)).of(cut, "eth0", is_gateway=True)
    assert [(r.family, r.source, r.interface) for r in line.skips] == [
        (4, None, "lo"),
        (4, "10.0.0.5", None),
        (4, "10.0.0.6", None),
    ]
    assert [r.source for r in line.rules if r.source] == ["10.0.0.0/24"]
    assert line.skip_preference < line.preference < line.end_preference


def test_more_hosts_than_rules_may_be_leave_none() -> None:
    """It must not refuse hosts' packets, so it refuses none."""
    hosts: dict[Family, Intervals] = {
        4: tuple(Interval(n, n) for n in range(10 << 24, (10 << 24) + 2 * MOST_SOURCES + 2, 2)),
        6: (),
    }
    line = SecondLine(INSIDE, hosts, (4,)).of(sources(subnets4=("10.0.0.1",)), "eth0", is_gateway=False)
    assert (line.rules, line.skips) == ((), ())
