"""Compile what is asked: the pods that the answer to one question depends on, of all that a cluster has.

What policies select is most of the work on a large cluster.  A question about one pod or one namespace needs it of few
pods; all else of the pipeline, and every error, is the same with a question and without one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from operator import itemgetter

from egress_compiler.model.cluster import Cluster, Pod, single
from egress_compiler.net import FAMILIES, Address, AddressError, Family, Intervals, contains, parse_address

_NAMESPACE, _NODE = Pod._fields.index("namespace"), Pod._fields.index("node")


@dataclass(frozen=True, slots=True)
class Asked:
    """What a question is about: the policies of a namespace, or a pod as ``pods_called`` takes it; '' where neither."""

    namespace: str = ""
    pod: str = ""


def pods_called(cluster: Cluster, text: str) -> tuple[int, ...]:
    """Positions of the pods that ``text`` may mean: NAMESPACE/NAME, NAME, or an address."""
    address = address_of(text)
    if address is not None:
        return tuple(position for position, pod in enumerate(cluster.pods) if address in pod.addresses)
    namespace, slash, name = text.rpartition("/")
    return tuple(
        position
        for position, pod in enumerate(cluster.pods)
        if pod.name == name and (not slash or pod.namespace == namespace)
    )


def address_of(text: str) -> Address | None:
    try:
        return parse_address(text)
    except AddressError:
        return None


def home_of(cluster: Cluster, address: Address) -> str:
    """The node whose podCIDRs have ``address``; '' where none does."""
    homes = (n.name for n in cluster.all_nodes if contains(n.pod_cidrs[address.family], address.value))
    return next(homes, "")


def namespaces_asked(asked: Asked, cluster: Cluster) -> frozenset[str]:
    """The namespaces all whose pods are among ``pods_asked``: what their own policies select is whole."""
    if asked.namespace:
        return frozenset({asked.namespace})
    return frozenset(cluster.pods[position].namespace for position in pods_called(cluster, asked.pod))


def pods_asked(
    asked: Asked, cluster: Cluster, gateway_nodes: Iterable[str], pod_cidrs: Mapping[Family, Intervals]
) -> tuple[int, ...]:
    """Positions of the pods whose policies the answer needs, ascending.

    Those of ``namespaces_asked``.  Those of the nodes that an explanation shows, as their lines are numbered: the
    pod's, and all that may be its gateway.  Those outside of ``pod_cidrs``, which gateways are told of.  And those that
    share an address, with each other or with a node: an error where a policy selects one of them.
    """
    namespaces = namespaces_asked(asked, cluster)
    nodes = {*gateway_nodes, *_senders(asked.pod, cluster)} if asked.pod else frozenset[str]()
    shared = {claim.pod.key for one in cluster.shared_addresses for claim in one.claims}
    wanted = {p for p, namespace in enumerate(map(itemgetter(_NAMESPACE), cluster.pods)) if namespace in namespaces}
    if nodes:
        wanted.update(p for p, node in enumerate(map(itemgetter(_NODE), cluster.pods)) if node in nodes)
    if shared:
        wanted.update(p for p, pod in enumerate(cluster.pods) if pod.key in shared)
    for family in FAMILIES:
        table = cluster.pod_table[family]
        of_nodes = (single(a.value) for a, _ in cluster.node_addresses if a.family == family)
        wanted.update(table.pods[place] for place in table.outside(pod_cidrs[family]))
        wanted.update(table.pods[place] for place in table.within(tuple(of_nodes)))
    return tuple(sorted(wanted))


def _senders(pod: str, cluster: Cluster) -> Iterator[str]:
    """The nodes that ``pod`` may be shown on; the first where its own is not known."""
    yield from (node.name for node in cluster.nodes[:1])
    yield from (cluster.pods[position].node for position in pods_called(cluster, pod))
    address = address_of(pod)
    if address is not None:
        yield home_of(cluster, address)
