"""The table of pods' addresses against a look at each of them."""

from hypothesis import given
from hypothesis import strategies as st

from egress_compiler.model.cluster import Cluster, Pod
from egress_compiler.net import FAMILIES, Address, Family, Interval, contains, union
from tests.properties.search import examples

_ADDRESSES = st.builds(Address, st.sampled_from(FAMILIES), st.integers(0, 40))
_RANGES = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 9)), max_size=5)


def cluster(addresses: list[list[Address]]) -> Cluster:
    pods = [
        Pod("shop", f"pod-{number:02}", {}, "n1", tuple(dict.fromkeys(own))) for number, own in enumerate(addresses)
    ]
    return Cluster((), tuple(pods), (), (), {}, {4: (), 6: ()}, {4: (), 6: ()})


@examples(200)
@given(st.lists(st.lists(_ADDRESSES, max_size=3), max_size=12), st.sampled_from(FAMILIES), _RANGES)
def test_within_and_outside_are_what_a_look_at_each_says(
    addresses: list[list[Address]], family: Family, ranges: list[tuple[int, int]]
) -> None:
    made = cluster(addresses)
    intervals = union(Interval(first, first + more) for first, more in ranges)
    table = made.pod_table[family]
    everybody = sorted((a.value, n) for n, pod in enumerate(made.pods) for a in pod.addresses if a.family == family)
    assert [*zip(table.values, table.pods, strict=True)] == everybody
    inside = [place for place, (value, _) in enumerate(everybody) if contains(intervals, value)]
    assert table.within(intervals) == inside
    assert table.outside(intervals) == [place for place in range(len(everybody)) if place not in inside]
