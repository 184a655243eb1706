"""A pod by its name or address, and why it leaves as it does."""

from __future__ import annotations

from dataclasses import replace

from egress_compiler.asked import address_of, home_of, pods_called
from egress_compiler.diagnostics import Collector, nearest, quoted
from egress_compiler.explain.considered import Subject, consider
from egress_compiler.explain.model import Explanation
from egress_compiler.explain.paths import find_paths, unsteered_path
from egress_compiler.model.cluster import Cluster, HostNetworkPod, OtherNode, Pod
from egress_compiler.net import Address, format_address
from egress_compiler.pipeline import Analysis


def explain_pod(analysis: Analysis, name: str, to: Address | None, found: Collector) -> Explanation | None:
    """The explanation for ``name``, a pod as NAMESPACE/NAME, NAME where there is one, or its address.

    An address that is no known pod's is explained by the policies that select subnets.  None where there is nothing
    to explain, after telling why.
    """
    cluster = analysis.resolved.cluster
    address = address_of(name)
    subject = _by_name(cluster, name, found) if address is None else _by_address(cluster, name, address)
    if isinstance(subject, HostNetworkPod):
        note = "it has its node's address (hostNetwork), so no policy ever selects it"
        return Explanation(f"{subject.namespace}/{subject.name}", "", (), _text(to), (note,), (), ())
    if subject is None:
        return None
    host = "" if subject.name else _host(analysis, subject.addresses[0])
    if host:
        note = f"it is {host}, and no policy applies to what a host sends, whichever podSubnet covers it"
        return Explanation("", "", (name,), _text(to), (note,), (), (), host)
    sources = tuple(a for a in subject.addresses if to is None or a.family == to.family)
    if not sources and to is not None:
        found.error("no-such-family", f"{subject.name or name} has no IPv{to.family} address to send from", None)
        return None
    other = analysis.resolved.cluster.others.get(subject.node)
    if other is not None:
        return _on_other_node(analysis, subject, other, sources, to)
    notes: list[str] = []
    node = subject.node
    if node not in analysis.nodes.names:
        notes.append(
            f"it is on {quoted(node)}, which is not in the cluster snapshot" if node else "its node is not known"
        )
        node = analysis.nodes.names[0]
        notes.append(f"shown as if it were on {node}")
    return Explanation(
        pod=subject.name,
        node=subject.node,
        addresses=tuple(format_address(*address) for address in subject.addresses),
        to=_text(to),
        notes=tuple(notes),
        considered=consider(analysis.classified, subject, to),
        paths=find_paths(analysis, node, sources, to),
    )


def _on_other_node(
    analysis: Analysis, subject: Subject, other: OtherNode, sources: tuple[Address, ...], to: Address | None
) -> Explanation:
    """Of a pod where nothing of ours is: what it would match elsewhere, and that it wins nothing here."""
    considered = (
        replace(entry, verdict="matches, and does not apply on this node" if entry.sources else entry.verdict)
        for entry in consider(analysis.classified, subject, to)
    )
    return Explanation(
        pod=subject.name,
        node=subject.node,
        addresses=tuple(format_address(*address) for address in subject.addresses),
        to=_text(to),
        notes=(f"{subject.node} {other.why}, so nothing steers its traffic: it leaves as if there were no policy",),
        considered=tuple(considered),
        paths=tuple(unsteered_path(subject.node, other.why, source, to) for source in sources),
    )


def _host(analysis: Analysis, address: Address) -> str:
    return analysis.resolved.hosts.what(address.family, address.value)


def _text(to: Address | None) -> str:
    return format_address(*to) if to is not None else ""


def _by_address(cluster: Cluster, text: str, address: Address) -> Subject:
    for position in pods_called(cluster, text):
        return _subject(position, cluster.pods[position])
    return Subject(None, "", None, {}, home_of(cluster, address), (address,))


def _subject(position: int, pod: Pod) -> Subject:
    return Subject(position, pod.key, pod.namespace, pod.labels, pod.node, pod.addresses)


def _by_name(cluster: Cluster, text: str, found: Collector) -> Subject | HostNetworkPod | None:
    namespace, slash, name = text.rpartition("/")
    subjects = [_subject(position, cluster.pods[position]) for position in pods_called(cluster, text)]
    hosts = [p for p in cluster.host_network_pods if p.name == name and (not slash or p.namespace == namespace)]
    if len(subjects) + len(hosts) == 1:
        return subjects[0] if subjects else hosts[0]
    if subjects or hosts:
        names = sorted([*(subject.name for subject in subjects), *(f"{pod.namespace}/{pod.name}" for pod in hosts)])
        message = f"there are {len(names)} pods {quoted(name)}"
        found.error("unknown-pod", message, None, hint=f"name one of {', '.join(names[:10])}")
        return None
    known = [pod.key if slash else pod.name for pod in cluster.pods]
    hint = nearest(text, known) or "a pod is named NAMESPACE/NAME, or by its address; finished pods are left out"
    found.error("unknown-pod", f"there is no pod {quoted(text)} in the cluster snapshot", None, hint=hint)
    return None
